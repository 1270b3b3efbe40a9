"""The last pass over the ordered log: kept events, under final rows, into memory or files; and the vocabularies."""

import contextlib
import dataclasses
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.engine import SqlEngine
from leanrec.data.ingest.encoding import EncodedLog, LogBlock, fetch_ids
from leanrec.data.ingest.report import EventCounter
from leanrec.data.ingest.side_tables import LoadedTable, read_columns
from leanrec.data.ingest.sinks import FileSink, MemorySink, Sink, scratch_folder
from leanrec.data.vocabulary import Vocabulary
from leanrec.run import Run
from leanrec.types import Events, Int32Array

__all__ = ["KeptRows", "final_rows", "make_dataset", "write_events"]

_ARRAY_SHARE = 0.3


@dataclasses.dataclass(frozen=True, eq=False)
class KeptRows:
    """Codes of the ordered log → rows of the Dataset.

    Attributes:
        user: (codes,) bool, the users that are kept.
        item: (codes,) bool, the items that are kept.
    """

    user: NDArray[np.bool_]
    item: NDArray[np.bool_]


def final_rows(engine: SqlEngine, log: EncodedLog, reason: NDArray[np.int8], items: LoadedTable | None, *, core: bool) -> KeptRows:
    """Who and what is kept: users and items with an event, and items of the item table unless a k-core is asked for."""
    user, item = log.per_user > 0, np.zeros(log.items, bool)
    if not reason.any():
        item[engine.fetch_arrays("SELECT DISTINCT i FROM log")["i"]] = True
    else:
        user = np.zeros(log.users, bool)
        for block in log.blocks():
            kept = reason[block.start : block.start + len(block)] == 0
            user[block.user[kept]] = True
            item[block.item[kept]] = True
    if items is not None and items.rows and not core:
        item[
            engine.fetch_arrays("SELECT d.rowid AS code FROM items AS d SEMI JOIN item_rows AS r ON d.id = r.id")["code"]
        ] = True
    return KeptRows(user, item)


def write_events(
    log: EncodedLog,
    reason: NDArray[np.int8],
    rows: KeptRows,
    *,
    positive_from: float | None,
    clock: bool,
    run: Run,
    folder: Path | None,
) -> tuple[Events, EventCounter, str]:
    """The kept events, what was counted on the way, and where they are ("memory" or "mapped files").

    Args:
        log: the ordered log.
        reason: (E,) 0 = kept.
        rows: who and what is kept.
        positive_from: ratings below it get weight 0.
        clock: times are a clock.
        run: how much memory there is.
        folder: where mapped files may go; None = a temporary folder that goes away with the events.
    """
    size = int(np.count_nonzero(reason == 0))
    tally = EventCounter(int(rows.user.sum()), int(rows.item.sum()), len(log.event_types))
    new_user, new_item = (np.cumsum(kept, dtype=np.int32) - np.int32(1) for kept in (rows.user, rows.item))
    weights = np.array(list(log.event_types.values()), np.float32)
    if size * (25 if "v" in log.columns else 21) <= _ARRAY_SHARE * run.available_memory():
        memory = MemorySink(size)
        _pour(log, reason, (new_user, new_item, weights), positive_from, clock, memory, tally)
        return Events(**memory.arrays(), event_types=tuple(log.event_types)), tally, "memory"
    place = folder or scratch_folder()
    with contextlib.ExitStack() as stack:
        if folder is None:
            stack.callback(shutil.rmtree, place, ignore_errors=True)
        with FileSink(size, place) as files:
            _pour(log, reason, (new_user, new_item, weights), positive_from, clock, files, tally)
            events = Events(**files.arrays(), event_types=tuple(log.event_types))
        stack.pop_all()
    if folder is None:
        weakref.finalize(events, shutil.rmtree, place, ignore_errors=True)
    return events, tally, "mapped files"


def _pour(
    log: EncodedLog,
    reason: NDArray[np.int8],
    maps: tuple[Int32Array, Int32Array, NDArray[np.float32]],
    positive_from: float | None,
    clock: bool,
    sink: Sink,
    tally: EventCounter,
) -> None:
    for block in log.blocks():
        kept = reason[block.start : block.start + len(block)] == 0
        events = _events(block, slice(None) if kept.all() else kept, maps, positive_from)
        tally.add(events, clock=clock)
        for name, column in events.columns().items():
            sink.write(name, column)


def _events(
    block: LogBlock,
    kept: Any,
    maps: tuple[Int32Array, Int32Array, NDArray[np.float32]],
    positive_from: float | None,
) -> Events:
    new_user, new_item, weights = maps
    event_type = block.event_type[kept]
    weight = weights[event_type]
    if block.amount is not None:
        weight *= block.amount[kept]
    rating = None if block.rating is None else block.rating[kept]
    if rating is not None and positive_from is not None:
        weight[rating < positive_from] = 0
    return Events(
        user=new_user[block.user[kept]],
        item=new_item[block.item[kept]],
        time=block.time[kept],
        event_type=event_type,
        weight=weight,
        rating=rating,
    )


def make_dataset(
    engine: SqlEngine,
    events: Events,
    rows: KeptRows,
    tally: EventCounter,
    loaded: tuple[LoadedTable | None, LoadedTable | None],
    numbers: tuple[bool, bool],
    source: str,
) -> Dataset:
    """The Dataset of the events, with the ids and tables of the kept users and items."""
    tables = []
    for name, table, kept in zip(("users", "items"), loaded, (rows.user, rows.item), strict=True):
        columns = None if table is None else read_columns(engine, table, name)
        tables.append(columns if columns is None or kept.all() else columns.take(np.flatnonzero(kept)))
    user_ids, item_ids = (
        fetch_ids(engine, name, numbers=number) for name, number in zip(("users", "items"), numbers, strict=True)
    )
    return Dataset(
        events=events,
        users=Vocabulary(user_ids[rows.user], "user"),
        items=Vocabulary(item_ids[rows.item], "item"),
        item_table=tables[1],
        user_table=tables[0],
        rating_range=(min(tally.ratings), max(tally.ratings)) if tally.ratings else None,
        source=source,
    )
