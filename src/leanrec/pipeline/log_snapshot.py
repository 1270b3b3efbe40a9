"""Snapshot of a log: the state of the histories, beside an event store or in it, and the events behind it at a start."""

import contextlib
import dataclasses
import glob
import shutil
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leanrec import artifacts
from leanrec.data.vocabulary import Id, Vocabulary
from leanrec.errors import LeanrecError
from leanrec.events.event_reader import EventReader
from leanrec.events.seals import find_forgotten
from leanrec.pacing import pause
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.recorded_state import OF_LOG, RecordedEvents, RecordedState
from leanrec.pipeline.responses import RejectedEvent
from leanrec.types import Events, Int32Array

__all__ = ["LogReplay", "load_snapshot", "replay_events", "save_snapshot"]

_MAX_WRITING = 3600.0  # seconds; another process may be writing what is younger


@dataclasses.dataclass(frozen=True)
class LogReplay:
    """Result of replaying the events of a log.

    Attributes:
        state: the state after the last event.
        rejected: events that cannot be used, of those that were read now.
        note: why a snapshot was not used, None if it was or if there is none.
        snapshot_seq: sequence number of the last event that came from a snapshot.
    """

    state: RecordedState
    rejected: tuple[RejectedEvent, ...]
    note: str | None
    snapshot_seq: int

    @property
    def applied(self) -> int:
        """Number of events that the fit does not have."""
        return int(np.count_nonzero(self.state.origin == OF_LOG))


def replay_events(pipeline: Pipeline, log: EventReader, until: int) -> LogReplay:
    """The histories after the events of a log: from the snapshot beside it, if it fits, and the events behind that.

    Cost: O(E) for the events that are read, about 7 s for a million; and 0.1 s for a million events in the snapshot.
    """
    start, note = load_snapshot(pipeline, log, until)
    state, rejected = _extend(pipeline, log, start, until)
    return LogReplay(state, rejected, note, start.last_seq)


def load_snapshot(pipeline: Pipeline, log: EventReader, until: int) -> tuple[RecordedState, str | None]:
    """The snapshot of a log, or the state before the first event and the reason why the snapshot is not used."""
    empty = _make_empty(pipeline, log)
    advice = "The whole log is read instead."
    try:
        state = _read_state(pipeline, log)
    except LeanrecError as error:
        return empty, f"The snapshot of the event log cannot be used: {error} {advice}"
    if state is None:
        return empty, None
    fits = state.n_items <= len(pipeline.catalog) and state.items_digest == _digest_items(pipeline, state.n_items)
    if state.rejected and state.n_items != len(pipeline.catalog):
        fits = False  # an event that had no item may have one now
    if not fits or state.binding != empty.binding or state.last_seq > until:
        return (
            empty,
            f"The snapshot of the event log is of another version, or older than a change of the log. {advice}",
        )
    if log.find_seal(state.last_seq) != state.seal:
        return empty, f"The snapshot of the event log is of another log, or of one that was restored. {advice}"
    return state, None


def _read_state(pipeline: Pipeline, log: EventReader) -> RecordedState | None:
    if log.snapshot_table is not None:
        content = log.snapshot_table.read(pipeline.version)
        return None if content is None else RecordedState.from_bytes(content)
    if log.snapshot_path is None or not log.snapshot_path.exists():
        return None
    state: RecordedState = artifacts.load(log.snapshot_path, RecordedState)
    return state


def save_snapshot(pipeline: Pipeline, log: EventReader, start: RecordedState) -> RecordedState:
    """Extend a state by the events behind it, and write it beside the log. Returns it. Users forgotten since are left out.

    Nothing is written for a pipeline that was not loaded, for a log without a place for it, nor if a user is forgotten
    meanwhile. Raises ArtifactError if the disk is full, and SourceError if a log that keeps it itself does not answer.
    """
    path, table = log.snapshot_path, log.snapshot_table
    if (path is None and table is None) or not pipeline.version:
        return start
    if start.rejected and start.n_items != len(pipeline.catalog):  # an event that had no item may have one now
        start = _make_empty(pipeline, log)
    start = _drop_forgotten(pipeline, log, start)
    if start.binding != _bind(pipeline, log):
        return start
    if path is not None:
        _remove_remains(path)
    state, _ = _extend(pipeline, log, start, log.last_seq)
    if table is not None:
        n_forgotten = int(state.binding.rpartition(" ")[2])
        table.write(pipeline.version, state.last_seq, n_forgotten, _order_items(pipeline, log, state).to_bytes())
    elif path is not None:
        artifacts.save(state, path)
        if start.binding != _bind(pipeline, log):  # a user was forgotten meanwhile
            shutil.rmtree(path, ignore_errors=True)
    return state


def _order_items(pipeline: Pipeline, log: EventReader, state: RecordedState) -> RecordedState:
    """The state with the rows that a start gives to items: in the order of the log, which may not be that of their arrival here."""
    n_fitted = len(pipeline.fitted_data.items)
    added = pipeline.catalog.items.ids[n_fitted : state.n_items].tolist()
    here = {str(item): at for at, item in enumerate(added)}
    order = list(dict.fromkeys(here[str(item)] for item, _ in log.item_contents() if str(item) in here))
    if order == list(range(len(added))) or len(order) != len(added):
        return state
    rows = np.arange(state.n_items, dtype=np.int32)
    rows[n_fitted + np.array(order)] = np.arange(n_fitted, state.n_items)
    return dataclasses.replace(state, item=rows[state.item], items_digest=_digest_ids([added[at] for at in order]))


def _drop_forgotten(pipeline: Pipeline, log: EventReader, start: RecordedState) -> RecordedState:
    """The state without the users who were forgotten since. As it is while the pipeline still has one of them. O(U + E)."""
    before, _, number = start.binding.rpartition(" ")
    if before != _bind(pipeline, log).rpartition(" ")[0]:
        return start
    forgotten = log.forgotten_users(after=int(number))
    if not forgotten:
        return start
    if start.rejected or forgotten[0].last_seq < start.last_seq:  # whose events were these?
        return _make_empty(pipeline, log)
    fitted = find_forgotten(pipeline.fitted_data.users.ids, log.id, forgotten)
    if not np.isin(fitted, pipeline.histories.forgotten).all():
        return start
    new = start.n_users + find_forgotten(start.new_ids, log.id, forgotten)
    state = start.drop_users(np.concatenate([fitted, new]))
    return dataclasses.replace(state, binding=f"{before} {forgotten[-1].number}", seal=log.find_seal(start.last_seq))


def _remove_remains(path: Path) -> None:
    """Remove what is left of snapshots whose process was killed while it wrote them."""
    for folder in path.parent.glob(f".{glob.escape(path.name)}-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > _MAX_WRITING:
                shutil.rmtree(folder, ignore_errors=True)


def _extend(
    pipeline: Pipeline, log: EventReader, start: RecordedState, until: int
) -> tuple[RecordedState, tuple[RejectedEvent, ...]]:
    """The state with the events of the log behind it, and those that cannot be used."""
    if start.last_seq >= until:
        return start, ()
    for name in start.event_types:  # so that they have the codes of the state
        pipeline.histories.encode_event_type(name)
    n_items = len(pipeline.catalog)  # items that are added meanwhile may be missing for some events
    rows = _UserRows(pipeline, start)
    rejected: dict[int, str] = {}
    parts: list[RecordedEvents] = []
    n_read, seal = 0, start.seal
    for events, last in log.event_blocks(after=start.last_seq, until=until):
        seal = last
        encoded, bad = pipeline.encode_events(events)
        kept = np.delete(np.arange(len(events)), list(bad))
        parts.append(RecordedEvents(rows.find(events.take(kept)), **encoded.take(kept).columns()))
        rejected |= {n_read + at: reason for at, reason in bad.items()}
        n_read += len(events)
        pause()
    if not parts:  # all were forgotten
        return dataclasses.replace(start, last_seq=until), ()
    state = start.extend(
        pipeline.fitted_data,
        RecordedEvents.concat(parts),
        seal=seal,
        last_seq=until,
        rejected=start.rejected + len(rejected),
        event_types=pipeline.event_types,
        n_items=n_items,
        items_digest=_digest_items(pipeline, n_items),
        new_ids=np.concatenate([start.new_ids, np.array(list(rows.new), np.dtypes.StringDType())]),
    )
    return state, tuple(RejectedEvent(at, reason) for at, reason in sorted(rejected.items()))


class _UserRows:
    """Finds the rows of users, and gives new ones to users whom it does not know."""

    def __init__(self, pipeline: Pipeline, start: RecordedState) -> None:
        self._fitted, self._forgotten = pipeline.fitted_data.users, pipeline.histories.forgotten
        self._known = Vocabulary(start.new_ids, "user")
        self.new: dict[str, int] = {}

    def find(self, events: Events) -> Int32Array:
        """(E,) the row of each user. O(E log U)."""
        n_fitted = len(self._fitted)
        rows = self._fitted.rows(events.user, missing=-1)
        rows[np.isin(rows, self._forgotten)] = -1
        unknown = np.flatnonzero(rows < 0)
        texts = [str(each) for each in events.user[unknown].tolist()]
        found = self._known.rows(texts, missing=-1)
        first_new = n_fitted + len(self._known)
        rows[unknown] = [
            n_fitted + at if at >= 0 else self.new.setdefault(text, first_new + len(self.new))
            for text, at in zip(texts, found.tolist(), strict=True)
        ]
        return rows


def _make_empty(pipeline: Pipeline, log: EventReader) -> RecordedState:
    n_items = len(pipeline.catalog)
    empty = RecordedState.empty(pipeline.fitted_data)
    digest = _digest_items(pipeline, n_items)
    return dataclasses.replace(empty, binding=_bind(pipeline, log), n_items=n_items, items_digest=digest)


def _bind(pipeline: Pipeline, log: EventReader) -> str:
    """What a snapshot is of: the log, the version, and the users forgotten so far."""
    forgotten = log.forgotten_users()
    return f"{log.id} {pipeline.version} {forgotten[-1].number if forgotten else 0}"


def _digest_items(pipeline: Pipeline, n_items: int) -> int:
    """Checksum of the ids of the first items, those of the fit left out."""
    return _digest_ids(pipeline.catalog.items.ids[len(pipeline.fitted_data.items) : n_items].tolist())


def _digest_ids(added: Sequence[Id]) -> int:
    return zlib.crc32(repr(added).encode(errors="surrogatepass"))
