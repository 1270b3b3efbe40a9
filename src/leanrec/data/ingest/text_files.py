"""Delimited text files for DuckDB: encoding, delimiter, column names and column types."""

import codecs
import csv
import dataclasses
import gzip
from pathlib import Path
from typing import BinaryIO, cast

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.errors import SettingError, SourceError

__all__ = [
    "PACKED",
    "DelimitedFile",
    "check_encoding",
    "convert_to_utf8",
    "decimal_comma",
    "guess_types",
    "line_scan",
    "open_delimited",
]

PACKED = (".gz", ".zst")
_DELIMITERS = (",", "\t", ";", "|")
_HEAD = 65_536
_MIN_BUFFER = 4_000_000
_BLOCK = 1_000_000
_ENCODINGS = "cp1252, latin-1, gbk, big5, shift_jis, euc_kr or utf-16"


def check_encoding(name: str) -> None:
    """Raise SettingError unless ``name`` is a text encoding."""
    try:
        known = codecs.lookup(name)._is_text_encoding  # noqa: SLF001 - no public way to distinguish base64 from text
    except LookupError:
        known = False
    if not known:
        raise SettingError(f"encoding must be a text encoding of Python, such as {_ENCODINGS}. Got {name!r}.")


def convert_to_utf8(engine: SqlEngine, path: Path) -> Path:
    """Return the file itself where it needs no conversion, else a UTF-8 copy in the folder of the engine.

    Cost: O(bytes), and as much disk. Raises SourceError with file and line where bytes are not valid in
    ``engine.encoding``.
    """
    if engine.encoding is None:
        return path
    try:
        with path.open("rb") as handle:
            is_parquet = handle.read(4) == b"PAR1"
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error
    if is_parquet:
        return path
    if path.suffix.lower() == ".zst":
        raise SourceError(f"{path}: text with an encoding must be plain or packed as .gz. Unpack the .zst file first.")
    folder = engine.folder / "utf8" / str(engine.next_number())
    packed = path.suffix.lower() == ".gz"
    target = folder / (path.stem if packed else path.name)
    try:
        folder.mkdir(parents=True)
        with cast("BinaryIO", gzip.open(path)) if packed else path.open("rb") as source, target.open("wb") as copy:
            _write_utf8(source, copy, engine.encoding, path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read as {engine.encoding}: {error.strerror or error}.") from error
    return target


def _write_utf8(source: BinaryIO, copy: BinaryIO, encoding: str, path: Path) -> None:
    decoder, line, is_first = codecs.getincrementaldecoder(encoding)("strict"), 1, True
    while True:
        data = source.read(_BLOCK)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding, "ignore").count("\n")
            raise SourceError(
                f"{path}, line {line + before:,}: byte 0x{error.object[error.start]:02x} is not valid in {encoding}. "
                f"Pass the encoding of the file as encoding=NAME, such as {_ENCODINGS}."
            ) from error
        copy.write((text.removeprefix("\ufeff") if is_first else text).encode("utf-8", "replace"))
        line, is_first = line + text.count("\n"), is_first and not text
        if not data:
            return


@dataclasses.dataclass(frozen=True)
class DelimitedFile:
    """A file of delimited text, with double quotes around fields that need them.

    Attributes:
        path: the file.
        delimiter: the character between two fields.
        names: names of the columns.
        header: whether the first line has the names of the columns.
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
        """Return the SQL table expression. Lines that cannot be read go to ``rejects``."""
        store = f"store_rejects = true, rejects_table = '{self.rejects}', rejects_scan = '{self.rejects}_scans'"
        return f"read_csv({quote_literal(self.path)}, {self._options(self.buffer)}, {store})"

    def preview_scan(self) -> str:
        """Return the table expression for a look at the first rows; lines that cannot be read are skipped."""
        options = self._options(_MIN_BUFFER)
        return f"read_csv({quote_literal(self.path)}, {options}, ignore_errors = true, strict_mode = false)"

    def _options(self, buffer: int) -> str:
        columns = ", ".join(f"{quote_literal(each)}: 'VARCHAR'" for each in self.names)
        return (
            f"auto_detect = false, delim = {quote_literal(self.delimiter)}, quote = '\"', escape = '\"', "
            f"header = {str(self.header).lower()}, buffer_size = {buffer}, columns = {{{columns}}}"
        )


def open_delimited(engine: SqlEngine, path: Path, *, positions: bool, rejects: str) -> DelimitedFile:
    """Find delimiter and column names in the first line. Without a header (``positions``) columns are named "1", "2", ….

    Raises SourceError if there is no line of text, or if the names are not UTF-8.
    """
    if path.suffix.lower() not in PACKED:
        _check_header_encoding(path)
    # Each thread reads 16 MB at once, or what a small memory limit allows.
    buffer = min(16_000_000, max(_MIN_BUFFER, engine.limit // 20))
    rows = engine.fetch_rows(f"SELECT line FROM {line_scan(path, buffer)} WHERE line IS NOT NULL LIMIT 1", str(path))
    if not rows:
        raise SourceError(f"{path} is empty: it has no line of text. Check how it was written.")
    line = str(rows[0][0]).lstrip("\ufeff")
    delimiter = max(_DELIMITERS, key=line.count)
    names: list[str] = []
    for number, cell in enumerate(next(csv.reader([line], delimiter=delimiter), []), 1):
        name = str(number) if positions else cell.strip() or f"column{number}"
        names.append(name if name.lower() not in {each.lower() for each in names} else f"{name}_{number}")
    return DelimitedFile(path, delimiter, tuple(names), not positions, buffer, rejects)


def _check_header_encoding(path: Path) -> None:
    """Raise where the first line is not UTF-8: DuckDB would skip it, and take the first row for the names."""
    with path.open("rb") as handle:
        first = next(iter(handle.read(_HEAD).splitlines()), b"")
    try:
        first.decode()
    except UnicodeDecodeError as error:
        if error.end < len(first) or len(first) < _HEAD:
            raise SourceError(
                f"{path}, line 1, is not UTF-8 text. As Windows-1252 (Latin-1) it reads "
                f"{first.decode('cp1252', 'replace')[:80]!r}. "
                "If that is right, pass encoding='cp1252'; otherwise pass the encoding of the file."
            ) from error


def guess_types(engine: SqlEngine, file: DelimitedFile) -> dict[str, str]:
    """Return DOUBLE for columns where most of the first thousand values are numbers, VARCHAR for the others."""
    tests = ", ".join(
        f"count(coalesce(try_cast({c} AS DOUBLE), {decimal_comma(c, file.delimiter, 'DOUBLE')})) * 2 > count({c})"
        for c in map(quote_identifier, file.names)
    )
    row = engine.fetch_rows(f"SELECT {tests} FROM (SELECT * FROM {file.preview_scan()} LIMIT 1000)", str(file.path))[0]
    return {name: "DOUBLE" if number else "VARCHAR" for name, number in zip(file.names, row, strict=True)}


def decimal_comma(column: str, delimiter: str, number_type: str) -> str:
    """SQL of a number such as 4,5. Three digits after the comma may be thousands unless ``;`` delimits the fields."""
    digits = "+" if delimiter == ";" else "{1,2}"
    pattern = quote_literal(rf"^\s*([+-]?\d*),(\d{digits})\s*$")
    return f"try_cast(regexp_replace({column}, {pattern}, '\\1.\\2') AS {number_type})"


def line_scan(path: Path, buffer: int, encoding: str = "utf-8") -> str:
    """SQL table expression with the lines of a file as its only column ``line``, NULL where a line is empty."""
    options = "auto_detect = false, header = false, quote = '', escape = '', ignore_errors = true, strict_mode = false"
    return (
        f"read_csv({quote_literal(path)}, {options}, delim = '\x01', buffer_size = {buffer}, encoding = '{encoding}', "
        "columns = {'line': 'VARCHAR'})"
    )
