"""Replays an event store into a pipeline, after a check that both belong to the same data."""

import dataclasses
from pathlib import Path

import numpy as np

from leanrec.data.table import Table
from leanrec.errors import DataError, LeanrecError
from leanrec.events.event_reader import EventReader
from leanrec.events.event_store import EventStore
from leanrec.events.seals import find_forgotten
from leanrec.pacing import pause
from leanrec.pipeline.log_snapshot import replay_events
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.recorded_state import RecordedState
from leanrec.pipeline.responses import RejectedEvent
from leanrec.types import IdArray

__all__ = ["ReplayResult", "bind_log", "default_log_path", "replay_hidden", "replay_items", "replay_log"]


@dataclasses.dataclass(frozen=True)
class ReplayResult:
    """Result of replaying an event store.

    Attributes:
        applied: number of events that were not in the histories before and are now.
        rejected: events that cannot be used.
        n_items: number of new items that were added.
        items_error: why the first of the items that could not be added was skipped, or None.
        last_seq: sequence number of the last event that was replayed; events that arrive during the replay come later.
        rejected_before: number of such events in a snapshot.
        note: why a snapshot was not used, or None.
        state: the state that the histories start from, None where something was recorded before.
        snapshot_seq: sequence number of the last event that came from a snapshot.
    """

    applied: int
    rejected: tuple[RejectedEvent, ...] = ()
    n_items: int = 0
    items_error: str | None = None
    last_seq: int = 0
    rejected_before: int = 0
    note: str | None = None
    state: RecordedState | None = dataclasses.field(default=None, compare=False, repr=False)
    snapshot_seq: int = 0

    def warnings(self) -> tuple[str, ...]:
        """Sentences about events and items that could not be used; empty if there are none."""
        warnings = []
        if self.items_error is not None:
            warnings.append(f"New items of the log were skipped: {self.items_error}")
        if self.note is not None:
            warnings.append(self.note)
        count = self.rejected_before + len(self.rejected)
        if count:
            first = f" First: {self.rejected[0].reason}" if self.rejected else ""
            warnings.append(f"{count} events of the log cannot be used and stay in it for the next fit.{first}")
        return tuple(warnings)


def default_log_path(model_path: str | Path) -> Path:
    """Default path of the event log of a saved pipeline."""
    return Path(f"{Path(model_path)}.events.db")


def replay_log(pipeline: Pipeline, log: EventReader) -> ReplayResult:
    """Add the new items of an event store to a pipeline, record its events and hide its hidden items. Idempotent.

    Users who were forgotten since the fit are forgotten first. Items that the pipeline cannot add are skipped, and
    ``items_error`` holds the first reason.
    """
    made, fitted = pipeline.provenance, pipeline.fitted_user_ids
    forgotten = log.forgotten_users(after=made.get("forgotten", 0) if made.get("log") == log.id else 0)
    for row in find_forgotten(fitted, log.id, forgotten).tolist():
        pipeline.forget_user(fitted[row])
    pause()
    n_items, items_error = replay_items(pipeline, *log.items())
    pause()
    last = log.last_seq
    if pipeline.histories.is_untouched:
        replayed = replay_events(pipeline, log, last)
        pipeline.histories.start_from(replayed.state)
        result = ReplayResult(replayed.applied, replayed.rejected, n_items, items_error, last)
        before = replayed.state.rejected - len(replayed.rejected)
        result = dataclasses.replace(
            result,
            rejected_before=before,
            note=replayed.note,
            state=replayed.state,
            snapshot_seq=replayed.snapshot_seq,
        )
    else:
        recorded = pipeline.record_events(log.events(until=last), replayed=True)
        result = ReplayResult(recorded.applied, recorded.rejected, n_items, items_error, last)
    pause()
    replay_hidden(pipeline, log)
    return result


def replay_items(pipeline: Pipeline, ids: IdArray, table: Table) -> tuple[int, str | None]:
    """Add the new items of an event store. Returns how many were added, and why the first of the others was not."""
    known = pipeline.catalog.table
    if known is not None:  # a log that outlives an item table may name columns that are no longer there
        table = Table({name: column for name, column in table.columns.items() if name in known.columns})
    return _add_items_that_fit(pipeline, ids, table)


def replay_hidden(pipeline: Pipeline, log: EventReader) -> None:
    """Hide the items that an event store has as hidden, and show those that it has as shown again."""
    pipeline.hide_items(log.hidden_items(), replayed=True)
    pipeline.show_items(log.shown_items(), replayed=True)


def _add_items_that_fit(pipeline: Pipeline, ids: IdArray, table: Table) -> tuple[int, str | None]:
    """The number of items added, and why the first of the others was not. Halves a batch that is refused."""
    try:
        return pipeline.add_items(ids, table).added, None
    except DataError as error:
        if len(ids) == 1:
            return 0, str(error)
    except LeanrecError as error:
        return 0, str(error)
    middle, n_items, reasons = len(ids) // 2, 0, []
    for half in (np.arange(middle), np.arange(middle, len(ids))):
        added, reason = _add_items_that_fit(pipeline, ids[half], table.take(half))
        n_items += added
        reasons += [] if reason is None else [reason]
    return n_items, next(iter(reasons), None)


def bind_log(pipeline: Pipeline, log: EventReader, *, rebind: bool = False) -> ReplayResult:
    """Bind an event store to the data of a pipeline, then ``replay_log``.

    Args:
        pipeline: the pipeline that records the events.
        log: an event store to read, or that of a server, which is then bound to the data.
        rebind: accept a store that is bound to other data, because its ids mean the same users and items.

    Raises DataError if the store is bound to other data and ``rebind`` is False.
    """
    if isinstance(log, EventStore):
        log.bind(pipeline.data_origin, rebind=rebind)
    elif not rebind:
        log.check_origin(pipeline.data_origin)
    return replay_log(pipeline, log)
