"""Delimited text files for DuckDB: encoding, delimiter, column names and column types."""

import codecs
import dataclasses
import gzip
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from leanrec.data.engine import SqlEngine, quote_identifier, quote_literal, quote_path
from leanrec.data.ingest.forms.delimiters import (
    BLANKS,
    FieldLayout,
    count_comments,
    count_titles,
    find_escaped,
    find_joint,
    find_layout,
    find_text_marks,
    has_copy_escapes,
    has_quoted_lines,
    split_records,
)
from leanrec.data.ingest.forms.headers import (
    count_above_names,
    find_index_column,
    find_names_above,
    join_names,
    name_columns,
    score_header,
)
from leanrec.data.ingest.forms.programs.fixed_width import find_slices, has_gaps, write_slices
from leanrec.data.ingest.forms.programs.key_values import find_keys, write_values
from leanrec.data.ingest.forms.programs.server_logs import find_request_names, write_requests
from leanrec.data.ingest.forms.typed_header import count_below_names
from leanrec.errors import SettingError, SourceError

__all__ = [
    "PACKED",
    "DelimitedFile",
    "check_encoding",
    "convert_to_utf8",
    "decimal_comma",
    "extend_scan",
    "find_encoding",
    "guess_types",
    "line_scan",
    "open_delimited",
]

PACKED = (".gz", ".zst")
_HEAD_LINES = 1000
_AGREEMENT = 0.5
_CERTAIN = 0.95
# Bytes of the longest delimiter that DuckDB reads.
_MAX_DELIMITER = 4
_STANDIN = "\x1f"
_FORMULA = re.compile(r'(^|[,;\t])="([^"]*)"')
_WITHOUT_QUOTES = """replace(regexp_replace(line, '^\\s*"(.*)"[,;]*\\s*$', '\\1'), '""', '"')"""
# SQL: a line of COPY as fields in quotation marks. Two backslashes, and one before a tab, are replaced before the line is split.
_COPIED_TEXT = r"""replace(replace(replace(x, '\t', chr(9)), '\n', chr(10)), '\r', chr(13))"""
_COPIED_TEXT = rf"""replace(replace(replace({_COPIED_TEXT}, chr(30), chr(9)), chr(29), '\'), '"', '""')"""
_COPIED = (
    r"""array_to_string(list_transform(string_split(replace(replace(line, '\\', chr(29)), '\' || chr(9), chr(30)), chr(9)), """
    rf"""lambda x: CASE WHEN x = '\N' THEN '' ELSE '"' || {_COPIED_TEXT} || '"' END), ',')"""
)
# A line end behind a backslash that no other one escapes.
_ESCAPED_END = re.compile(rb"(?<!\\)((?:\\\\)*)\\\r?\n")
# (u1,i1,5) of Spark, Rating(1,7,5.0) and [1, 7, 5].
_TUPLE = r"^\s*(?:[A-Za-z_][\w.]*\(|[(\[])([^()\[\]]*)[)\]]\s*[,;]?\s*$"
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


def convert_to_utf8(engine: SqlEngine, path: Path, encoding: str | None) -> Path:
    """Return the file itself where it needs no conversion, else a UTF-8 copy in the folder of the engine.

    Cost: O(bytes), and as much disk. Raises SourceError with file and line where bytes are not valid in ``encoding``.
    """
    if encoding is None:
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
            _write_utf8(source, copy, encoding, path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read as {encoding}: {error.strerror or error}.") from error
    return target


def find_encoding(head: bytes) -> str | None:
    """Return "utf-16" or "utf-32" where the first bytes are such text, with or without a byte order mark; else None."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    # Latin letters have a zero byte each: the second one in little endian.
    sample = head[:1000]
    for name, zeros, letters in (("utf-16-le", sample[1::2], sample[::2]), ("utf-16-be", sample[::2], sample[1::2])):
        if len(zeros) > 3 and zeros.count(0) * 10 > len(zeros) * 9 and 0 not in letters:
            return name
    return None


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
        delimiter: the text between two fields.
        names: names of the columns.
        header: whether the first line has the names of the columns.
        buffer: bytes that each thread reads at once.
        rejects: name of the table in which DuckDB lists the lines that it could not read.
        quote: the quotation mark, "" where quotation marks are letters.
        ignored: columns that are left out of the table, such as an index without a name.
        partitions: columns with one value for the whole file, from the names of its folders.
        score: how much speaks for names (above 0) or for data (below 0) in the first line.
        first: cells of the first line.
        below: cells of the lines below the names that tell types, units or meanings.
        skipped: number of lines of ``path`` before the first one, which are comments or titles.
        titles: the text of these lines as the file was found.
        computed: columns that are made of others, name → SQL.
        note: how the lines were rewritten for DuckDB, in a sentence; "" where they were not.
    """

    path: Path
    delimiter: str
    names: tuple[str, ...]
    header: bool
    buffer: int
    rejects: str
    quote: str = '"'
    ignored: tuple[str, ...] = ()
    partitions: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    score: int = 0
    first: tuple[str, ...] = ()
    below: tuple[tuple[str, ...], ...] = ()
    skipped: int = 0
    titles: tuple[str, ...] = ()
    computed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    note: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are read from the file."""
        return tuple(name for name in self.names if name not in self.ignored)

    def find_cells(self, name: str) -> list[str]:
        """Return the cells above the values of a column, of the line of names and of those below it; "" where there is none."""
        position = self.names.index(name) if name in self.names else len(self.names)
        return [cells[position].strip() if position < len(cells) else "" for cells in (self.first, *self.below)]

    def scan(self) -> str:
        """Return the SQL table expression. Lines that cannot be read go to ``rejects``."""
        store = f"store_rejects = true, rejects_table = '{self.rejects}', rejects_scan = '{self.rejects}_scans'"
        return self._select(f"read_csv({quote_path(self.path)}, {self._options(self.buffer)}, {store})")

    def preview_scan(self) -> str:
        """Return the table expression for a look at the first rows; lines that cannot be read are skipped."""
        options = self._options(_MIN_BUFFER)
        return self._select(f"read_csv({quote_path(self.path)}, {options}, ignore_errors = true, strict_mode = false)")

    def _select(self, scan: str) -> str:
        partitions = {
            name: "NULL::VARCHAR" if value is None else quote_literal(value) for name, value in self.partitions.items()
        }
        return extend_scan(extend_scan(scan, self.ignored, partitions), (), self.computed)

    def _options(self, buffer: int) -> str:
        columns = ", ".join(f"{quote_literal(each)}: 'VARCHAR'" for each in self.names)
        return (
            f"auto_detect = false, hive_partitioning = false, delim = {quote_literal(self.delimiter)}, quote = {quote_literal(self.quote)}, "
            f"escape = {quote_literal(self.quote)}, header = {str(self.header).lower()}, skip = {self.skipped}, buffer_size = {buffer}, "
            f"columns = {{{columns}}}"
        )


def extend_scan(scan: str, ignored: Sequence[str], constants: Mapping[str, str]) -> str:
    """SQL: a table expression without some columns, and with constants (name → SQL) as further ones."""
    if not (ignored or constants):
        return scan
    without = f" EXCLUDE ({', '.join(map(quote_identifier, ignored))})" if ignored else ""
    more = "".join(f", {value} AS {quote_identifier(name)}" for name, value in constants.items())
    return f"(SELECT *{without}{more} FROM {scan})"


def open_delimited(
    engine: SqlEngine,
    path: Path,
    head: bytes,
    *,
    label: str,
    positions: bool,
    names: Sequence[str] | None,
    rejects: str,
) -> DelimitedFile:
    """Find delimiter, quotation and column names in the first lines.

    Args:
        engine: the connection.
        path: the file, plain or packed as its name says.
        head: its first bytes, unpacked.
        label: its name in messages.
        positions: a first line that may be names or data is data. Columns without a name are "1", "2", ….
        names: names of the columns, for a file that has none.
        rejects: name of the table of unreadable lines.

    Raises SourceError if there is no line of text, or if the names are not UTF-8.
    """
    # Each thread reads 16 MB at once, or what a small memory limit allows.
    buffer = min(16_000_000, max(_MIN_BUFFER, engine.limit // 20))
    lines = _split_head(head)
    if not any(line.strip() for line in lines):
        raise SourceError(f"{label} is empty: it has no line of text. Check how it was written.")
    given, note = engine.delimiter, ""
    if joint := find_joint([line for line in lines if line.strip()]):
        path = _join_lines(engine, path, joint)
        with path.open("rb") as handle:
            lines = _split_head(handle.read(len(head)))
        note = "lines that end in a backslash were joined with the next one"
    if given is None and (rewriting := _find_rewriting([line for line in lines if line.strip()], label)) is not None:
        path = _copy_lines(engine, path, rewriting.line, buffer)
        with path.open("rb") as handle:
            lines = _split_head(handle.read(len(head)))
        given, names, note = (
            rewriting.delimiter,
            names or rewriting.names,
            f"{note}, and {rewriting.note}".removeprefix(", and "),
        )
    plain = path.with_suffix("") if path.suffix.lower() in PACKED else path
    # A table beside the log may have another delimiter than the given one.
    given = given if given and any(given in line for line in lines) else None
    begin = _find_begin(lines, plain.suffix.lower(), given, names)
    layout, records, names, score = begin.layout, begin.records, begin.names, begin.score
    cells, rows = records[0], records[1:]
    columns = max(layout.columns, 1) if layout.share > _AGREEMENT and len(rows) else len(cells)
    if score > 0 and columns != len(cells) + 1:
        columns = len(cells)
    header = score > 0 or (score == 0 and not positions and names is None)
    if header:
        _check_header_encoding(head, label)
        cells = _fit_header(cells, rows, columns)
    else:
        cells = cells[:columns] + [""] * (columns - len(cells))
    found = name_columns(cells, columns, names, header=header, where=label)
    ignored = (found[0],) if header and not positions and names is None and find_index_column(cells, rows) else ()
    skipped = begin.skipped
    has_blanks = layout.delimiter == BLANKS and not layout.quote
    if has_blanks or len(layout.delimiter.encode()) > _MAX_DELIMITER:
        line = f"replace(line, {quote_literal(layout.delimiter)}, '{_STANDIN}')"
        if layout.delimiter == BLANKS:
            line = f"regexp_replace(trim(line, ' \t'), '[ \t]+', '{_STANDIN}', 'g')"
        path = _copy_lines(engine, path, line, buffer, skipped)
        layout, skipped = dataclasses.replace(layout, delimiter=_STANDIN), 0
    return DelimitedFile(
        path,
        layout.delimiter,
        tuple(found),
        header,
        buffer,
        rejects,
        quote=layout.quote,
        ignored=ignored,
        score=score,
        first=tuple(records[0]),
        below=begin.below,
        skipped=skipped,
        titles=tuple(lines[: begin.titles]),
        note=" ".join(each if each.endswith(".") else f"{each}." for each in (note, begin.note) if each),
    )


class _TableBegin(NamedTuple):
    """Where the table of a text begins.

    Attributes:
        titles: number of lines before it, which are comments or titles.
        skipped: number of lines before the first record; one more than the titles where names are in two lines.
        layout: the layout of its lines.
        records: its first records.
        names: names of its columns that are given or found above it, None where the first record decides.
        score: see ``score_header``.
        note: how the names were read, in a sentence; "" where they are in one line.
        below: the records below the names that tell types, units or meanings, and are no rows.
    """

    titles: int
    skipped: int
    layout: FieldLayout
    records: list[list[str]]
    names: Sequence[str] | None
    score: int
    note: str
    below: tuple[tuple[str, ...], ...] = ()


def _find_begin(lines: Sequence[str], suffix: str, given: str | None, names: Sequence[str] | None) -> _TableBegin:
    """Find the first record of a text, from its first lines. See ``open_delimited`` for the arguments."""

    def read(start: int) -> tuple[FieldLayout, list[list[str]]]:
        layout = find_layout(lines[start:], suffix, given)
        return layout, [record for record in split_records(lines[start:], layout) if record]

    full, note = [number for number, line in enumerate(lines) if line.strip()], ""
    comments = count_comments(lines)
    titles = comments + count_titles(lines[comments:], given)
    layout, records = read(titles)
    if above := count_above_names(records):
        titles = [number for number in full if number >= titles][above]
        layout, records = read(titles)
    skipped = titles
    if names is None and (joined := join_names(records)):
        skipped = [number for number in full if number >= titles][1]
        records = [joined, *records[2:]]
        note = f"the names of the columns are in two lines, and were joined: {', '.join(joined[:6])}."
    if (begin := _skip_below_names(full, titles, skipped, layout, records, names, note)) is not None:
        return begin
    score = _score_first(records, has_names=names is not None)
    if titles and score <= 0 and names is None:
        names = find_names_above(lines[:titles], layout, records)
    if names is None and score < 0 and any(layout.delimiter in line for line in lines[comments:titles]):
        # The table begins with data: the lines before are damaged rows, and not titles.
        titles = skipped = comments
        records = [record for record in split_records(lines[comments:], layout) if record]
    return _TableBegin(titles, skipped, layout, records, names, score, note)


def _skip_below_names(
    full: Sequence[int],
    titles: int,
    skipped: int,
    layout: FieldLayout,
    records: list[list[str]],
    names: Sequence[str] | None,
    note: str,
) -> _TableBegin | None:
    """Return the begin of a table whose names, found or given, have lines of types, units or meanings below them; else None.

    ``full`` are the numbers of the lines that are not empty. See ``_TableBegin`` for the other arguments.
    """
    above = 0 if names is not None and count_below_names(names, records) else 1
    n = count_below_names(names if names is not None else records[0], records[above:])
    rest = [*records[:above], *records[above + n :]]
    score = _score_first(rest, has_names=names is not None)
    if not n or (above and score < 0):
        return None
    below = tuple(tuple(cell.strip() for cell in record) for record in records[above : above + n])
    lines = [number for number in full if number >= skipped]
    note += f" below the names {'a line tells' if n == 1 else f'{n} lines tell'} about the columns: {', '.join(below[0][:6])}."
    # What is read as the line of names is the last of these lines; given names need none.
    return _TableBegin(titles, lines[n], layout, rest, names, max(score, 1) if above else score, note.strip(), below)


class _LineRewriting(NamedTuple):
    """How the lines of a text become fields with a delimiter: SQL, the delimiter, the names of the fields, and a sentence."""

    line: str
    delimiter: str | None
    names: Sequence[str] | None
    note: str


def _find_rewriting(lines: Sequence[str], label: str) -> _LineRewriting | None:
    """Return how to rewrite lines whose fields have no delimiter of their own; None for other lines.

    Raises SourceError for columns of fixed width whose positions are not certain.
    """
    if (marks := _find_marks(lines)) is not None:
        return marks
    if has_copy_escapes(lines):
        note = r"escapes of a database, such as \n for the end of a line, were read as what they stand for."
        return _LineRewriting(_COPIED, ",", None, note)
    if mark := find_escaped(lines):
        line = "line"
        for old, new in (("\\\\", "\x1d"), ("\\" + mark, "\x1e"), (mark, _STANDIN), ("\x1e", mark), ("\x1d", "\\")):
            line = f"replace({line}, {quote_literal(old)}, {quote_literal(new)})"
        note = f"a backslash before {mark!r} was read as the mark of a letter, and not of the end of a field."
        return _LineRewriting(line, _STANDIN, None, note)
    if names := find_request_names(lines):
        note = (
            "each line was read as a request to a web server, and its path as the item. Requests for images, of robots and with "
            "errors are events too, unless you leave out their lines."
        )
        return _LineRewriting(write_requests(_STANDIN), _STANDIN, names, note)
    if keys := find_keys(lines):
        note = f"each line was read as pairs of a key and a value; the keys are {', '.join(keys)}."
        return _LineRewriting(write_values(keys, lines, _STANDIN), _STANDIN, keys, note)
    layout = find_layout(lines) if has_gaps(lines) else None
    if layout is None or (layout.columns > 1 and (layout.delimiter != BLANKS or layout.share == 1)):
        return None
    if slices := find_slices(lines):
        note = f"its {len(slices)} columns have fixed widths, and were read by the positions of their characters."
        return _LineRewriting(write_slices(slices, _STANDIN), _STANDIN, None, note)
    rows = find_layout(lines[1:])
    if rows.columns > 1 and rows.share >= _CERTAIN:
        return None
    raise SourceError(
        f"{label} has columns of fixed width with blanks inside values, and no position is blank in every line between two columns. "
        f"Pass the widths in Python: ingest(pandas.read_fwf({label!r}, widths=[…])), or write the file with a delimiter."
    )


def _find_marks(lines: Sequence[str]) -> _LineRewriting | None:
    """Return how to take off the marks that other programs put around lines and fields; None where there are none."""
    tuples = [match[1] for line in lines if (match := re.fullmatch(_TUPLE, line))]
    # Lists of items differ in length, and Row(user=7, item=9) has names.
    is_uniform = len(tuples) > 1 and {each.count(",") for each in tuples} == {tuples[0].count(",") or -1}
    if is_uniform and len(tuples) >= _CERTAIN * len(lines) and "=" not in tuples[0]:
        line = f"regexp_replace(line, {quote_literal(_TUPLE)}, '\\1')"
        return _LineRewriting(line, None, None, "the brackets around each line were taken off.")
    if has_quoted_lines(lines):
        return _LineRewriting(_WITHOUT_QUOTES, None, None, "the quotation marks around each line were taken off.")
    if sum(_FORMULA.search(line) is not None for line in lines) * 2 > len(lines):
        line = f"regexp_replace(line, {quote_literal(_FORMULA.pattern)}, '\\1\"\\2\"', 'g')"
        return _LineRewriting(
            line, None, None, 'texts that are written as formulas for Excel, ="001", were read as texts.'
        )
    pattern, delimiter = find_text_marks(lines)
    if pattern:
        is_curly, line = "“" in pattern, "line"
        field = r'\1"\2"\3' if is_curly else r"\1\2\3"
        for _ in range(2):  # the delimiter after a field is the one before the next field too
            line = f"regexp_replace({line}, {quote_literal(pattern)}, '{field}', 'g')"
        told = "curly quotation marks around fields" if is_curly else "apostrophes of spreadsheets before numbers"
        return _LineRewriting(line, delimiter or None, None, f"{told} were taken off.")
    return None


def _score_first(records: Sequence[Sequence[str]], *, has_names: bool) -> int:
    """Return how much speaks for names (above 0) or for data (below 0) in the first record; names may be given."""
    cells, rows = records[0], records[1:]
    score = score_header(cells, rows)
    if not rows and score > 0:
        # A line alone may be the only row of a part: only names throughout are names.
        score = len(cells) * all(score_header([cell], []) > 0 for cell in cells if cell.strip())
    # Given names say that there are none, unless every cell is one: a word such as click may be a value.
    return min(score, 0) if has_names and score < len(cells) else score


def _split_head(head: bytes) -> list[str]:
    """Return the first complete lines."""
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    # The last line may be cut.
    return (lines[:-1] if len(lines) > 1 else lines)[:_HEAD_LINES]


def _fit_header(cells: list[str], rows: Sequence[Sequence[str]], columns: int) -> list[str]:
    """Return one cell for each column, where all rows have one field more than the first line.

    The field more is the row names, as R writes them, or a delimiter at the end of each line.
    """
    if len(cells) + 1 != columns:
        return cells[:columns] + [""] * (columns - len(cells))
    at_end = all(not row[-1].strip() for row in rows if len(row) == columns)
    return [*cells, ""] if at_end else ["", *cells]


def _copy_lines(engine: SqlEngine, path: Path, line: str, buffer: int, skip: int = 0) -> Path:
    """Return a copy without the first lines, with the SQL ``line`` in place of each line. Cost: O(bytes) time and disk."""
    target = engine.new_path(f"{path.name.removesuffix(path.suffix) if path.suffix in PACKED else path.name}")
    engine.execute(
        f"COPY (SELECT {line} FROM {line_scan(path, buffer)} OFFSET {skip}) TO {quote_literal(target)} "
        "(FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIM '\x1d')",
        str(path),
    )
    return target


def _join_lines(engine: SqlEngine, path: Path, joint: str) -> Path:
    """Return a copy in which lines that end in a backslash are joined with the next one. Cost: O(bytes) time and disk."""
    packed = path.suffix.lower() in PACKED
    target = engine.new_path(path.stem if packed else path.name)
    if path.suffix.lower() == ".zst":
        raise SourceError(
            f"{path} has lines that end in a backslash, and go on in the next one. Unpack the .zst file first."
        )
    with cast("BinaryIO", gzip.open(path)) if packed else path.open("rb") as source, target.open("wb") as copy:
        rest = b""
        while block := source.read(_BLOCK):
            text = rest + block
            # The last backslashes may belong to the next block.
            end = len(text.rstrip(b"\\\r"))
            copy.write(_ESCAPED_END.sub(rb"\1" + joint.encode().replace(b"\\", rb"\\"), text[:end]))
            rest = text[end:]
        copy.write(rest)
    return target


def _check_header_encoding(head: bytes, label: str) -> None:
    """Raise where the first line is not UTF-8: DuckDB would skip it, and take the first row for the names."""
    first = next(iter(head.splitlines()), b"")
    try:
        first.decode()
    except UnicodeDecodeError as error:
        if error.end < len(first) or len(first) < len(head):
            raise SourceError(
                f"{label}, line 1, is not UTF-8 text. As Windows-1252 (Latin-1) it reads "
                f"{first.decode('cp1252', 'replace')[:80]!r}. "
                "If that is right, pass encoding='cp1252'; otherwise pass the encoding of the file."
            ) from error


def guess_types(engine: SqlEngine, file: DelimitedFile) -> dict[str, str]:
    """Return DOUBLE for columns where most of the first thousand values are numbers, VARCHAR for the others."""
    tests = ", ".join(
        f"count(coalesce(try_cast({c} AS DOUBLE), {decimal_comma(c, file.delimiter, 'DOUBLE')})) * 2 > count({c})"
        for c in map(quote_identifier, (*file.columns, *file.partitions))
    )
    row = engine.fetch_rows(f"SELECT {tests} FROM (SELECT * FROM {file.preview_scan()} LIMIT 1000)", str(file.path))[0]
    return {
        name: "DOUBLE" if number else "VARCHAR"
        for name, number in zip((*file.columns, *file.partitions), row, strict=True)
    }


def decimal_comma(column: str, delimiter: str, number_type: str) -> str:
    """SQL of a number such as 4,5. Three digits after the comma may be thousands unless ``;`` delimits the fields."""
    digits = "+" if delimiter == ";" else "{1,2}"
    pattern = quote_literal(rf"^\s*([+-]?\d*),(\d{digits})\s*$")
    return f"try_cast(regexp_replace({column}, {pattern}, '\\1.\\2') AS {number_type})"


def line_scan(path: Path, buffer: int, encoding: str = "utf-8") -> str:
    """SQL table expression with the lines of a file as its only column ``line``, NULL where a line is empty."""
    options = "auto_detect = false, hive_partitioning = false, header = false, quote = '', escape = '', ignore_errors = true, strict_mode = false"
    return (
        f"read_csv({quote_path(path)}, {options}, delim = '\x1d', buffer_size = {buffer}, encoding = '{encoding}', "
        "columns = {'line': 'VARCHAR'})"
    )
