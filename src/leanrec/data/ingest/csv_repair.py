"""Repair of delimited text that DuckDB cannot read: stray quotation marks, mixed line ends, other encodings.

A clean file is read once, and then verified: one pass over the bytes counts lines and records. Only where they do not add
up, the file is read line by line and rewritten in a form that DuckDB reads, with a list of the lines that are not records.
A quotation mark that is never closed costs its line, not the rest of the file.
"""

import collections
import csv
import dataclasses
import gzip
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, TextIO, cast

import numpy as np

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal, quote_path
from leanrec.data.ingest.forms.delimiters import find_layout
from leanrec.data.ingest.forms.json_text import LENIENT, clean_lines
from leanrec.data.ingest.rejects import FOREIGN, UNREADABLE
from leanrec.data.ingest.sources import SourcePart
from leanrec.data.ingest.text_files import DelimitedFile, line_scan
from leanrec.errors import SourceError

__all__ = ["check_readable", "copy_parts", "count_rejected"]

_BLOCK = 1_000_000
_MAX_BLOCK = 16_000_000
# Longer text is not one record: DuckDB reads up to two million bytes.
_MAX_RECORD_BYTES = 1_000_000
_MAX_RECORD_LINES = 10_000
_MAX_TEXT = 100_000
# Number of fields that must match before quoted text is taken for several records inside one pair of quotes.
_EVIDENCE = 6
_NEWLINE = 10
# Delimiters of files whose fields are quoted where necessary. With others, a stray quotation mark is a letter.
_QUOTING = (",", ";")
_MIXED_LINE_ENDS = "it has several kinds of line ends; each ends a line."


def copy_parts(
    engine: SqlEngine, parts: Sequence[SourcePart], copy: Callable[[Sequence[SourcePart]], list[int]]
) -> tuple[list[SourcePart], list[int]]:
    """Read the tables with ``copy``, repaired where necessary; return the tables as read, and the rows of each.

    ``copy`` is called a second time, with repaired tables, where text was damaged. Cost for clean text: one more pass
    over its bytes. Raises what ``copy`` raises.
    """
    try:
        # A broken line of JSON is an error here, and a row of missing values below.
        counts = copy([dataclasses.replace(part, scan=part.scan.replace(LENIENT, "")) for part in parts])
    except SourceError:
        repaired = [_repair_lines(engine, part) for part in parts]
        if all(part is old and part.lines is None for part, old in zip(repaired, parts, strict=True)):
            raise
        parts, counts = repaired, copy(repaired)
    verified = [_verify_part(engine, part, rows) for part, rows in zip(parts, counts, strict=True)]
    if any(part.scan != old.scan for part, old in zip(verified, parts, strict=True)):
        counts = copy(verified)
    return [_tell_mismatch(engine, part, rows) for part, rows in zip(verified, counts, strict=True)], counts


def check_readable(engine: SqlEngine, part: SourcePart, rows: int, what: str) -> None:
    """Raise SourceError where more than half of the lines of a table are unreadable, unless the engine allows rejects."""
    lost = sum(count_rejected(engine, [part]).values())
    if engine.allow_rejects or 2 * lost <= rows + lost:
        return
    raise SourceError(
        f"More than half of the lines of the {what} cannot be read: {lost:,} of the {rows + lost:,} lines of {part.label}. "
        f"{' '.join(part.notes)} To go on with the other lines, pass allow_rejects=True."
    )


def _tell_mismatch(engine: SqlEngine, part: SourcePart, rows: int) -> SourcePart:
    """Add a note about the number of fields, where most lines have another one."""
    if part.file is None or not part.rejected:
        return part
    found = engine.fetch_rows(f"SELECT line, csv_line, count(*) OVER () FROM {part.rejected} ORDER BY line LIMIT 100")
    if not found or 2 * found[0][2] <= rows + found[0][2]:
        return part
    line, text, lines = found[0]
    file, other = part.file, find_layout([str(text) for _, text, _ in found])
    advice = "" if other.delimiter == file.delimiter else f' Pass delimiter="{other.delimiter}".'.replace("\t", "\\t")
    fields = text.count(file.delimiter) + 1
    if fields == len(file.names):
        return part
    note = (
        f"{part.label}: a line must have {len(file.names)} fields with {file.delimiter!r} between them; {lines:,} lines have "
        f"others. Line {line:,} has {fields}: {text[:60]!r}.{advice}"
    )
    return dataclasses.replace(part, notes=(*part.notes, note))


def count_rejected(engine: SqlEngine, parts: Sequence[SourcePart]) -> dict[str, int]:
    """Return reject reason → lines of the tables that are not rows."""
    counts: dict[str, int] = {}
    for part in parts:
        if part.rejected:
            counted = f"SELECT reason, count(*) FROM {part.rejected} GROUP BY reason ORDER BY reason"
            for reason, lines in engine.fetch_rows(counted):
                counts[reason] = counts.get(reason, 0) + int(lines)
    return counts


def _repair_lines(engine: SqlEngine, part: SourcePart) -> SourcePart:
    """Return the table without what stops its reading: mixed line ends, or lines that are no JSON object."""
    if _has_mixed_line_ends(engine, part):
        return repair_part(engine, part, _MIXED_LINE_ENDS)
    if part.lines is None or part.rejected:
        return part
    table = f"leanrec_broken_{engine.next_number()}"
    clean, note = clean_lines(engine, part.lines, table, part.label)
    if not note:
        return part
    scan = part.scan.replace(quote_path(part.lines), quote_path(clean))
    return dataclasses.replace(part, scan=scan, lines=clean, rejected=table, notes=(*part.notes, note))


@dataclasses.dataclass
class _EncodingSurvey:
    """Encodings of the lines of a file that are not ASCII.

    Attributes:
        has_utf8: some are UTF-8.
        has_foreign: some are not UTF-8.
    """

    has_utf8: bool = False
    has_foreign: bool = False

    @property
    def is_western(self) -> bool:
        """Whether to read lines that are not UTF-8 as Windows-1252: no line beyond ASCII is UTF-8."""
        return self.has_foreign and not self.has_utf8


def _has_mixed_line_ends(engine: SqlEngine, part: SourcePart) -> bool:
    """Whether the lines of a file have different ends."""
    if part.file is None or part.rejected:
        return False
    found = np.zeros(3, bool)
    for block in _read_blocks(engine, part.file):
        both, returns, newlines = (block.count(end) for end in (b"\r\n", b"\r", b"\n"))
        found |= np.array([both, returns - both, newlines - both]) > 0
    return bool(found.sum() > 1)


def _verify_part(engine: SqlEngine, part: SourcePart, rows: int) -> SourcePart:
    """Return the table with the list of its unreadable lines; repaired if more than single lines are wrong."""
    if part.file is None or part.rejected:
        return part
    rejects = part.file.rejects
    lost, damaged = engine.fetch_rows(
        "SELECT count(DISTINCT line), count_if(error_type NOT IN ('MISSING COLUMNS', 'TOO MANY COLUMNS') OR contains(csv_line, chr(10))) "
        f"FROM {rejects}"
    )[0]
    if damaged or not _is_plausible(engine, part.file, rows + lost):
        return repair_part(engine, part)
    rejected = f"{rejects}_aside"
    engine.execute(
        f"CREATE TEMP TABLE {rejected} AS SELECT line, any_value(csv_line) AS csv_line, {quote_literal(UNREADABLE)} AS reason "
        f"FROM {rejects} GROUP BY line"
    )
    return dataclasses.replace(part, rejected=rejected)


def _is_plausible(engine: SqlEngine, file: DelimitedFile, records: int) -> bool:
    """Whether a file that was read without errors was read as intended: every line is a record, or is inside quotes."""
    if not records:
        return False  # DuckDB finds no rows where the lines before the table have other ends
    expected = records + file.header + file.skipped
    if file.path.suffix.lower() == ".zst":
        # The scan skips lines that are not UTF-8, so that there are too few.
        scan = line_scan(file.path, file.buffer)
        lines = int(engine.fetch_rows(f"SELECT count(line) FROM {scan}", str(file.path))[0][0])
        return lines == expected or (lines > expected and not _swallows_records(engine, file))
    # Clean files pay for this pass too; it runs at some GB/s.
    has_quotes, is_ascii = False, True
    for data in _read_bytes(file):
        has_quotes = has_quotes or (file.quote != "" and file.quote.encode() in data)
        is_ascii = is_ascii and data.isascii()
    if not is_ascii and _survey_encoding(engine, file).has_foreign:
        return False
    if not has_quotes:
        return True
    # bytes.count goes from one line end to the next, which takes six times as long for short lines.
    lines = sum(int(np.count_nonzero(np.frombuffer(data, np.uint8) == _NEWLINE)) for data in _read_bytes(file))
    return lines <= expected or not _swallows_records(engine, file)


def _swallows_records(engine: SqlEngine, file: DelimitedFile) -> bool:
    """Whether a field contains lines that are records: its closing quotation mark belongs to another field."""
    enough = -(-_EVIDENCE // max(1, len(file.names) - 1))
    width = len(file.delimiter)
    marks = (
        "list_transform(string_split({c}, chr(10))[2:-2], "
        f"lambda x: (length(x) - length(replace(x, {quote_literal(file.delimiter)}, ''))) // {width})"
    )
    tests = " OR ".join(
        f"(contains({c}, chr(10)) AND len({marks.format(c=c)}) >= {enough} "
        f"AND len(list_filter({marks.format(c=c)}, lambda n: n <> {len(file.names) - 1})) = 0)"
        for c in map(quote_identifier, file.columns)
    )
    if file.delimiter not in _QUOTING:
        # Such fields are rarely quoted; a line end and a delimiter in one field are two records.
        tests += "".join(
            f" OR (contains({c}, chr(10)) AND contains({c}, {quote_literal(file.delimiter)}))"
            for c in map(quote_identifier, file.columns)
        )
    return bool(engine.fetch_rows(f"SELECT 1 FROM {file.preview_scan()} WHERE {tests} LIMIT 1", str(file.path)))


def _survey_encoding(engine: SqlEngine, file: DelimitedFile) -> _EncodingSurvey:
    """Find the encodings of the lines that are not ASCII. Cost: O(bytes), and a block of memory."""
    found = _EncodingSurvey()
    for block in _read_blocks(engine, file):
        if block.isascii():
            continue
        if _is_utf8(block):
            found.has_utf8 = True
        else:
            found.has_foreign = True
            found.has_utf8 |= any(not line.isascii() and _is_utf8(line) for line in block.splitlines())
    return found


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_blocks(engine: SqlEngine, file: DelimitedFile) -> Iterator[bytes]:
    """Yield the file in blocks that end at the end of a line."""
    if file.path.suffix.lower() == ".zst":
        # Every byte is a character of Latin-1, so nothing is lost.
        lines = engine.stream_rows(f"SELECT line FROM {line_scan(file.path, file.buffer, 'latin-1')}", str(file.path))
        yield from ("".join(f"{line or ''}\n" for (line,) in rows).encode("latin-1") for rows in lines)
        return
    rest = b""
    for block in _read_bytes(file):
        data = rest + block
        end = data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, -1) + 1
        end = end or (len(data) if len(data) > _MAX_BLOCK else 0)
        rest = data[end:]
        if end:
            yield data[:end]
    if rest:
        yield rest


def _read_bytes(file: DelimitedFile) -> Iterator[bytes]:
    """Yield the unpacked bytes of the file in blocks."""
    is_packed = file.path.suffix.lower() == ".gz"
    try:
        handle = cast("BinaryIO", gzip.open(file.path)) if is_packed else file.path.open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise SourceError(f"{file.path} cannot be read: {error.strerror}. Check its permissions.") from error
    with handle:
        while data := handle.read(_BLOCK):
            yield data


def _read_lines(engine: SqlEngine, file: DelimitedFile) -> Iterator[bytes]:
    """Yield the lines without their ends, and without a byte order mark at the start."""
    blocks = _read_blocks(engine, file)
    first = next(blocks, b"").removeprefix(b"\xef\xbb\xbf")
    only_returns = b"\n" not in first
    for block in itertools.chain([first], blocks):
        text = block.replace(b"\r\n", b"\n")
        lines = (text.replace(b"\r", b"\n") if only_returns else text).split(b"\n")
        yield from lines if lines[-1] else lines[:-1]


@dataclasses.dataclass(frozen=True)
class _RecordPattern:
    """Patterns of the records of a file.

    Attributes:
        delimiter: the character between two fields.
        columns: number of fields.
        quote: the quotation mark, "" where quotation marks are letters.
        record: matches a complete record.
        begun: matches a record that ends inside quotes.
        paired: matches any number of fields with paired quotes.
    """

    delimiter: bytes
    columns: int
    quote: str
    record: re.Pattern[bytes]
    begun: re.Pattern[bytes]
    paired: re.Pattern[bytes]

    @classmethod
    def from_file(cls, file: DelimitedFile) -> "_RecordPattern":
        """Build the patterns of a file."""
        mark, columns = re.escape(file.delimiter.encode()), len(file.names)
        quote = (file.quote or '"').encode()
        opened = rb' *"[^"]*(?:""[^"]*)*'.replace(b'"', quote)
        letter = rb"[^" + mark + rb"\n]" if len(file.delimiter) == 1 else rb"(?:(?!" + mark + rb")[^\n])"
        field = rb"(?:" + opened + quote + rb" *| *(?![" + quote + rb" ])" + letter + letter + rb"*| *)"
        more = rb"(?:" + mark + field + rb")"
        record = field + more + rb"{%d}" % (columns - 1)
        begun = rb"(?:" + field + mark + rb"){0,%d}" % (columns - 1) + opened
        patterns = map(re.compile, (record, begun, field + more + b"*"))
        return cls(file.delimiter.encode(), columns, file.quote, *patterns)

    def quote_letters(self, line: bytes) -> bytes | None:
        """Return a line whose quotation marks are letters with quoted fields; None where it is no such line."""
        if self.delimiter.decode() in _QUOTING or line.count(self.delimiter) != self.columns - 1:
            return None
        return self.delimiter.join(b'"' + field.replace(b'"', b'""') + b'"' for field in line.split(self.delimiter))

    def is_record(self, line: bytes) -> bool:
        """Whether the line, or the lines together, are one complete record."""
        if not self.quote or self.quote.encode() not in line:
            return line.count(self.delimiter) == self.columns - 1
        return self.record.fullmatch(line) is not None

    def swallows_records(self, lines: Sequence[bytes]) -> bool:
        """Whether the lines between the first and the last are records themselves."""
        inner = lines[1:-1]
        marks = self.columns - 1
        return len(inner) * marks >= _EVIDENCE and all(line.count(self.delimiter) == marks for line in inner)


def _split_records(
    lines: Iterator[bytes], pattern: _RecordPattern, number: int = 0
) -> Iterator[tuple[int, bytes, bool]]:
    """Yield the number of the (first) line, the line or lines, and whether they are a record. Empty lines are skipped.

    ``number`` is that of the line before the first one.
    """
    ahead: collections.deque[bytes] = collections.deque()
    mark = (pattern.quote or '"').encode()
    while (line := ahead.popleft() if ahead else next(lines, None)) is not None:
        number += 1
        if not line.strip():
            continue
        if pattern.is_record(line):
            yield number, line, True
        elif b"\\" + mark in line and pattern.is_record(doubled := line.replace(b"\\" + mark, mark + mark)):
            yield number, doubled, True
        elif (letters := pattern.quote_letters(line)) is not None:
            yield number, letters, True
        elif mark in line and pattern.quote and (more := _count_continuation(line, ahead, lines, pattern)):
            yield number, b"\n".join([line, *(ahead.popleft() for _ in range(more))]), True
            number += more
        else:
            yield number, line, False


def _count_continuation(
    line: bytes, ahead: collections.deque[bytes], lines: Iterator[bytes], pattern: _RecordPattern
) -> int:
    """Return how many lines after this one belong to its record; 0 where its quotes do not close correctly."""
    if pattern.begun.fullmatch(line) is None:
        return 0
    parts, size = [line], len(line)
    while len(parts) <= _MAX_RECORD_LINES and size <= _MAX_RECORD_BYTES:
        if len(parts) > len(ahead):
            following = next(lines, None)
            if following is None:
                return 0
            ahead.append(following)
        parts.append(ahead[len(parts) - 1])
        size += len(parts[-1]) + 1
        if pattern.quote.encode() not in parts[-1]:
            continue
        record = b"\n".join(parts)
        if pattern.is_record(record):
            return 0 if pattern.swallows_records(parts) else len(parts) - 1
        if pattern.begun.fullmatch(record) is None:
            return 0
    return 0


def repair_part(engine: SqlEngine, part: SourcePart, note: str = "") -> SourcePart:
    """Rewrite the file in a form that DuckDB reads, with a list of the lines that are not records.

    The copies are in the folder of the engine and are removed with it. Cost: O(bytes) time, about a microsecond per
    line; as much disk as the unpacked file.
    """
    assert part.file is not None  # noqa: S101 - only delimited text is repaired
    file = part.file
    good, bad = engine.folder / f"{file.rejects}.csv", engine.folder / f"{file.rejects}_aside.csv"
    try:
        with good.open("wb") as records, bad.open("w", encoding="utf-8", newline="") as rejected:
            counts = _write_repaired(engine, file, records, rejected)
    except OSError as error:
        raise SourceError(
            f"{part.label} cannot be repaired: {error.strerror}. Set TMPDIR to a folder with more space."
        ) from error
    table = f"{file.rejects}_aside"
    engine.execute(
        f"CREATE TEMP TABLE {table} AS SELECT * FROM read_csv({quote_literal(bad)}, auto_detect = false, header = false, quote = '\"', "
        "escape = '\"', columns = {'line': 'BIGINT', 'reason': 'VARCHAR', 'csv_line': 'VARCHAR'})",
        part.label,
    )
    repaired = dataclasses.replace(file, path=good, header=False, skipped=0, rejects=f"{file.rejects}_repaired")
    notes = (*part.notes, *(f"{part.label}: {each}" for each in (note, *counts.to_notes()) if each))
    return dataclasses.replace(part, scan=repaired.scan(), rejected=table, notes=notes)


@dataclasses.dataclass
class _RepairCounts:
    """Numbers of repaired and rejected lines, and the first line of each kind."""

    quotes: int = 0
    first_quote: int = 0
    converted: int = 0
    first_converted: int = 0
    example: str = ""
    foreign: int = 0
    first_foreign: int = 0

    def add_foreign(self, line: bytes, number: int, *, convert: bool) -> bytes:
        """Count a line that is not UTF-8; return it as UTF-8 if it is to be converted from Windows-1252."""
        try:
            text = line.decode("cp1252")
        except UnicodeDecodeError:
            text = line.decode("latin-1")
        self.example = self.example or next(word for word in re.split(r"[\s,;|\"]+", text) if not word.isascii())
        if not convert:
            self.foreign, self.first_foreign = self.foreign + 1, self.first_foreign or number
            return line
        self.converted, self.first_converted = self.converted + 1, self.first_converted or number
        return text.encode()

    def to_notes(self) -> Iterator[str]:
        """Yield the repairs in sentences."""
        if self.quotes:
            yield (
                f"{_count_lines(self.quotes, 'has', 'have')} unpaired quotation marks (the first is line "
                f"{self.first_quote:,}) and {'was' if self.quotes == 1 else 'were'} rejected; the lines around were read one by one."
            )
        if self.converted:
            yield (
                f"{_count_lines(self.converted, 'was', 'were')} read as Windows-1252 (Latin-1) because the file is not UTF-8, "
                f"such as {self.example!r} (the first is line {self.first_converted:,}). If that is wrong, pass encoding=NAME."
            )
        if self.foreign:
            yield (
                f"{_count_lines(self.foreign, 'was', 'were')} rejected: not UTF-8, while others are (the first is line "
                f"{self.first_foreign:,}; as Windows-1252 it has {self.example!r}). If the file has another encoding, pass "
                "encoding=NAME."
            )


def _write_repaired(engine: SqlEngine, file: DelimitedFile, records: BinaryIO, rejected: TextIO) -> _RepairCounts:
    """Write the records to one file and the other lines to another."""
    counts, out, pattern = _RepairCounts(), csv.writer(rejected), _RecordPattern.from_file(file)
    is_western = _survey_encoding(engine, file).is_western
    text_lines = _read_lines(engine, file)
    for _ in itertools.islice(text_lines, file.skipped):
        pass
    lines = _split_records(text_lines, pattern, file.skipped)
    if file.header:
        next(lines, None)
    for number, text, is_record in lines:
        line, reason = text, "" if is_record else UNREADABLE
        if (
            not is_record
            and pattern.quote
            and pattern.quote.encode() in text
            and pattern.paired.fullmatch(text) is None
        ):
            counts.quotes, counts.first_quote = counts.quotes + 1, counts.first_quote or number
        if not (line.isascii() or _is_utf8(line)):
            line = counts.add_foreign(line, number, convert=is_western)
            reason = reason if is_western else FOREIGN
        if reason:
            out.writerow((number, reason, line.decode("utf-8", "replace")[:_MAX_TEXT]))
        else:
            records.write(line.replace(b"\r", b" ") + b"\n")
    return counts


def _count_lines(n: int, one: str, many: str) -> str:
    return f"{n:,} {f'line {one}' if n == 1 else f'lines {many}'}"
