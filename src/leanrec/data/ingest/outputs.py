"""Outputs of ingestion: the kept events in memory or in mapped files, and the Dataset with its vocabularies and tables."""

import contextlib
import dataclasses
import shutil
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.engine import SqlEngine
from leanrec.data.ingest.encoding import EncodedLog, LogBlock, fetch_ids
from leanrec.data.ingest.report import EventCounter
from leanrec.data.ingest.side_tables import LoadedTable, read_columns
from leanrec.data.time_kind import infer_time_kind
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import DataError
from leanrec.run import Run
from leanrec.types import Events

__all__ = ["FileSink", "KeptRows", "MemorySink", "build_dataset", "find_kept_rows", "write_events"]

_ARRAY_SHARE = 0.3


class EventSink(Protocol):
    """Takes the columns of the events block by block."""

    def write(self, name: str, block: NDArray[Any]) -> None:
        """Append to a column."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the finished columns."""
        ...


class MemorySink:
    """Columns of ``size`` rows in memory."""

    def __init__(self, size: int) -> None:
        """Columns are allocated when they are first written."""
        self._size = size
        self._columns: dict[str, NDArray[Any]] = {}
        self._filled: dict[str, int] = {}

    def write(self, name: str, block: NDArray[Any]) -> None:
        """Append to a column."""
        column = self._columns.setdefault(name, np.empty(self._size, block.dtype))
        start = self._filled.get(name, 0)
        column[start : start + len(block)] = block
        self._filled[name] = start + len(block)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the finished columns."""
        return self._columns


class FileSink:
    """Columns of ``size`` rows in .npy files of ``folder``, mapped when they are finished."""

    def __init__(self, size: int, folder: Path) -> None:
        """The folder must exist and be empty."""
        self._size = size
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> "FileSink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._files.values():
            handle.close()

    def write(self, name: str, block: NDArray[Any]) -> None:
        """Append to a column. Raises DataError if the disk is full."""
        try:
            if name not in self._files:
                self._files[name] = (self._folder / f"{name}.npy").open("wb")
                header = {"descr": block.dtype.str, "fortran_order": False, "shape": (self._size,)}
                np.lib.format.write_array_header_1_0(self._files[name], header)
            self._files[name].write(np.ascontiguousarray(block).data)
        except OSError as error:
            raise DataError(
                f"The indexed events do not fit the disk: {error.strerror or error} in {self._folder}. "
                "Set TMPDIR to a folder with more space."
            ) from error

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the finished columns, read-only."""
        for handle in self._files.values():
            handle.close()
        return {name: np.load(self._folder / f"{name}.npy", mmap_mode="r") for name in self._files}


@dataclasses.dataclass(frozen=True, eq=False)
class KeptRows:
    """The users and items that the Dataset keeps, by their codes in the ordered log.

    Attributes:
        user: (codes,) bool, whether the user is kept.
        item: (codes,) bool, whether the item is kept.
    """

    user: NDArray[np.bool_]
    item: NDArray[np.bool_]


def find_kept_rows(
    engine: SqlEngine,
    log: EncodedLog,
    reason: NDArray[np.int8],
    tables: tuple[LoadedTable | None, LoadedTable | None],
    *,
    core: bool,
) -> KeptRows:
    """Find the users and items with an event, and those of the user and the item table unless a k-core is required."""
    user, item = log.per_user > 0, np.zeros(log.items, bool)
    if not reason.any() and log.is_complete and tables[1] is None:
        item[:] = True  # the items were found in the rows
    elif not reason.any():
        item[engine.fetch_arrays("SELECT DISTINCT i FROM log")["i"]] = True
    else:
        user = np.zeros(log.users, bool)
        for block in log.blocks():
            kept = reason[block.start : block.start + len(block)] == 0
            user[block.user[kept]] = True
            item[block.item[kept]] = True
    for name, kept_rows, table in zip(("users", "items"), (user, item), tables, strict=True):
        if table is not None and table.rows and not core:
            in_table = f"SELECT d.rowid AS code FROM {name} AS d SEMI JOIN {table.role}_rows AS r ON d.id = r.id"
            kept_rows[engine.fetch_arrays(in_table)["code"]] = True
    return KeptRows(user, item)


def write_events(
    log: EncodedLog,
    reason: NDArray[np.int8],
    rows: KeptRows,
    *,
    positive_from: float | None,
    has_clock: bool,
    run: Run,
    folder: Path | None,
) -> tuple[Events, EventCounter, str]:
    """Write the kept events; return them, their counts, and where they are ("memory" or "mapped files").

    Args:
        log: the ordered log.
        reason: (E,) codes of reject reasons, 0 = kept.
        rows: the kept users and items.
        positive_from: ratings below it get weight 0.
        has_clock: times are seconds since 1970.
        run: memory limit.
        folder: folder for mapped files; None = a temporary folder that is removed with the events.
    """
    size = int(np.count_nonzero(reason == 0))
    counter = EventCounter(int(rows.user.sum()), int(rows.item.sum()), len(log.event_types))
    new_rows = tuple(
        None if kept.all() else np.cumsum(kept, dtype=np.int32) - np.int32(1) for kept in (rows.user, rows.item)
    )
    weights = np.array(list(log.event_types.values()), np.float32)

    def write_all(sink: EventSink) -> Events:
        for block in log.blocks():
            kept = reason[block.start : block.start + len(block)] == 0
            events = _to_events(block, slice(None) if kept.all() else kept, new_rows, weights, positive_from)
            counter.add(events, has_clock=has_clock)
            for name, column in events.columns().items():
                sink.write(name, column)
        columns: dict[str, Any] = sink.arrays()
        return Events(**columns, event_types=tuple(log.event_types))

    if size * (25 if "v" in log.columns else 21) <= _ARRAY_SHARE * run.available_memory():
        return write_all(MemorySink(size)), counter, "memory"
    target = folder or Path(tempfile.mkdtemp(prefix="leanrec-events-"))
    with contextlib.ExitStack() as stack:
        if folder is None:
            stack.callback(shutil.rmtree, target, ignore_errors=True)
        with FileSink(size, target) as files:
            events = write_all(files)
        stack.pop_all()
    if folder is None:
        weakref.finalize(events, shutil.rmtree, target, ignore_errors=True)
    return events, counter, "mapped files"


def _to_events(
    block: LogBlock,
    kept: Any,
    new_rows: tuple[NDArray[np.int32] | None, ...],
    weights: NDArray[np.float32],
    positive_from: float | None,
) -> Events:
    """Return the kept events of a block, with internal rows and weights. ``new_rows`` is None where codes are rows."""
    event_type = block.event_type[kept]
    weight = weights[event_type]
    if block.amount is not None:
        weight *= block.amount[kept]
    rating = None if block.rating is None else block.rating[kept]
    if rating is not None and positive_from is not None:
        weight[rating < positive_from] = 0
    user, item = (
        codes[kept] if new is None else new[codes[kept]]
        for codes, new in zip((block.user, block.item), new_rows, strict=True)
    )
    return Events(
        user=user,
        item=item,
        time=block.time[kept],
        event_type=event_type,
        weight=weight,
        rating=rating,
    )


def build_dataset(
    engine: SqlEngine,
    events: Events,
    rows: KeptRows,
    rating_range: tuple[float, float] | None,
    loaded: tuple[LoadedTable | None, LoadedTable | None],
    numbers: tuple[bool, bool],
    source: str,
    bounds: tuple[int, int] | None = None,
) -> Dataset:
    """Build the Dataset of the events, with the ids and tables of the kept users and items.

    Args:
        engine: holds the dictionaries and tables.
        events: (E,) with internal rows, sorted by user and time.
        rows: the kept users and items.
        rating_range: lowest and highest rating, or None.
        loaded: the user and the item table.
        numbers: whether the ids of users, and of items, are numbers.
        source: description of the log.
        bounds: lowest and highest time, where they are known: mapped times would be read for them.
    """
    ids, tables = [], []
    for name, table, number, kept in zip(("users", "items"), loaded, numbers, (rows.user, rows.item), strict=True):
        columns = None if table is None else read_columns(engine, table, name)
        tables.append(columns if columns is None or kept.all() else columns.take(np.flatnonzero(kept)))
        ids.append(fetch_ids(engine, name, numbers=number)[kept])
    return Dataset(
        events=events,
        users=Vocabulary(ids[0], "user"),
        items=Vocabulary(ids[1], "item"),
        item_table=tables[1],
        user_table=tables[0],
        rating_range=rating_range,
        source=source,
        time_kind=infer_time_kind(events, bounds),
    )
