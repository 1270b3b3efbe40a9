"""Delimited text that DuckDB cannot read whole: one stray quotation mark, mixed line ends, another encoding.

A clean file is read once, and then looked over: the bytes are gone through, and lines and records counted. Only where
they do not add up is the file read line by line and written anew as DuckDB takes it, with a list of the lines that are
no record. A quotation mark that is never closed costs the line it stands in, not the file behind it.
"""

import collections
import csv
import dataclasses
import gzip
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import numpy as np

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal
from leanrec.data.ingest.reject_reasons import FOREIGN, UNREADABLE
from leanrec.data.ingest.sources import SourcePart
from leanrec.data.ingest.text_files import DelimitedFile, line_scan
from leanrec.errors import SourceError

__all__ = ["copy_parts", "count_aside"]

_BLOCK = 1_000_000
_LONGEST_BLOCK = 16_000_000
# A record longer than this is none: DuckDB reads up to two million bytes.
_MOST_BYTES = 1_000_000
_MOST_LINES = 10_000
_SHOWN = 100_000
# So many fields must be in place before text in quotes is taken for records that it swallowed.
_EVIDENCE = 6
_NEWLINE = 10
_ENDS = "its line ends are of several kinds; each ends a line."


def copy_parts(
    engine: SqlEngine, parts: Sequence[SourcePart], copy: Callable[[Sequence[SourcePart]], list[int]]
) -> tuple[list[SourcePart], list[int]]:
    """Read the parts whole with ``copy``, mended where they must be: the parts as read, and the rows of each.

    ``copy`` is called a second time, with mended parts, where text was damaged. Cost for clean text: one pass over
    its bytes more. Raises what ``copy`` raises.
    """
    try:
        counts = copy(parts)
    except SourceError:
        evened = [mend(engine, part, _ENDS) if _is_uneven(engine, part) else part for part in parts]
        if all(part is old for part, old in zip(evened, parts, strict=True)):
            raise
        parts, counts = evened, copy(evened)
    whole = [_checked(engine, part, rows) for part, rows in zip(parts, counts, strict=True)]
    if any(part.scan != old.scan for part, old in zip(whole, parts, strict=True)):
        counts = copy(whole)
    return whole, counts


def count_aside(engine: SqlEngine, parts: Sequence[SourcePart]) -> dict[str, int]:
    """Reason → lines of the parts that are no rows."""
    counts: dict[str, int] = {}
    for part in parts:
        if part.aside:
            for reason, lines in engine.fetch_rows(
                f"SELECT reason, count(*) FROM {part.aside} GROUP BY reason ORDER BY reason"
            ):
                counts[reason] = counts.get(reason, 0) + int(lines)
    return counts


@dataclasses.dataclass
class _Survey:
    """What a file holds beyond ASCII.

    Attributes:
        letters: there is valid UTF-8 beyond ASCII.
        foreign: there are lines that are no UTF-8.
    """

    letters: bool = False
    foreign: bool = False

    @property
    def western(self) -> bool:
        """Whether lines that are no UTF-8 are to be read as Windows-1252: no line beyond ASCII is UTF-8."""
        return self.foreign and not self.letters


def _is_uneven(engine: SqlEngine, part: SourcePart) -> bool:
    """Whether the lines of a file end in several ways."""
    if part.file is None or part.aside:
        return False
    kinds = np.zeros(3, bool)
    for block in _blocks(engine, part.file):
        both, returns, newlines = (block.count(end) for end in (b"\r\n", b"\r", b"\n"))
        kinds |= np.array([both, returns - both, newlines - both]) > 0
    return bool(kinds.sum() > 1)


def _checked(engine: SqlEngine, part: SourcePart, rows: int) -> SourcePart:
    """The part with the table of its unreadable lines; mended if more than single lines are wrong with it."""
    if part.file is None or part.aside:
        return part
    rejects = part.file.rejects
    lost, damaged = engine.fetch_rows(
        "SELECT count(DISTINCT line), count_if(error_type NOT IN ('MISSING COLUMNS', 'TOO MANY COLUMNS') OR contains(csv_line, chr(10))) "
        f"FROM {rejects}"
    )[0]
    if damaged or not _adds_up(engine, part.file, rows + lost):
        return mend(engine, part)
    aside = f"{rejects}_aside"
    engine.execute(
        f"CREATE TEMP TABLE {aside} AS SELECT line, any_value(csv_line) AS csv_line, {quote_literal(UNREADABLE)} AS reason "
        f"FROM {rejects} GROUP BY line"
    )
    return dataclasses.replace(part, aside=aside)


def _adds_up(engine: SqlEngine, file: DelimitedFile, records: int) -> bool:
    """Whether a file that was read without complaint was read as it was meant."""
    if file.path.suffix.lower() == ".zst":
        # The scan passes lines over that are no UTF-8, so that there are too few.
        scan = line_scan(file.path, file.buffer)
        lines = int(engine.fetch_rows(f"SELECT count(line) FROM {scan}", str(file.path))[0][0])
        return lines == records + file.header or (lines > records + file.header and not _swallows(engine, file))
    quoted, plain = _look_over(file)
    if not plain and _survey(engine, file).foreign:
        return False
    return not quoted or _count_lines(file) <= records + file.header or not _swallows(engine, file)


def _look_over(file: DelimitedFile) -> tuple[bool, bool]:
    """Whether there is a quotation mark, and whether all is ASCII. Cost O(bytes) at some GB/s: clean files pay it too."""
    quoted, plain = False, True
    for data in _bytes_of(file):
        quoted = quoted or b'"' in data
        plain = plain and data.isascii()
    return quoted, plain


def _count_lines(file: DelimitedFile) -> int:
    # bytes.count goes from one end of a line to the next, which for short lines takes six times as long.
    return sum(int(np.count_nonzero(np.frombuffer(data, np.uint8) == _NEWLINE)) for data in _bytes_of(file))


def _swallows(engine: SqlEngine, file: DelimitedFile) -> bool:
    """Whether a field holds lines that are records themselves: its closing quotation mark belongs to another one."""
    enough = -(-_EVIDENCE // max(1, len(file.names) - 1))
    marks = f"list_transform(string_split({{c}}, chr(10))[2:-2], lambda x: length(x) - length(replace(x, {quote_literal(file.delimiter)}, '')))"
    tests = " OR ".join(
        f"(contains({c}, chr(10)) AND len({marks.format(c=c)}) >= {enough} "
        f"AND len(list_filter({marks.format(c=c)}, lambda n: n <> {len(file.names) - 1})) = 0)"
        for c in map(quote_identifier, file.names)
    )
    return bool(engine.fetch_rows(f"SELECT 1 FROM {file.glance()} WHERE {tests} LIMIT 1", str(file.path)))


def _survey(engine: SqlEngine, file: DelimitedFile) -> _Survey:
    """What is beyond ASCII in the file. Cost O(bytes), and a block of memory."""
    found = _Survey()
    for block in _blocks(engine, file):
        if not block.isascii():
            _judge_letters(block, found)
    return found


def _judge_letters(block: bytes, found: _Survey) -> None:
    try:
        block.decode()
        found.letters = True
    except UnicodeDecodeError:
        found.foreign = True
        found.letters |= any(not line.isascii() and _is_utf8(line) for line in block.splitlines())


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _blocks(engine: SqlEngine, file: DelimitedFile) -> Iterator[bytes]:
    """The file in blocks that end where a line ends."""
    if file.path.suffix.lower() == ".zst":
        # Every byte is a letter of Latin-1, so nothing is lost on the way.
        lines = engine.stream_rows(f"SELECT line FROM {line_scan(file.path, file.buffer, 'latin-1')}", str(file.path))
        yield from ("".join(f"{line or ''}\n" for (line,) in some).encode("latin-1") for some in lines)
        return
    rest = b""
    for some in _bytes_of(file):
        data = rest + some
        end = data.rfind(b"\n") + 1 or data.rfind(b"\r", 0, -1) + 1
        end = end or (len(data) if len(data) > _LONGEST_BLOCK else 0)
        rest = data[end:]
        if end:
            yield data[:end]
    if rest:
        yield rest


def _bytes_of(file: DelimitedFile) -> Iterator[bytes]:
    """The file as it comes, a block at a time."""
    with _opened(file.path) as handle:
        while data := handle.read(_BLOCK):
            yield data


def _opened(path: Path) -> BinaryIO:
    try:
        return cast("BinaryIO", gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from error


def _lines(engine: SqlEngine, file: DelimitedFile) -> Iterator[bytes]:
    """The lines without their ends, without a mark of the byte order at the start."""
    blocks = _blocks(engine, file)
    first = next(blocks, b"").removeprefix(b"\xef\xbb\xbf")
    bare = b"\n" not in first
    for block in itertools.chain([first], blocks):
        even = block.replace(b"\r\n", b"\n")
        lines = (even.replace(b"\r", b"\n") if bare else even).split(b"\n")
        yield from lines if lines[-1] else lines[:-1]


@dataclasses.dataclass(frozen=True)
class _Shape:
    """What a record of a file looks like.

    Attributes:
        delimiter: what divides the fields.
        columns: number of fields.
        record: matches one as a whole.
        begun: matches one that ends inside quotes.
        paired: matches any number of fields.
    """

    delimiter: bytes
    columns: int
    record: re.Pattern[bytes]
    begun: re.Pattern[bytes]
    paired: re.Pattern[bytes]

    def is_record(self, line: bytes) -> bool:
        """Whether the line, or the lines together, are one whole record."""
        if b'"' not in line:
            return line.count(self.delimiter) == self.columns - 1
        return self.record.fullmatch(line) is not None

    def swallows(self, lines: Sequence[bytes]) -> bool:
        """Whether the lines between the first and the last are records themselves."""
        inner = lines[1:-1]
        marks = self.columns - 1
        return len(inner) * marks >= _EVIDENCE and all(line.count(self.delimiter) == marks for line in inner)


def _shape(file: DelimitedFile) -> _Shape:
    mark, columns = re.escape(file.delimiter.encode()), len(file.names)
    opened = rb' *"[^"]*(?:""[^"]*)*'
    field = rb"(?:" + opened + rb'" *| *[^" ' + mark + rb"\n][^" + mark + rb"\n]*| *)"
    more = rb"(?:" + mark + field + rb")"
    record = field + more + rb"{%d}" % (columns - 1)
    begun = rb"(?:" + field + mark + rb"){0,%d}" % (columns - 1) + opened
    return _Shape(file.delimiter.encode(), columns, *map(re.compile, (record, begun, field + more + b"*")))


def _records(lines: Iterator[bytes], shape: _Shape) -> Iterator[tuple[int, bytes, bool]]:
    """Number of the (first) line, the line or lines, and whether they are a record. Empty lines are passed over."""
    ahead: collections.deque[bytes] = collections.deque()
    number = 0
    while (line := ahead.popleft() if ahead else next(lines, None)) is not None:
        number += 1
        if not line.strip():
            continue
        if shape.is_record(line):
            yield number, line, True
        elif b'"' in line and (more := _closing(line, ahead, lines, shape)):
            yield number, b"\n".join([line, *(ahead.popleft() for _ in range(more))]), True
            number += more
        else:
            yield number, line, False


def _closing(line: bytes, ahead: collections.deque[bytes], lines: Iterator[bytes], shape: _Shape) -> int:
    """How many lines after this one belong to its record; 0 where its quotes do not close as they must."""
    if shape.begun.fullmatch(line) is None:
        return 0
    parts, size = [line], len(line)
    while len(parts) <= _MOST_LINES and size <= _MOST_BYTES:
        if len(parts) > len(ahead):
            following = next(lines, None)
            if following is None:
                return 0
            ahead.append(following)
        parts.append(ahead[len(parts) - 1])
        size += len(parts[-1]) + 1
        if b'"' not in parts[-1]:
            continue
        whole = b"\n".join(parts)
        if shape.is_record(whole):
            return 0 if shape.swallows(parts) else len(parts) - 1
        if shape.begun.fullmatch(whole) is None:
            return 0
    return 0


def mend(engine: SqlEngine, part: SourcePart, note: str = "") -> SourcePart:
    """Write the file anew, as DuckDB reads it, beside a list of the lines that are no record.

    The copies lie in the engine's folder and go with it. Cost O(bytes) time, about a microsecond a line; as much disk
    as the file takes unpacked.
    """
    assert part.file is not None  # noqa: S101 - only delimited text is mended
    file = part.file
    good, bad = engine.folder / f"{file.rejects}.csv", engine.folder / f"{file.rejects}_aside.csv"
    try:
        with good.open("wb") as records, bad.open("w", encoding="utf-8", newline="") as aside:
            counts = _write(engine, file, records, aside)
    except OSError as error:
        raise SourceError(
            f"{part.label} cannot be mended: {error.strerror}. Set TMPDIR to a folder with more room."
        ) from error
    table = f"{file.rejects}_aside"
    engine.execute(
        f"CREATE TEMP TABLE {table} AS SELECT * FROM read_csv({quote_literal(bad)}, auto_detect = false, header = false, quote = '\"', "
        "escape = '\"', columns = {'line': 'BIGINT', 'reason': 'VARCHAR', 'csv_line': 'VARCHAR'})",
        part.label,
    )
    mended = dataclasses.replace(file, path=good, header=False, rejects=f"{file.rejects}_mended")
    return dataclasses.replace(
        part,
        scan=mended.scan(),
        aside=table,
        notes=tuple(f"{part.label}: {each}" for each in (note, *_notes(counts)) if each),
    )


@dataclasses.dataclass
class _Counts:
    """What was put right."""

    quotes: int = 0
    first_quote: int = 0
    read_as: int = 0
    first_read: int = 0
    example: str = ""
    left: int = 0
    first_left: int = 0


def _write(engine: SqlEngine, file: DelimitedFile, records: BinaryIO, aside: TextIO) -> _Counts:
    counts, out, shape, western = _Counts(), csv.writer(aside), _shape(file), _survey(engine, file).western
    lines = _records(_lines(engine, file), shape)
    if file.header:
        next(lines, None)
    for number, record, whole in lines:
        line, reason = record, "" if whole else UNREADABLE
        if not whole and b'"' in record and shape.paired.fullmatch(record) is None:
            counts.quotes, counts.first_quote = counts.quotes + 1, counts.first_quote or number
        if not (line.isascii() or _is_utf8(line)):
            line, reason = _foreign(line, number, western, counts, reason)
        if reason:
            out.writerow((number, reason, line.decode("utf-8", "replace")[:_SHOWN]))
        else:
            records.write(line.replace(b"\r", b" ") + b"\n")
    return counts


def _foreign(line: bytes, number: int, western: bool, counts: _Counts, reason: str) -> tuple[bytes, str]:
    """A line that is no UTF-8, as UTF-8 where the whole file is Windows-1252, and the reason to set it aside."""
    read = _western(line)
    counts.example = counts.example or next(word for word in re.split(r"[\s,;|\"]+", read) if not word.isascii())
    if not western:
        counts.left, counts.first_left = counts.left + 1, counts.first_left or number
        return line, FOREIGN
    counts.read_as, counts.first_read = counts.read_as + 1, counts.first_read or number
    return read.encode(), reason


def _western(line: bytes) -> str:
    try:
        return line.decode("cp1252")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _notes(counts: _Counts) -> Iterator[str]:
    if counts.quotes:
        yield (
            f"{_lines_are(counts.quotes, 'has', 'have')} quotation marks that do not pair (the first is line "
            f"{counts.first_quote:,}) and {'was' if counts.quotes == 1 else 'were'} set aside; the lines around were read one by one."
        )
    if counts.read_as:
        yield (
            f"{_lines_are(counts.read_as, 'was', 'were')} read as Windows-1252 (Latin-1) because the file is not UTF-8, such as {counts.example!r} "
            f"(the first is line {counts.first_read:,}). If that is wrong, name the encoding: --encoding NAME, or encoding=NAME."
        )
    if counts.left:
        yield (
            f"{_lines_are(counts.left, 'was', 'were')} set aside: not UTF-8, while others are (the first is line {counts.first_left:,}; as "
            f"Windows-1252 it holds {counts.example!r}). If the file has another encoding, name it: --encoding NAME, or encoding=NAME."
        )


def _lines_are(n: int, one: str = "is", many: str = "are") -> str:
    return f"{n:,} {f'line {one}' if n == 1 else f'lines {many}'}"
