"""DuckDB with limits on threads and memory, a spill folder of its own and no network.

Everything that reads a log goes through one ``SqlEngine``. It lives for one ingest and removes its spill files at the end.
"""

import contextlib
import glob
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

import duckdb
import numpy as np
from numpy.typing import NDArray

from leanrec.data.reading_facts import ReadingFacts
from leanrec.errors import BudgetError, LeanrecError, SourceError
from leanrec.run import Run
from leanrec.units import format_bytes

__all__ = [
    "SqlEngine",
    "make_scratch",
    "match_words",
    "open_engine",
    "quote_identifier",
    "quote_literal",
    "quote_path",
    "to_table_column",
]

# With less memory DuckDB cannot hold the blocks that a scan pins in each thread.
_MIN_MEMORY = 40_000_000
_PER_THREAD = 50_000_000
_FETCH_SIZE = 50_000
_TOO_LARGE = "does not fit the available memory or disk"
_BLOCK = 4_000_000
# Free space that copies leave on the disk.
_RESERVE = 50_000_000
_LOCK = "in-use"
_MORE_ROOM = "Raise the memory limit, or set TMPDIR to a folder with more space."


def quote_identifier(name: str) -> str:
    """Quote a column or table name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: object) -> str:
    """Quote a string literal for SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def quote_path(path: Path | str) -> str:
    """Quote the path of one file for a table function, which would read ``*``, ``?`` and ``[`` as a pattern."""
    return quote_literal(glob.escape(str(path)))


def match_words(value: str, words: Iterable[str], blanks: str = "") -> str:
    """SQL: whether a text is one of the words, in any case, with any of the characters ``blanks`` around it.

    A list of five or more words with IN would become a join: it reads every row even inside a CASE that needs few of them, and
    does not keep the order of the rows.
    """
    around = f"[{blanks}]*" if blanks else ""
    pattern = f"(?i){around}({'|'.join(map(re.escape, words))}){around}"
    return f"regexp_full_match({value}, {quote_literal(pattern)})"


class SqlEngine:
    """One DuckDB connection, and the facts about what is read through it (``facts``).

    ``allow_rejects`` says whether a table is used although more than half of its lines cannot be read, and ``decimal`` which
    mark numbers in text have before their decimals ("." or ","); None: found for each column. ``rating_words`` are the ratings that words stand for.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        limit: int,
        folder: Path,
        encoding: str | None = None,
        delimiter: str | None = None,
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Use ``open_engine`` instead.

        Args:
            connection: the connection.
            limit: memory in bytes that DuckDB may use.
            folder: folder for temporary files, removed with the engine.
            encoding: encoding of all text files, None = UTF-8.
            delimiter: text between two fields of all delimited text, None = found for each file.
            names: source ("log", "item_table", "user_table") → names of its columns, where the text has none.
        """
        self._connection = connection
        self.limit = limit
        self.folder = folder
        self.encoding = encoding
        self.delimiter = delimiter
        self.names = dict(names or {})
        self.allow_rejects = False
        self.decimal: str | None = None
        self.rating_words: Mapping[str, float] = {}
        self.facts = ReadingFacts()
        self._last_number = 0

    def next_number(self) -> int:
        """Return a number that was not returned before, for file names."""
        self._last_number += 1
        return self._last_number

    def new_path(self, name: str) -> Path:
        """Return a path of that name in a new folder, which is removed with the engine."""
        folder = self.folder / "copies" / str(self.next_number())
        folder.mkdir(parents=True)
        return folder / name

    def link_file(self, path: Path, name: str) -> Path:
        """Return a link to the file under another name, or a copy where the system has no links."""
        target = self.new_path(name)
        try:
            target.symlink_to(path.resolve())
        except (OSError, NotImplementedError):
            shutil.copyfile(path, target)
        return target

    def check_disk(self, size: int, what: str) -> None:
        """Raise BudgetError unless a copy of ``size`` bytes fits the disk of the temporary files."""
        free = shutil.disk_usage(self.folder).free
        if size + _RESERVE > free:
            raise BudgetError(
                f"{what} needs {format_bytes(size)} of disk for a copy. {self.folder.parent} has {format_bytes(free)} free; "
                "set TMPDIR to a folder with more space, or unpack the file yourself."
            )

    def copy_stream(self, source: IO[bytes], target: IO[bytes], what: str) -> None:
        """Copy all bytes. Raises BudgetError before the disk is full."""
        while data := source.read(_BLOCK):
            self.check_disk(len(data), what)
            target.write(data)

    def execute(self, sql: str, what: str = "The log", failed: str = "cannot be read") -> None:
        """Run a statement without a result. ``what`` and ``failed`` begin the message of an error."""
        with _translate_errors(what, failed):
            self._connection.execute(sql)

    def check_select(self, sql: str, what: str) -> str:
        """The text of a query that must be one SELECT. Raises SourceError for anything else, before it runs."""
        with _translate_errors(what):
            statements = self._connection.extract_statements(sql)
        kinds = [each.type.name for each in statements]
        if kinds not in (["SELECT"], ["MULTI"]):  # PIVOT is several in one
            raise SourceError(
                f"{what} must be one SELECT. Got {', '.join(kinds) or 'no statement'}. Run the others before, in a database of your "
                "own, and pass the query that reads the log."
            )
        return str(statements[0].query).strip().rstrip(";")

    def export_rows(self, select: str, path: Path, what: str, texts: Sequence[str] = ()) -> None:
        """Write the rows of a query to a file: CSV if it ends in .csv, Parquet if not. It is complete, or not there at all.

        A spreadsheet computes a cell such as ``=1+1``, also in a file of a stranger: in CSV, such cells of the columns ``texts`` begin
        with an apostrophe. Raises SourceError if the file cannot be written.
        """
        form = "FORMAT csv, HEADER" if path.suffix.lower() == ".csv" else "FORMAT parquet, COMPRESSION zstd"
        if path.suffix.lower() == ".csv" and texts:
            formula = quote_literal(r"^[=+@\t\r]|^-.*[^0-9.eE+-]")
            cells = [
                f"CASE WHEN regexp_matches({c}, {formula}) THEN chr(39) || {c} ELSE {c} END AS {c}"
                for c in map(quote_identifier, texts)
            ]
            select = f"SELECT * REPLACE ({', '.join(cells)}) FROM ({select})"
        partial = path.with_name(f".{path.name}.half")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.execute(f"COPY ({select}) TO {quote_literal(partial)} ({form})", what, "cannot be written")
            partial.replace(path)
        except OSError as error:
            raise SourceError(f"{what} cannot be written: {error.strerror or error}. Choose another path.") from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()

    def fetch_rows(self, sql: str, what: str = "The log") -> list[tuple[Any, ...]]:
        """Return the result as tuples, for small results only."""
        with _translate_errors(what):
            return self._connection.execute(sql).fetchall()

    def query_progress(self) -> float | None:
        """Return the percentage of the running statement that is done, from any thread; None where it is not known."""
        percent = float(self._connection.query_progress())
        return percent if percent >= 0 else None

    def stream_rows(self, sql: str, what: str = "The log") -> Iterator[list[tuple[Any, ...]]]:
        """Yield the result as lists of tuples. No other statement may run before the last one."""
        with _translate_errors(what):
            result = self._connection.execute(sql)
            while rows := result.fetchmany(_FETCH_SIZE):
                yield rows

    def fetch_arrays(self, sql: str, what: str = "The log") -> dict[str, NDArray[Any]]:
        """Return the result as NumPy columns; a column with missing values is a masked array."""
        with _translate_errors(what):
            return dict(self._connection.execute(sql).fetchnumpy())  # type: ignore[arg-type]  # no column is categorical

    def register_table(self, name: str, value: Any, what: str = "The frame") -> None:
        """Register a data frame, or a dictionary of arrays, as a table; a view that runs backwards is copied, others are not."""
        with _translate_errors(what):
            try:
                try:
                    self._connection.register(name, value)
                except duckdb.Error as error:
                    # DuckDB casts the distance between two values of a column to an unsigned number.
                    if "bad_cast" not in str(error):
                        raise
                    is_arrays = isinstance(value, dict)
                    value = (
                        {key: np.ascontiguousarray(each) for key, each in value.items()} if is_arrays else value.copy()
                    )
                    self._connection.register(name, value)
            except (TypeError, duckdb.InvalidInputException) as error:
                raise SourceError(
                    "A source must be a path, a list of paths, a pandas, Polars or Arrow frame, or an "
                    f"SQL query. Got {type(value).__name__}."
                ) from error


@contextlib.contextmanager
def make_scratch(prefix: str, parent: Path) -> Iterator[Path]:
    """Make a folder for temporary files and remove it at the end; remove those that a killed process left beside it."""
    for left in parent.glob(f"{glob.escape(prefix)}*/{_LOCK}"):
        with contextlib.suppress(OSError), left.open("rb") as lock:
            if _try_lock(lock):
                shutil.rmtree(left.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with (folder / f"{_LOCK}-soon").open("wb") as lock:
            _try_lock(lock)
            Path(lock.name).rename(folder / _LOCK)  # a file of this name is locked, or left behind
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try_lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed, or its process ends; return whether it was free."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows, where leftovers stay

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


@contextlib.contextmanager
def open_engine(
    run: Run,
    share: float = 0.55,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[SqlEngine]:
    """Open an engine with at most ``share`` of the memory of ``run``; the rest is for arrays and buffers."""
    limit = int(run.available_memory() * share)
    if limit < _MIN_MEMORY:
        raise BudgetError(
            f"Reading a log needs at least {format_bytes(_MIN_MEMORY / share)} of memory. "
            f"Got {format_bytes(limit / share)}; raise the memory limit."
        )
    with make_scratch("leanrec-", Path(tempfile.gettempdir())) as folder:
        config: dict[str, Any] = {
            # Each thread pins its own buffers, so a small memory limit allows few threads.
            "threads": max(1, min(run.n_threads(), limit // _PER_THREAD)),
            "memory_limit": f"{limit}B",
            "temp_directory": f"{folder}/spill",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            "preserve_insertion_order": True,
        }
        connection = duckdb.connect(":memory:", config=config)
        try:
            if run.shows_progress:
                connection.execute("SET enable_progress_bar = true; SET enable_progress_bar_print = false")
            yield SqlEngine(connection, limit, folder, encoding, delimiter, names)
        finally:
            connection.close()


@contextlib.contextmanager
def _translate_errors(what: str, failed: str = "cannot be read") -> Iterator[None]:
    """Raise errors of DuckDB as errors of leanrec: "<what> <failed>: <reason>"."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
    except RuntimeError as error:
        # DuckDB's reading of a result reports Ctrl-C as such.
        if "interrupt" in str(error).lower():
            raise KeyboardInterrupt from error
        raise
    except duckdb.OutOfMemoryException as error:
        raise BudgetError(f"{what} {_TOO_LARGE}: {_first_line(error)} {_MORE_ROOM}") from error
    except duckdb.Error as error:
        if isinstance(error.__cause__, LeanrecError):
            raise error.__cause__ from error
        if "No space left" in str(error):
            raise BudgetError(f"{what} {_TOO_LARGE}: {_first_line(error)} {_MORE_ROOM}") from error
        raise SourceError(f"{what} {failed}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    line = re.sub(r"^[A-Z][A-Za-z ]+ Error: ", "", line)
    return line if line.endswith((".", "!", "?")) else f"{line}."


def to_table_column(column: NDArray[Any]) -> NDArray[Any]:
    """Convert a column to the types of a Table: StringDType with "" for missing, or float64 with NaN for missing."""
    if column.dtype.kind in "OUT":
        filled = column.filled("") if isinstance(column, np.ma.MaskedArray) else column
        return np.array([str(each) for each in filled.tolist()], dtype=np.dtypes.StringDType())
    numbers = column.astype(np.float64)
    return numbers.filled(np.nan) if isinstance(numbers, np.ma.MaskedArray) else numbers
