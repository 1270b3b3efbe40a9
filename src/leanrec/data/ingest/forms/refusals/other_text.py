"""Refusals of text that is no table: pages, XML, configuration, scripts, graphs, and examples of learners."""

import json
import re
import shlex
from collections.abc import Callable, Sequence

from leanrec.data.ingest.forms.containers.sql_dumps import is_dump
from leanrec.data.ingest.forms.refusals.feature_files import describe_features
from leanrec.data.ingest.forms.refusals.xml_files import advise_xml
from leanrec.errors import SourceError

__all__ = ["refuse_text"]

_MARKUP = re.compile(rb"\s*<(?:!doctype\s+html|html|head|body)", re.IGNORECASE)
# Names of columns may be in such brackets too: <user>,<item>.
_XML = re.compile(rb"\s*<\?xml|\s*<[A-Za-z][\w:.-]*(?:\s[^<>]*)?>(?![,;\t|])")
_SQL_SCRIPT = re.compile(r"^insert\s+(?:into\s+)?[\w.\"\[\]]+\s*\([^)]*\)\s*values\s*\(", re.IGNORECASE | re.MULTILINE)
_SQL_TABLE = re.compile(
    r"(?:\s|--.*\n|/\*.*?\*/;?)*(?:(?:SET|USE|DROP|CREATE DATABASE)\b[^;]*;\s*)*CREATE TABLE\b",
    re.IGNORECASE | re.DOTALL,
)
_JAVASCRIPT = re.compile(
    r"\s*(?:(?:var|let|const|export default)\s+)?(?:(?P<name>[A-Za-z_$][\w.$]*)\s*(?:=\s*|\(\s*)|export default\s*)[\[{]\s*[\[{\"]"
)
_TRIPLE = re.compile(r"(?:<[^<>]*>|_:\S+)\s+(<[^<>\s]*>)\s+(<[^<>]*>|_:\S+|\".*?)(?:\s+<[^<>]*>)?\s*\.\s*")
_TURTLE = re.compile(r"\s*(?:#.*\n\s*)*(?:@prefix|@base|PREFIX|BASE)\s+\S*\s*<", re.IGNORECASE)
_SECTION = re.compile(r"\[{1,2}[^\[\],;]+\]{1,2}\s*")
_ASSIGNMENT = re.compile(r"[^=\[\]{]+=.*")
_YAML_LINE = re.compile(
    r"\s*(?:- +)*(?:\"[^\"]*\"|'[^']*'|[^\s\"'{}\[\],#&*!|>%@:-][^:#]*):(?:\s.*)?|\s*-(?:\s.*)?|\.\.\.|---.*"
)
_YAML_BEGIN = re.compile(r"---\s*|%YAML.*|- +(?:\{.*|[^:]+:(?:\s.*)?)|[^:]+:\s*(?:#.*)?")
_YAML_INSIDE = re.compile(r"\s*- +\S.*|\s+[^\s:][^:]*:(?:\s.*)?")
_MAX_LINES = 200


def refuse_text(data: bytes, text: str, label: str) -> None:
    """Raise SourceError where a text is no table: what it is, and what to do.

    Args:
        data: the first bytes.
        text: these as text.
        label: name of the file in messages.
    """
    begin, whole = data.removeprefix(b"\xef\xbb\xbf"), _list_lines(text)
    if data.startswith(b"%%MatrixMarket"):
        raise SourceError(
            f"{label} is in the Matrix Market form, whose second line gives sizes. Pass it in Python: "
            f"matrix = scipy.io.mmread({label!r}); ingest(pandas.DataFrame({{'user': matrix.row, 'item': matrix.col, "
            "'weight': matrix.data}))."
        )
    if data.startswith(b"version https://git-lfs"):
        raise SourceError(
            f"{label} is a pointer of Git LFS, not the file itself. Fetch the file with git lfs pull in the "
            "repository that it comes from."
        )
    if _MARKUP.match(begin):
        raise SourceError(_describe_page(text, label))
    for describe in (_describe_graph, _describe_settings, describe_features):
        if message := describe(text, whole, label):
            raise SourceError(message)
    if _XML.match(begin):
        raise SourceError(advise_xml(begin, text, label))
    if not is_dump(data) and (message := _describe_script(text, label)):
        raise SourceError(message)


def _list_lines(text: str) -> list[str]:
    """Return the first complete lines with text."""
    lines = [line.rstrip("\r") for line in text.split("\n", _MAX_LINES)[:_MAX_LINES] if line.strip()]
    return lines[:-1] if len(lines) > 1 and not text.endswith("\n") else lines


def _describe_page(text: str, label: str) -> str:
    if re.search(r"<table\b", text, re.IGNORECASE):
        return (
            f"{label} is an HTML page with a table, not a log. Open it in a spreadsheet and save it as CSV, or pass the table in Python: "
            f"ingest(pandas.read_html({label!r}, header=0)[0])."
        )
    title = re.search(r"<title>\s*(.*?)\s*</title>", text, re.IGNORECASE | re.DOTALL)
    called = f" (its title is {title[1][:80]!r})" if title else ""
    return (
        f"{label} is an HTML page{called}, not a log. A download that needs a login or a confirmation returns "
        "such a page; download the file again in a browser."
    )


def _describe_script(text: str, label: str) -> str:
    """Return what a script of SQL or JavaScript is and the way out, "" for other text."""
    quoted = shlex.quote(label)
    if _SQL_SCRIPT.search(text):
        return (
            f"{label} is a script of SQL Server or Oracle that fills tables. Run it in its database, and export the table as CSV: "
            "sqlcmd -Q 'SET NOCOUNT ON; SELECT * FROM TABLE' -s, -W -o log.csv for SQL Server, or SET MARKUP CSV ON, SPOOL log.csv and "
            "SELECT * FROM TABLE in SQL*Plus, with its name in place of TABLE."
        )
    if _SQL_TABLE.match(text):
        return (
            f"{label} is a dump of a database that creates tables and fills none. Dump the rows too: mysqldump without -d, "
            "pg_dump without -s."
        )
    script = _JAVASCRIPT.match(text)
    # A name that comes again is a key: body={…} in each line.
    if script and not re.search(rf"\n\s*{re.escape(script['name'] or '=')}\s*=", text):
        return (
            f"{label} is JavaScript around JSON, not JSON. Remove what is before the first bracket and behind the last one: "
            f"sed '1s/^[^[{{]*//; $s/[);[:space:]]*$//' {quoted} > log.json, and pass log.json."
        )
    return ""


def _describe_graph(text: str, lines: Sequence[str], label: str) -> str:
    """Return what RDF is and how to take the pairs of one predicate from it, "" for other text."""
    if _TURTLE.match(text):
        return (
            f"{label} is RDF in Turtle, not a log. Convert it to N-Triples with rdflib in Python: rdflib.Graph().parse({label!r}, "
            "format='turtle').serialize('log.nt', format='nt'), and pass log.nt."
        )
    found = [match for line in lines if (match := _TRIPLE.fullmatch(line)) is not None]
    if not found or len(found) < len(lines):
        return ""
    predicates = [match[1] for match in found if match[2][0] != '"'] or [match[1] for match in found]
    # A predicate that links users to items has the most triples.
    predicate = max(dict.fromkeys(predicates), key=predicates.count)
    quoted = shlex.quote(label)
    return (
        f"{label} is RDF in N-Triples, which does not say what users and items are. Where a predicate such as {predicate} links users to "
        f'items, write its pairs: awk \'$2 == "{predicate}" {{print $1 "\\t" $3}}\' {quoted} > log.tsv, and pass log.tsv with '
        'names="user,item". For links of items write all triples: '
        f'awk \'{{print $1 "\\t" $2 "\\t" $3}}\' {quoted} > links.tsv.'
    )


def _describe_settings(text: str, lines: Sequence[str], label: str) -> str:
    """Return what YAML, TOML or sections of settings are and the way out, "" for other text."""
    lines = [line for line in lines if not line.lstrip().startswith(("#", ";"))]
    if len(lines) < 3:
        return ""
    if _SECTION.fullmatch(lines[0]) and all(map(_either(_SECTION, _ASSIGNMENT), lines)):
        if lines[0].startswith("[["):
            load = f'tomllib.load(open({json.dumps(label)}, "rb"))'
            return f"{label} is TOML, not a log. {_convert('tomllib', load)}"
        return (
            f"{label} has settings in sections, not a log. Where each section is a user and each key an item, write one line for each: "
            "awk -F' *= *' '/^\\[/ {u = substr($1, 2, length($1) - 2); next} NF > 1 {print u \",\" $1 \",\" $2}' "
            f'{shlex.quote(label)} > log.csv, and pass log.csv with names="user,item,rating".'
        )
    is_yaml = (
        _YAML_BEGIN.fullmatch(lines[0]) is not None
        and all(map(_YAML_LINE.fullmatch, lines))
        and any(":" in line for line in lines)
        and (lines[0].startswith("---") or any(map(_YAML_INSIDE.fullmatch, lines[1:])))
    )
    if not is_yaml:
        return ""
    documents = len(re.findall(r"^---\s*$", text.lstrip(), re.MULTILINE))
    file = f"open({json.dumps(label)})"
    load = f"yaml.safe_load({file})" if documents < 2 else f"list(yaml.safe_load_all({file}))"
    return f"{label} is YAML, not a log. {_convert('yaml', load)}"


def _either(*patterns: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda line: any(pattern.fullmatch(line) for pattern in patterns)


def _convert(module: str, load: str) -> str:
    """Return the command that writes what a library of Python loads as JSON."""
    program = f'import json, {module}; json.dump({load}, open("log.json", "w"), default=str)'
    package = " (it needs the package pyyaml)" if module == "yaml" else ""
    return f"Convert it to JSON{package}: python -c {shlex.quote(program)}, and pass log.json."
