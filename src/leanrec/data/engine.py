"""DuckDB as leanrec uses it: held to threads and memory, spilling to a folder of its own, no network.

Everything that reads a log goes through one ``Engine``. It lives for one ingest and takes its spill files
with it.
"""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from leanrec.errors import BudgetError, LeanrecError, SourceError
from leanrec.run import Run
from leanrec.units import format_bytes

__all__ = ["Engine", "ident", "open_engine", "plain", "text"]

# Below this DuckDB cannot hold the blocks that one scan of each thread pins.
_LEAST = 40_000_000
_PER_THREAD = 50_000_000
_AT_ONCE = 50_000
_TOO_LARGE = "does not fit the memory or the disk it was given"
_MORE_ROOM = "Raise the limit, or set TMPDIR to a folder with more room."


def quote_identifier(name: str) -> str:
    """A column or table name, quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def text(value: object) -> str:
    """A string literal for SQL."""
    return "'" + str(value).replace("'", "''") + "'"


class SqlEngine:
    """One DuckDB connection."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, limit: int, folder: Path, encoding: str | None = None
    ) -> None:
        """Use ``open_engine``. ``limit`` is the memory in bytes that DuckDB may use, ``folder`` goes with the engine.

        ``encoding`` is that of all text files, None = UTF-8.
        """
        self._connection = connection
        self.limit = limit
        self.folder = folder
        self.encoding = encoding
        self._copies = 0

    def next_number(self) -> int:
        """One that was not given before: for names of files."""
        self._copies += 1
        return self._copies

    def run(self, sql: str, what: str = "The log", failed: str = "cannot be read") -> None:
        """Run a statement and forget its result. ``what`` and ``failed`` begin the message if it fails."""
        with _translated(what, failed):
            self._connection.execute(sql)

    def rows(self, sql: str, what: str = "The log") -> list[tuple[Any, ...]]:
        """The result as tuples: for small results only."""
        with _translated(what):
            return self._connection.execute(sql).fetchall()

    def stream(self, sql: str, what: str = "The log") -> Iterator[list[tuple[Any, ...]]]:
        """The result as tuples, some at a time. Nothing else may run before it ends."""
        with _translated(what):
            result = self._connection.execute(sql)
            while some := result.fetchmany(_AT_ONCE):
                yield some

    def arrays(self, sql: str, what: str = "The log") -> dict[str, NDArray[Any]]:
        """The result as numpy columns; one with missing values is a masked array."""
        with _translated(what):
            return dict(self._connection.execute(sql).fetchnumpy())  # type: ignore[arg-type]  # no column is categorical

    def register(self, name: str, value: Any, what: str = "The frame") -> None:
        """Make a frame, or a dictionary of arrays, a table of that name. Nothing is copied."""
        with _translated(what):
            try:
                self._connection.register(name, value)
            except (TypeError, duckdb.InvalidInputException) as error:
                raise SourceError(
                    "A source must be a path, a list of paths, a pandas, Polars or Arrow frame, or an "
                    f"SQL query. Got {type(value).__name__}."
                ) from error


@contextlib.contextmanager
def open_engine(run: Run, share: float = 0.55, encoding: str | None = None) -> Iterator[SqlEngine]:
    """An engine that uses at most ``share`` of the memory ``run`` allows; the rest is for arrays and buffers."""
    limit = int(run.available_memory() * share)
    if limit < _LEAST:
        raise BudgetError(
            f"Reading a log needs at least {format_bytes(_LEAST / share)} of memory and "
            f"{format_bytes(limit / share)} is allowed. Raise the limit."
        )
    with tempfile.TemporaryDirectory(prefix="leanrec-") as folder:
        connection = duckdb.connect(":memory:", config=_config(run, limit, folder))
        try:
            yield SqlEngine(connection, limit, Path(folder), encoding)
        finally:
            connection.close()


def _config(run: Run, limit: int, folder: str) -> dict[str, Any]:
    return {
        # Each thread pins buffers of its own, which a small limit has no room for.
        "threads": max(1, min(run.n_threads(), limit // _PER_THREAD)),
        "memory_limit": f"{limit}B",
        "temp_directory": f"{folder}/spill",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
        "preserve_insertion_order": True,
    }


@contextlib.contextmanager
def _translated(what: str, failed: str = "cannot be read") -> Iterator[None]:
    """DuckDB's errors as leanrec's: "<what> <failed>: <why>"."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise KeyboardInterrupt from error
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


def plain(column: NDArray[Any]) -> NDArray[Any]:
    """A column of text or numbers as a Table keeps it: StringDType with "", or float64 with NaN, where missing."""
    if column.dtype.kind in "OUT":
        filled = column.filled("") if isinstance(column, np.ma.MaskedArray) else column
        return np.array([str(each) for each in filled.tolist()], dtype=np.dtypes.StringDType())
    numbers = column.astype(np.float64)
    return numbers.filled(np.nan) if isinstance(numbers, np.ma.MaskedArray) else numbers
