"""Delimited text as DuckDB reads it: which character divides the fields, what the columns are called, what they hold."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.errors import SourceError

__all__ = ["PACKED", "DelimitedFile", "decimal_comma", "guess_types", "line_scan", "open_delimited"]

PACKED = (".gz", ".zst")
_DELIMITERS = (",", "\t", ";", "|")
_HEAD = 65_536
_LEAST_BUFFER = 4_000_000


@dataclasses.dataclass(frozen=True)
class DelimitedFile:
    """A file of delimited text, with fields in double quotes where they need them.

    Attributes:
        path: the file.
        delimiter: what divides the fields.
        names: of the columns.
        header: whether the first line names the columns.
        buffer: bytes that each thread reads at once.
        rejects: name of the table in which DuckDB lists the lines that it could not read.
    """

    path: Path
    delimiter: str
    names: tuple[str, ...]
    header: bool
    buffer: int
    rejects: str

    def scan(self) -> str:
        """The SQL table expression. Lines that cannot be read go to ``rejects``."""
        store = f"store_rejects = true, rejects_table = '{self.rejects}', rejects_scan = '{self.rejects}_scans'"
        return f"read_csv({quote_literal(self.path)}, {self._options(self.buffer)}, {store})"

    def glance(self) -> str:
        """The same for a look at the first rows: what cannot be read is passed over, whatever is wrong with it."""
        options = self._options(_LEAST_BUFFER)
        return f"read_csv({quote_literal(self.path)}, {options}, ignore_errors = true, strict_mode = false)"

    def _options(self, buffer: int) -> str:
        columns = ", ".join(f"{quote_literal(each)}: 'VARCHAR'" for each in self.names)
        return (
            f"auto_detect = false, delim = {quote_literal(self.delimiter)}, quote = '\"', escape = '\"', "
            f"header = {str(self.header).lower()}, buffer_size = {buffer}, columns = {{{columns}}}"
        )


def open_delimited(engine: SqlEngine, path: Path, *, positions: bool, rejects: str) -> DelimitedFile:
    """Look at the first line. Without a line of names (``positions``) the columns are called "1", "2", ….

    Raises SourceError if there is no line of text, or if the names cannot be read.
    """
    line = _first_line(engine, path)
    delimiter = max(_DELIMITERS, key=line.count)
    cells = next(csv.reader([line], delimiter=delimiter), [])
    names = [str(i + 1) for i in range(len(cells))] if positions else _distinct(cells)
    return DelimitedFile(path, delimiter, tuple(names), not positions, _buffer(engine), rejects)


def guess_types(engine: SqlEngine, file: DelimitedFile) -> dict[str, str]:
    """DOUBLE for columns most of whose first thousand values are numbers, VARCHAR for the others."""
    tests = ", ".join(
        f"count(coalesce(try_cast({c} AS DOUBLE), {decimal_comma(c, file.delimiter, 'DOUBLE')})) * 2 > count({c})"
        for c in map(quote_identifier, file.names)
    )
    row = engine.fetch_rows(f"SELECT {tests} FROM (SELECT * FROM {file.glance()} LIMIT 1000)", str(file.path))[0]
    return {name: "DOUBLE" if number else "VARCHAR" for name, number in zip(file.names, row, strict=True)}


def decimal_comma(column: str, delimiter: str, number_type: str) -> str:
    """SQL for a number such as 4,5. Three digits after the comma may be thousands unless the fields are divided by ``;``."""
    digits = "+" if delimiter == ";" else "{1,2}"
    pattern = quote_literal(rf"^\s*([+-]?\d*),(\d{digits})\s*$")
    return f"try_cast(regexp_replace({column}, {pattern}, '\\1.\\2') AS {number_type})"


def line_scan(path: Path, buffer: int, encoding: str = "utf-8") -> str:
    """SQL table expression with the lines of a file as its one column ``line``, NULL where a line is empty."""
    options = "auto_detect = false, header = false, quote = '', escape = '', ignore_errors = true, strict_mode = false"
    return (
        f"read_csv({quote_literal(path)}, {options}, delim = '\x01', buffer_size = {buffer}, encoding = '{encoding}', "
        "columns = {'line': 'VARCHAR'})"
    )


def _buffer(engine: SqlEngine) -> int:
    """Bytes that each thread reads at once: 16 MB, or what a small limit has room for."""
    return min(16_000_000, max(_LEAST_BUFFER, engine.limit // 20))


def _first_line(engine: SqlEngine, path: Path) -> str:
    if path.suffix.lower() not in PACKED:
        _check_names(path)
    scan = line_scan(path, _buffer(engine))
    rows = engine.fetch_rows(f"SELECT line FROM {scan} WHERE line IS NOT NULL LIMIT 1", str(path))
    if not rows:
        raise SourceError(f"{path} is empty: it has no line of text. Check how it was written.")
    return str(rows[0][0]).lstrip("\ufeff")


def _check_names(path: Path) -> None:
    """Raise where the first line is no UTF-8: it would be passed over, and the first row taken for the names."""
    with path.open("rb") as handle:
        first = next(iter(handle.read(_HEAD).splitlines()), b"")
    try:
        first.decode()
    except UnicodeDecodeError as error:
        if error.end < len(first) or len(first) < _HEAD:
            raise SourceError(
                f"{path}, line 1, is not UTF-8 text. As Windows-1252 (Latin-1) it reads "
                f"{first.decode('cp1252', 'replace')[:80]!r}. "
                "If that is right, say --encoding cp1252, or encoding='cp1252'; else name the encoding that the file has."
            ) from error


def _distinct(cells: Sequence[str]) -> list[str]:
    names: list[str] = []
    for i, cell in enumerate(cells):
        name = cell.strip() or f"column{i + 1}"
        names.append(name if name.lower() not in {each.lower() for each in names} else f"{name}_{i + 1}")
    return names
