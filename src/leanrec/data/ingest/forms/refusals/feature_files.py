"""Refusals of examples of learners: LIBSVM, libFM, libffm, SVMrank and Vowpal Wabbit, with the command that writes a log."""

import re
import shlex
from collections.abc import Sequence

__all__ = ["describe_features"]

# A date with a time of day has colons too.
_FFM = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[ \t]\d+:\d+:[-+.\deE]+){2,}\s*")
_LIBSVM = re.compile(r"[^\s,;]+(?:[ \t]+\d+:[-+.\deE]+)+\s*")
_RANKED = re.compile(r"[-+.\d]+ qid:\S+(?: +\d+:\S+)+ *(?P<comment>#.*\S.*)?\s*")
_NAMESPACE = r"\|[A-Za-z_][^\s|]*(?:\s[^|]*)?"
# A label or a cost, a weight and a tag come before the first mark. A blank or a tag with an apostrophe precedes a mark, and a name
# follows it at once: 1|Toy Story|1995 is a table.
_WABBIT = re.compile(
    r"(?:shared|[-+.\d]+(?::[-+.\deE]*){0,2})?(?:\s+[-+.\deE]+){0,2}"
    rf"(?:\s+'[^\s|]+{_NAMESPACE}|(?:\s+'?[^\s|]+)?\s*(?<!\S){_NAMESPACE})(?:(?<!\S){_NAMESPACE})*"
)
_NAMELESS = re.compile(r"[-+]?1(?:\.0)?(?:\s+[-+.\deE]+)?(?:\s+'[^\s|]+)?\s+\|\s+[^|]*")
_MARK = re.compile(r"\|([A-Za-z_][^\s|:]*)")
_LABELS = {"-1", "0", "1", "+1", "-1.0", "0.0", "1.0"}


def describe_features(_text: str, lines: Sequence[str], label: str) -> str:
    """Return what lines of features are and how to write a log from them, "" for other text.

    Args:
        _text: the begin of the file.
        lines: its first complete lines.
        label: name of the file in messages.
    """
    path = shlex.quote(label)
    if _are(lines, _RANKED):
        return _describe_ranked(lines, label, path)
    if _are(lines, _LIBSVM):
        return _describe_indexes(lines, label, path)
    if _are(lines, _FFM):
        return (
            f"{label} is in the form of libffm (LABEL FIELD:INDEX:VALUE …), which does not name the fields of users and items. Where these "
            "are the first and the second, write one line for each: "
            f'awk \'{{split($2, u, ":"); split($3, i, ":"); print u[2] "," i[2] "," $1}}\' {path} > log.csv, and pass log.csv with '
            'names="user,item,label".'
        )
    if lines and all(map(_WABBIT.fullmatch, lines)):
        return _describe_wabbit(lines, label, path)
    if lines and all(map(_NAMELESS.fullmatch, lines)) and any(line.startswith("-1") for line in lines):
        return _advise_wabbit(label, path, r"[^|]*\| +([^ |:]+)[^ ]* +([^ |:]+)", is_turned=False, role="label")
    return ""


def _are(lines: Sequence[str], form: re.Pattern[str]) -> bool:
    """Whether most lines have a form."""
    return sum(form.fullmatch(line) is not None for line in lines) * 2 > len(lines)


def _describe_ranked(lines: Sequence[str], label: str, path: str) -> str:
    what = f"{label} is in the form of SVMrank (RATING qid:QUERY INDEX:VALUE …)"
    if not all("#" in line for line in lines):
        return f"{what}, which does not name the items. Write one line for each of its lines: user,item,rating."
    return (
        f"{what}. Where each query is a user and the text behind # the item, write one line for each: "
        rf"sed -nE 's/^([^ ]+) qid:([^ ]+) [^#]*# *(docid *= *)?([^ ]+).*$/\2,\4,\1/p' {path} > log.csv, and pass log.csv with "
        'names="user,item,rating".'
    )


def _describe_indexes(lines: Sequence[str], label: str, path: str) -> str:
    """Return the advice about LIBSVM, in which a line is a user, or libFM, in which it is an event."""
    pairs = [line.split()[1:] for line in lines]
    is_event = len({len(each) for each in pairs}) == 1 < len(pairs[0]) and all(
        each[0].endswith(":1") and each[1].endswith(":1") for each in pairs
    )
    if is_event:
        return (
            f"{label} is in the LIBSVM form (LABEL INDEX:VALUE …), as libFM has it, which names no users and items. Where the first index "
            "is the user and the second the item, write one line for each: "
            f'awk \'{{split($2, u, ":"); split($3, i, ":"); print u[1] "," i[1] "," $1}}\' {path} > log.csv, and pass log.csv with '
            f'names="user,item,{_name_target(lines)}".'
        )
    return (
        f"{label} is in the LIBSVM form (LABEL INDEX:VALUE …), which names no user. If each line is a user and each "
        "index an item, write one line for each pair: "
        f'awk \'{{for (i = 2; i <= NF; i++) {{split($i, f, ":"); print NR "," f[1] "," f[2]}}}}\' {path} > log.csv, '
        'and pass log.csv with names="user,item,weight".'
    )


def _describe_wabbit(lines: Sequence[str], label: str, path: str) -> str:
    """Return the advice about examples with namespaces, of which one is the user and another the item."""
    names = list(dict.fromkeys(_MARK.findall(lines[0])))
    is_single = all(line.split("|")[0].strip() and not line.startswith("shared") for line in lines)
    if not names or not is_single or any(re.match(r"\S+:", line.split("|")[0]) for line in lines):
        return (
            f"{label} is in the form of Vowpal Wabbit (LABEL |NAMESPACE FEATURE …), whose lines belong together. Write one line for each "
            "item that was shown: user,item,label."
        )
    if len(names) == 1:
        first_two = rf"[^|]*\|{names[0]}[^ ]* +([^ |:]+)[^ ]* +([^ |:]+)"
        return _advise_wabbit(label, path, first_two, is_turned=False, role=_name_target(lines))
    user = next((name for name in names if name.lower().startswith("u")), names[0])
    item = next(name for name in names if name != user)
    first, second = sorted((user, item), key=names.index)
    features = rf"[^|]*\|{first} +([^ |:]+).*\|{second} +([^ |:]+)"
    return _advise_wabbit(label, path, features, is_turned=first != user, role=_name_target(lines))


def _advise_wabbit(label: str, path: str, features: str, *, is_turned: bool, role: str) -> str:
    fields = r"\3,\2,\1" if is_turned else r"\2,\3,\1"
    return (
        f"{label} is in the form of Vowpal Wabbit (LABEL |NAMESPACE FEATURE …), which does not name users and items. Where the features "
        f"that this command takes are the user and the item, write one line for each example: sed -nE 's/^([^ |]+){features}.*$/{fields}/p' "
        f'{path} > log.csv, and pass log.csv with names="user,item,{role}".'
    )


def _name_target(lines: Sequence[str]) -> str:
    """Return the role of the first number of each line: a label where it is one of two or three, else a rating."""
    return "label" if {line.split()[0] for line in lines} <= _LABELS else "rating"
