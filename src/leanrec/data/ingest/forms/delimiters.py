"""The delimiter of delimited text, and whether quotation marks are letters, by agreement over many lines.

The delimiter is the one that gives the same number of fields on most lines. A comma inside a title gives another number on
every line, so that it loses against the tab even where it is more frequent.
"""

import collections
import csv
import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "BLANKS",
    "FieldLayout",
    "count_comments",
    "count_titles",
    "find_escaped",
    "find_joint",
    "find_layout",
    "find_text_marks",
    "has_copy_escapes",
    "has_quoted_lines",
    "split_records",
]

BLANKS = " "
"""Delimiter that means any number of blanks and tabs; one blank, as R writes it, where fields are quoted."""

_SEPARATOR_LINE = re.compile(r"\ufeff?sep=.", re.IGNORECASE)
_SINGLE = (",", ";", "|", "\x01", "^", "~")
# Several punctuation marks in a row, such as ``::``. A quotation mark is never part of a delimiter.
_RUN = re.compile(r"[^\w\s\"'.()\[\]{}+-]{2,8}|\|\|+|\t\t+|\t\|\t")
_STANDIN = "\x1f"
_ENOUGH = 0.95
_MAX_TITLES = 40
_MIN_LINES = 3
_AGREEING = 0.7
_MOST = 0.5
_WELL_QUOTED = re.compile(r'\s*"(?:[^"]|"")*"\s*')
_SINGLE_QUOTED = re.compile(r"(?:^|[,;|\t^~\x01])\s?'(?:[^'\\]|''|\\.)*'\s*(?:[,;|\t^~\x01]|$)")
_DOUBLE_QUOTED = re.compile(r'(?:^|[,;|\t^~\x01])\s?"')
_QUOTED_LINE = re.compile(r'"(?:[^"]|"")*[,;|\t](?:[^"]|"")*"')
# Programs for texts turn "u1" into “u1”, „u1“ or «u1», and spreadsheets write '12 for a number that is a text.
_COMMON = r"[,;|\t]"
_CURLY_QUOTED = r"(^|{0}) ?[“„”«»‘‚‹「『]([^“„”«»‘‚‹›「」『』\"]*)[”“»«’‘›」』] ?({0}|$)"
_AFTER_CURLY = re.compile(r"[”“»«’‘›」』] ?([^\w\s\"'.()!?“„”«»‘’‚‹›「」『』-]{1,3}|\t)")
_APOSTROPHE = r"(^|[,;|\t])'([0-9+=-][^',;|\t]*)([,;|\t]|$)"
# COPY of PostgreSQL and SELECT INTO OUTFILE of MySQL write \N for a missing value, and \t, \n, \r and \\ inside texts.
_COPY_ESCAPE = re.compile(r"\\(?:[tnr\\\t])")
_COPY_BACKSLASH = re.compile(r"\\(?:[\\NtnrbfvZ0\t])")
_WINDOWS_PATH = re.compile(r"(?:^|\t)[A-Za-z]:\\(?!\\)")
# Programs that write these delimiters quote fields, and double the marks inside.
_QUOTING = (",", ";")


@dataclasses.dataclass(frozen=True)
class FieldLayout:
    """How the lines of a text are split into fields.

    Attributes:
        delimiter: the text between two fields; ``BLANKS`` is any number of blanks and tabs.
        columns: number of fields on most lines.
        share: share of the lines with that number.
        quote: the quotation mark, "" where quotation marks are letters.
        escaped: whether marks inside fields follow a backslash, and are not doubled.
    """

    delimiter: str
    columns: int
    share: float
    quote: str = '"'
    escaped: bool = False


def count_comments(lines: Sequence[str]) -> int:
    """Return the number of lines before the first record that are none: comments with ``%`` or ``#``, or ``sep=;`` of Excel."""
    if len(lines) > 1 and _SEPARATOR_LINE.fullmatch(lines[0]):
        return 1
    first = next((i for i, line in enumerate(lines) if line.strip() and line[0] not in "%#"), 0)
    # A server that starts again writes its comments again. Ids may begin with a mark.
    words = {line.split()[0] for line in lines[:first] if line.strip()}
    if any(line[:1] in {"%", "#"} and line.split()[0] not in words for line in lines[first:]):
        return 0
    return first


def count_titles(lines: Sequence[str], given: str | None = None) -> int:
    """Return the number of lines before a table that are none of its lines, such as the title and the period of a report.

    The later lines agree on a number of fields. A title has fewer by two or more, or is alone on a line that is padded
    with delimiters. ``given`` is the delimiter where it is known.
    """
    full = [line for line in lines if line.strip()]
    later = full[min(len(full) // 2, _MAX_TITLES) :]
    layout = find_layout(later, given=given)
    needed = _ENOUGH if layout.delimiter == BLANKS else _AGREEING
    if len(full) < _MIN_LINES or layout.columns < 2 or layout.share < needed:
        return 0
    for number, line in enumerate(lines[:_MAX_TITLES]):
        fields = next(iter(split_records([line], layout)), [])
        filled = sum(bool(field.strip()) for field in fields)
        if filled > 1 and len(fields) >= max(layout.columns - 1, 2):
            if not any(each.strip() for each in lines[:number]):
                return 0
            # Where another mark splits all lines alike, the first one has the names, and cells are lists.
            whole = find_layout(full, given=given)
            is_other = whole.delimiter != layout.delimiter and whole.share >= _ENOUGH
            return 0 if is_other and _splits_names(whole, full[0]) else number
    return 0


def find_layout(lines: Sequence[str], suffix: str = "", given: str | None = None) -> FieldLayout:
    """Find the layout of a text from its first lines.

    Args:
        lines: the first lines without their ends.
        suffix: suffix of the file name; ".tsv" and ".tab" speak for the tab.
        given: the delimiter where it is known.

    Cost: O(characters) for each of about ten candidates.
    """
    lines = [line for line in lines if line.strip()]
    mark = _find_mark(lines)
    if given is not None:
        return _set_quote(_measure(lines, given, mark), lines)
    if suffix in {".tsv", ".tab"}:
        tabbed = _measure(lines, "\t", mark)
        if tabbed.columns > 1 and tabbed.share >= _MOST:
            return _set_quote(tabbed, lines)
    # Candidates of a later group are considered only where no earlier one splits most lines alike.
    first = lines[0] if lines else ""
    runs = dict.fromkeys(match for line in lines[:5] for match in _RUN.findall(line))
    certain = _list_certain(lines, runs, mark)
    # A mark that separates nothing when it is alone, such as the colon, is no empty field when it is doubled.
    doubled = [run for run in runs if len(set(run)) == 1 and run[0] not in {"\t", *_SINGLE}]
    for group in (certain, ["\t", *_SINGLE, *doubled], list(runs), [BLANKS]):
        found = [
            layout for each in group if (layout := _measure(lines, each, mark)).columns > 1 and layout.share > _MOST
        ]
        if found:
            # More fields break a tie, and before that the tab, and the delimiter of the names: cells may be lists.
            best = max(
                found,
                key=lambda layout: (
                    min(layout.share, _ENOUGH),
                    layout.delimiter == "\t",
                    _splits_names(layout, first),
                    layout.columns,
                    first.count(layout.delimiter) == layout.columns - 1,
                ),
            )
            return _set_quote(_include_blank(best, lines), lines)
    most = max((",", "\t", ";", "|"), key=first.count)
    return _set_quote(_measure(lines, most, mark), lines)


def _list_certain(lines: Sequence[str], runs: Iterable[str], mark: str) -> list[str]:
    """Return the runs of marks that can only be delimiters.

    Runs that the names lack are inside cells that are lists, where the names have another mark as often as the rows.
    """
    certain = [run for run in runs if _stands_alone(lines, run)]
    if any(run not in lines[0] for run in certain):
        named = [_measure(lines, each, mark) for each in ("\t", *_SINGLE)]
        if any(layout.share >= _ENOUGH and _splits_names(layout, lines[0]) for layout in named):
            return [run for run in certain if run in lines[0]]
    return certain


def _splits_names(layout: FieldLayout, first: str) -> bool:
    """Whether a delimiter splits the first line as the others. One comma alone may be that of a title."""
    return layout.columns > 2 and first.count(layout.delimiter) == layout.columns - 1


def find_escaped(lines: Sequence[str]) -> str:
    """Return the delimiter that has a backslash before it where it is a letter, as MySQL and Hive write it; "" where none has."""
    if not any("\\" in line for line in lines):
        return ""
    layout = find_layout(lines)
    escaped = [line for line in lines if "\\" + layout.delimiter in line]
    if not escaped or len(layout.delimiter) > 1 or layout.delimiter == BLANKS or any('"' in line for line in escaped):
        return ""
    plain = _measure([line.replace("\\" + layout.delimiter, "") for line in lines], layout.delimiter)
    has_names = lines[0].count(layout.delimiter) + 1 in {plain.columns, layout.columns - 1} - {layout.columns}
    # Of two readings that are equally uniform the names decide, and programs that write tabs escape them.
    is_equal = plain.share == layout.share and (has_names or layout.delimiter == "\t")
    return layout.delimiter if plain.share > layout.share or is_equal else ""


def find_text_marks(lines: Sequence[str]) -> tuple[str, str]:
    """Return the pattern of fields in curly quotation marks, or after the apostrophe of a spreadsheet, and their delimiter.

    Nearly all lines have such a field. The second group of the pattern is the field without its marks; the delimiter is "" where
    it is a common one. Both are "" where there is no such mark.
    """
    rows = [line for line in lines[1:] if line.strip()]
    after = collections.Counter(mark for row in rows for mark in _AFTER_CURLY.findall(row)).most_common(1)
    delimiter = next((mark for mark, _ in after if not re.fullmatch(_COMMON, mark)), "")
    for pattern, mark in (
        (_CURLY_QUOTED.format(_COMMON), ""),
        (_CURLY_QUOTED.format(re.escape(delimiter)) if delimiter else "", delimiter),
        (_APOSTROPHE, ""),
    ):
        if rows and pattern and sum(re.search(pattern, row) is not None for row in rows) >= _ENOUGH * len(rows):
            # One field at the begin or the end of a line has no delimiter of its own before or behind it.
            if not mark and delimiter and pattern != _APOSTROPHE and not any(re.search(_COMMON, row) for row in rows):
                continue
            return pattern, mark
    return "", ""


def find_joint(lines: Sequence[str]) -> str:
    r"""Return what joins lines that end in a backslash with the next one, as SELECT INTO OUTFILE writes line ends; "" for others.

    Lines with tabs are joined by the escape ``\n``, others by a blank. They are of one record where joined lines have the
    same number of fields, and single ones have not.
    """
    if not any(_ends_in_escape(line) for line in lines[:-1]):
        return ""
    joined: list[str] = []
    for line in lines:
        if joined and _ends_in_escape(joined[-1]):
            joined[-1] = joined[-1][:-1] + " " + line
        else:
            joined.append(line)
    # Escaped delimiters end no field either.
    plain, found = (find_layout([re.sub(r"\\.", "", line) for line in each]) for each in (lines, joined))
    if found.columns == 1 or found.share < _ENOUGH * 0.9 or found.share <= plain.share:
        return ""
    return "\\n" if found.delimiter == "\t" else " "


def _ends_in_escape(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def has_copy_escapes(lines: Sequence[str]) -> bool:
    """Whether fields between tabs have the escapes of PostgreSQL and MySQL, and no backslash means anything else."""
    tabbed = [line for line in lines if "\t" in line]
    if len(tabbed) < _ENOUGH * len(lines) or not any("\\" in line for line in tabbed):
        return False
    is_foreign = any("\\" in _COPY_BACKSLASH.sub("", line) or _WINDOWS_PATH.search(line) for line in tabbed)
    return not is_foreign and any(_COPY_ESCAPE.search(line) for line in tabbed)


def has_quoted_lines(lines: Sequence[str]) -> bool:
    """Whether each line, perhaps without the first, is one text in quotation marks that has fields: ``"u1,i1,5"``."""
    lines = [line.strip() for line in lines if line.strip()]
    lines = [*lines[:1], *(line.rstrip(",;") for line in lines[1:])]
    whole = [line for line in lines[1:] if _QUOTED_LINE.fullmatch(line)]
    if not whole or len(whole) < len(lines) - 1 or not any(mark in lines[0] for mark in ("\t", *_SINGLE)):
        return False
    return find_layout([line[1:-1].replace('""', '"') for line in whole]).columns > 1


def _find_mark(lines: Sequence[str]) -> str:
    """Return the quotation mark: the single one where nearly all lines have a field in such marks, and none in double ones."""
    quoted = [line for line in lines[1:] if _SINGLE_QUOTED.search(line)]
    is_single = quoted and len(quoted) >= _ENOUGH * len(lines[1:]) and not any(map(_DOUBLE_QUOTED.search, lines))
    return "'" if is_single else '"'


def _include_blank(layout: FieldLayout, lines: Sequence[str]) -> FieldLayout:
    """Return the layout with the blank after each delimiter, where it stands before the marks: ``"a", "b"``."""
    quote = layout.quote or '"'
    if layout.delimiter not in _SINGLE or not any(f"{layout.delimiter} {quote}" in line for line in lines):
        return layout
    # Inside a field, such as one of JSON, a blank before a mark means nothing.
    records = split_records(lines, dataclasses.replace(layout, quote=quote))
    if sum(any(cell.startswith(" " + quote) for cell in record) for record in records) < _MOST * len(records):
        return layout
    blank = _measure(lines, layout.delimiter + " ", quote)
    return blank if blank.columns >= layout.columns and blank.share >= layout.share else layout


def split_records(lines: Sequence[str], layout: FieldLayout) -> list[list[str]]:
    """Split lines into records of fields; a quoted field may contain several lines."""
    if layout.delimiter == BLANKS and not layout.quote:
        return [line.split() for line in lines if line.strip()]
    marked = [line.replace(layout.delimiter, _STANDIN) for line in lines if line.strip()]
    if not layout.quote:
        return [line.split(_STANDIN) for line in marked]
    if layout.escaped:
        marked = [_double_marks(line, layout.quote) for line in marked]
    return [
        [cell.replace(_STANDIN, layout.delimiter) for cell in record] for record in _read_quoted(marked, layout.quote)
    ]


def _read_quoted(marked: Sequence[str], mark: str) -> Any:  # a csv.reader, whose type has no public name
    csv.field_size_limit(max(csv.field_size_limit(), 10_000_000))
    return csv.reader((line + "\n" for line in marked), delimiter=_STANDIN, quotechar=mark)


def _measure(lines: Sequence[str], delimiter: str, mark: str = '"') -> FieldLayout:
    """Count the fields of each line, quoted and not, and return the more uniform of both."""
    if not lines:
        return FieldLayout(delimiter, 1, 0.0)
    plain = [len(line.split()) if delimiter == BLANKS else line.count(delimiter) + 1 for line in lines]
    columns, agreeing = collections.Counter(plain).most_common(1)[0]
    best = FieldLayout(delimiter, columns, agreeing / len(lines), "" if delimiter == BLANKS else mark)
    if not any(mark in line for line in lines):
        return best
    quoted = _count_quoted(lines, delimiter, mark)
    if any("\\" + mark in line for line in lines):
        escaped = _count_quoted([_double_marks(line, mark) for line in lines], delimiter, mark)
        # A backslash at the end of a field, such as that of a path, escapes nothing.
        inside = re.compile(rf"\\{mark}(?!{re.escape(delimiter)}|\s*$)")
        if (escaped.share, any(map(inside.search, lines))) > (quoted.share, False):
            quoted = dataclasses.replace(escaped, escaped=True)
    # A delimiter inside the marks of every line ("Jan 5, 2020") makes both equally uniform.
    return quoted if quoted.share >= best.share or quoted.columns == best.columns else best


def _count_quoted(lines: Sequence[str], delimiter: str, mark: str) -> FieldLayout:
    """Count the fields of each record, in which fields may be quoted and have several lines."""
    counts: collections.Counter[int] = collections.Counter()
    reader, before = _read_quoted([line.replace(delimiter, _STANDIN) for line in lines], mark), 0
    for record in reader:
        counts[len(record)] += reader.line_num - before
        before = reader.line_num
    columns, agreeing = counts.most_common(1)[0]
    return FieldLayout(delimiter, columns, agreeing / len(lines), mark)


def _double_marks(line: str, mark: str) -> str:
    return line.replace("\\" + mark, mark + mark)


def _stands_alone(lines: Sequence[str], run: str) -> bool:
    """Whether marks such as ``|~|`` or two tabs are in every line, and never a part of them.

    One mark repeated may be an empty field, and counts only where it is more than once in every line.
    """
    if run != run[::-1] or "," in run:
        return False
    least = 2 if len(set(run)) == 1 else 1
    return all(line.count(run) >= least and not set(run) & set(line.replace(run, "")) for line in lines)


def _set_quote(layout: FieldLayout, lines: Sequence[str]) -> FieldLayout:
    """Quotation marks are letters where fields begin with one and do not end with it, and none needs its marks."""
    if layout.delimiter in {*_QUOTING, BLANKS} or not any('"' in line for line in lines):
        return layout
    unpaired = any(
        field.lstrip().startswith('"') and not _WELL_QUOTED.fullmatch(field)
        for line in lines
        if line.count(layout.delimiter) + 1 == layout.columns
        for field in line.split(layout.delimiter)
    )
    needed = any('""' in line or line.count(layout.delimiter) + 1 > layout.columns for line in lines)
    return dataclasses.replace(layout, quote="") if unpaired and not needed else layout
