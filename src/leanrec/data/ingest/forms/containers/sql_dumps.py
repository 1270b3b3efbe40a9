"""Dumps of databases as SQL (pg_dump, mysqldump, sqlite3 .dump): the rows of COPY and INSERT become text with columns.

DuckDB splits the statements with regular expressions, in two passes over the bytes: one lists the tables, one reads a table.
"""

import dataclasses
import re
from pathlib import Path

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.ingest.forms.containers.members import Member, choose_members
from leanrec.data.ingest.text_files import line_scan
from leanrec.errors import SourceError

__all__ = ["is_dump", "write_tables"]

# mysqldump writes two blanks before IGNORE, and REPLACE with --replace.
_INTO = (
    r"(?:INSERT +(?:(?:OR +)?(?:IGNORE|REPLACE|DELAYED|LOW_PRIORITY|HIGH_PRIORITY) +)*INTO|REPLACE +(?:DELAYED +)?INTO)"
)
_STATEMENT = rf"(?im)^(?:COPY .+ FROM stdin;|{_INTO} .+)\s*$"
_BEGIN = re.compile(
    r"\s*(?:--|/\*|#|SET |USE |BEGIN|PRAGMA|DROP |CREATE |COPY .+ FROM stdin|INSERT |REPLACE )", re.IGNORECASE
)
_COPY = r"^COPY .+ FROM stdin;"
_INSERT = rf"(?i)^{_INTO} [^']*?VALUES"
_BARE = rf"(?i)^{_INTO} "
_HEADER = re.compile(
    rf"(?:COPY|{_INTO}|CREATE TABLE(?: IF NOT EXISTS)?)\s+(?P<name>[^\s(]+)\s*(?:\((?P<columns>.*?)\))?",
    re.IGNORECASE | re.DOTALL,
)
_NO_COLUMN = re.compile(
    r"(?:PRIMARY|UNIQUE|FOREIGN|KEY|CONSTRAINT|CHECK|INDEX|FULLTEXT|SPATIAL|EXCLUDE|LIKE)\b", re.IGNORECASE
)
_CREATED = re.compile(r"^\)|\)[^,()]*;\s*$", re.MULTILINE)
_BUFFER = 34_000_000
_MAX_LINE = 16_000_000
_MAX_CREATE = 100_000


@dataclasses.dataclass
class _DumpedTable:
    """A table of a dump: the begin of each of its statements, the names of its columns, and its lines."""

    name: str
    marks: list[str] = dataclasses.field(default_factory=list)
    columns: list[str] = dataclasses.field(default_factory=list)
    lines: int = 0


def is_dump(head: bytes) -> bool:
    """Whether the first bytes are SQL that fills tables."""
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    # The first INSERT may be one line that is longer than the head.
    return _BEGIN.match(text) is not None and re.search(_STATEMENT, text) is not None


def write_tables(engine: SqlEngine, path: Path, label: str, role: str, wanted: str) -> tuple[Path, str, str]:
    """Write the rows of one table of a dump as delimited text; return its path, its name and a sentence about it.

    Args:
        engine: the connection.
        path: the dump.
        label: its name in messages.
        role: what the table is, see ``choose_members``.
        wanted: the name of the table, "" where it is to be found.

    Raises SourceError where no table is certain, or where a statement cannot be read. Cost: O(bytes) time, and the table on disk.
    """
    marked, tables = _list_tables(engine, path, label)
    found = [Member(each.name, each.lines, lambda each=each: each.columns) for each in tables.values()]  # type: ignore[misc]
    if wanted and wanted not in tables:
        raise SourceError(f"{label} has no table {wanted!r}. Its tables are: {', '.join(tables) or 'none'}.")
    (member, *_), note = (
        ([next(each for each in found if each.name == wanted)], "") if wanted else choose_members(label, found, role)
    )
    table = tables[member.name]
    target = engine.new_path(f"{table.name}.csv")
    marks = ", ".join(map(quote_literal, table.marks))
    rows = f"(SELECT line, mark FROM {marked} WHERE mark IN ({marks}))"
    is_mysql = any("`" in each for each in table.marks)
    values = (
        _copied_values(rows) if table.marks[0].upper().startswith("COPY") else _inserted_values(rows, mysql=is_mysql)
    )
    read = f"leanrec_dump_{engine.next_number()}"
    engine.execute(f"CREATE TEMP TABLE {read} AS {values}", label)
    test = f"count_if(NOT whole OR len(v) <> {len(table.columns)}), count(*)"
    bad, rows = engine.fetch_rows(f"SELECT {test} FROM {read}", label)[0]
    if bad:
        raise SourceError(
            f"{label} is a dump of a database; {bad:,} of the {rows:,} rows of its table {table.name} cannot be told from the SQL around "
            "them. Load it into its database, and export the table as CSV: "
            f"COPY {table.name} TO 'log.csv' (FORMAT csv, HEADER) in PostgreSQL, or mysql -B -e 'SELECT * FROM {table.name}' "
            "DATABASE > log.tsv for MySQL."
        )
    fields = ", ".join(f"v[{i}] AS {quote_identifier(name)}" for i, name in enumerate(table.columns, 1))
    engine.execute(
        f"COPY (SELECT {fields} FROM {read}) TO {quote_literal(target)} (FORMAT csv, HEADER true, DELIMITER ',', QUOTE '\"', ESCAPE '\"')",
        label,
    )
    engine.execute(f"DROP TABLE {read}")
    told = f"{label} is a dump of a database; the rows of its table {table.name} were read."
    return target, table.name, f"{told} {note}".strip()


def _list_tables(engine: SqlEngine, path: Path, label: str) -> tuple[str, dict[str, _DumpedTable]]:
    """Return the SQL of the lines with the begin of their statements, and the tables with rows, by name."""
    options = f"buffer_size = {_BUFFER}, max_line_size = {_MAX_LINE}"
    lines = line_scan(path, 0).replace("buffer_size = 0", options)
    mark = (
        f"CASE WHEN regexp_matches(line, {quote_literal(_COPY)}) THEN line WHEN line = '\\.' THEN '' "
        f"WHEN regexp_matches(line, {quote_literal(_INSERT)}) THEN regexp_extract(line, {quote_literal(_INSERT)}) "
        f"WHEN line ILIKE 'CREATE TABLE %' THEN line WHEN regexp_matches(line, {quote_literal(_BARE)}) THEN '' END"
    )
    marked = f"(SELECT line, row_number() OVER () AS n, last_value({mark} IGNORE NULLS) OVER (ROWS UNBOUNDED PRECEDING) AS mark FROM {lines})"
    counted = f"SELECT mark, count(*) FROM {marked} WHERE mark <> '' AND mark NOT ILIKE 'CREATE TABLE %' GROUP BY mark ORDER BY mark"
    created = f"SELECT mark, string_agg(line, chr(10) ORDER BY n) FROM {marked} WHERE mark ILIKE 'CREATE TABLE %' GROUP BY mark LIMIT {_MAX_CREATE}"
    columns = {}
    for _, text in engine.fetch_rows(created, label):
        if (match := _HEADER.match(text)) is not None:
            columns[_plain_name(match["name"])] = _list_created(text[match.end("name") :])
    tables: dict[str, _DumpedTable] = {}
    for begin, count in engine.fetch_rows(counted, label):
        match = _HEADER.match(begin)
        assert match is not None  # noqa: S101 - the begin of a statement has this form
        name = _plain_name(match["name"])
        table = tables.setdefault(name, _DumpedTable(name))
        table.marks.append(begin)
        table.lines += int(count)
        named = [_plain_name(each) for each in (match["columns"] or "").split(",") if each.strip()]
        named = named or columns.get(name, [])
        if table.columns not in ([], named) or not named:
            raise SourceError(
                f"{label} is a dump of a database whose statements name the columns of the table {name} differently, or not at all. Load "
                "it into its database, and export the table as CSV."
            )
        table.columns = named
    return marked, tables


def _plain_name(text: str) -> str:
    """Return a name without its schema and quotation marks: ``public."ratings"`` is ratings."""
    return text.strip().rpartition(".")[2].strip('`"[] ')


def _list_created(text: str) -> list[str]:
    """Return the names of the columns between the brackets of CREATE TABLE."""
    end = _CREATED.search(text)
    inner = text[text.find("(") + 1 : end.start() if end else len(text)]
    while (plain := re.sub(r"\([^()]*\)", "", inner)) != inner:
        inner = plain
    fields = [field.strip() for field in re.sub(r"--[^\n]*|'[^']*'", "", inner).split(",")]
    return [_plain_name(field.split()[0]) for field in fields if field and not _NO_COLUMN.match(field)]


def _copied_values(rows: str) -> str:
    """SQL: the values of each line of COPY as the list ``v``."""
    text = r"replace(replace(replace(replace(x, '\\', chr(31)), '\t', chr(9)), '\n', chr(10)), '\r', chr(13))"
    value = rf"CASE WHEN x = '\N' THEN NULL ELSE replace({text}, chr(31), '\') END"
    return rf"SELECT list_transform(string_split(line, chr(9)), lambda x: {value}) AS v, true AS whole FROM {rows} WHERE line <> mark"


def _inserted_values(rows: str, *, mysql: bool) -> str:
    """SQL: the values of each row of INSERT as the list ``v``; ``whole`` is whether the statement has nothing else."""
    text = r"'(?:[^'\\]|\\.|'')*'" if mysql else r"'(?:[^']|'')*'"
    row = rf"\((?:{text}|[^'()]|\([^'()]*\))*\)"
    value = rf"(?:[^,']*{text}[^,']*|[^,']+)"
    plain = "replace(regexp_extract(x, '''(.*)''', 1, 's'), '''''', '''')"
    if mysql:
        plain = rf"replace({plain}, '\\', chr(31))"
        for letter, code in (("n", 10), ("r", 13), ("t", 9)):
            plain = rf"replace({plain}, '\{letter}', chr({code}))"
        plain = rf"replace(regexp_replace({plain}, '\\(.)', '\1', 'g'), chr(31), '\')"
    read = f"CASE WHEN contains(x, '''') THEN {plain} WHEN upper(trim(x)) = 'NULL' THEN NULL ELSE trim(x) END"
    rest = "CASE WHEN starts_with(line, mark) THEN substr(line, length(mark) + 1) ELSE line END"
    statement = rf"(?s)\s*(?:{row}\s*,?\s*)*;?\s*"
    whole = f"regexp_full_match(rest, {quote_literal(statement)})"
    cells = f"regexp_extract_all(t[2:-2], {quote_literal(f'(?s){value}')})"
    lines = f"SELECT {rest} AS rest FROM {rows} WHERE starts_with(line, mark) OR line LIKE '(%'"
    # A line that is not whole, such as one of a text with several lines, has a row too, so that it is found.
    tuples = f"unnest(CASE WHEN {whole} THEN regexp_extract_all(rest, {quote_literal(f'(?s){row}')}) ELSE [NULL] END)"
    return f"SELECT list_transform({cells}, lambda x: {read}) AS v, t IS NOT NULL AS whole FROM (SELECT {tuples} AS t FROM ({lines}))"
