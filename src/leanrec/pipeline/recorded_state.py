"""Recorded state: the histories of users with events in a log, as arrays that a start reads instead of the whole log."""

import dataclasses
import functools
import io
import itertools
import json
import zipfile
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape, check_fields
from leanrec.pacing import pause
from leanrec.types import Float32Array, IdArray, Int32Array, Int64Array

__all__ = ["RecordedEvents", "RecordedState"]

OF_FIT, OF_BOTH, OF_LOG = 0, 1, 2
_COLUMNS = ("item", "event_type", "time", "weight", "rating")


@dataclasses.dataclass(frozen=True, eq=False)
class RecordedEvents:
    """Events of a log that can be recorded, in the order of the log.

    Attributes:
        user: (E,) int32 rows of users, those of new users behind those of the fit.
        item: (E,) int32 item rows.
        event_type: (E,) int8 codes.
        time: (E,) int64 seconds since 1970.
        weight: (E,) float32 strength as positive evidence.
        rating: (E,) float32 ratings, NaN where the event has none.
    """

    user: Int32Array
    item: Int32Array
    event_type: NDArray[np.int8]
    time: Int64Array
    weight: Float32Array
    rating: Float32Array

    @classmethod
    def concat(cls, parts: Sequence["RecordedEvents"]) -> "RecordedEvents":
        """All events, one part after the other. O(E)."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: np.concatenate([getattr(each, name) for each in parts]) for name in names})


@dataclasses.dataclass(frozen=True, eq=False)
class RecordedState:
    """The histories of C users with events in a log, each with the events of the fit: E events. About 75 bytes for a new user with one event.

    Attributes:
        binding: what log, version and items it belongs to.
        seal: checksum of the last event that it has.
        last_seq: sequence number of that event.
        rejected: number of events up to it that could not be used.
        n_users: number of users of the data of the fit.
        event_types: names of the event types.
        n_items: number of items that were known.
        items_digest: checksum of the ids of those that were added since the fit.
        new_ids: (M,) ids of the users who are not in the data of the fit; their rows follow those.
        rows: (C,) int32 rows of the users, ascending.
        starts: (C + 1,) int64 bounds of their events.
        item: (E,) int32 item rows, in time order for each user.
        event_type: (E,) int8 codes.
        time: (E,) int64 seconds since 1970.
        weight: (E,) float32 strength as positive evidence.
        rating: (E,) float32 ratings, NaN where the event has none.
        origin: (E,) int8: 0 an event of the fit, 1 of the fit and of the log, 2 of the log.
    """

    binding: str
    seal: int
    last_seq: int
    rejected: int
    n_users: int
    event_types: tuple[str, ...]
    n_items: int
    items_digest: int
    new_ids: Annotated[IdArray, ArrayShape("M")]
    rows: Annotated[Int32Array, ArrayShape("C")]
    starts: Int64Array
    item: Annotated[Int32Array, ArrayShape("E")]
    event_type: Annotated[NDArray[np.int8], ArrayShape("E")]
    time: Annotated[Int64Array, ArrayShape("E")]
    weight: Annotated[Float32Array, ArrayShape("E")]
    rating: Annotated[Float32Array, ArrayShape("E")]
    origin: Annotated[NDArray[np.int8], ArrayShape("E")]

    @classmethod
    def empty(cls, data: Dataset) -> "RecordedState":
        """The state before the first event."""
        return cls(
            binding="",
            seal=0,
            last_seq=0,
            rejected=0,
            n_users=len(data.users),
            event_types=data.events.event_types,
            n_items=len(data.items),
            items_digest=0,
            new_ids=np.zeros(0, np.dtypes.StringDType()),
            rows=np.zeros(0, np.int32),
            starts=np.zeros(1, np.int64),
            item=np.zeros(0, np.int32),
            event_type=np.zeros(0, np.int8),
            time=np.zeros(0, np.int64),
            weight=np.zeros(0, np.float32),
            rating=np.zeros(0, np.float32),
            origin=np.zeros(0, np.int8),
        )

    def check_state(self) -> None:
        """Raise DataError unless the parts fit together."""
        is_sorted = len(self.starts) == len(self.rows) + 1 and (np.diff(self.starts) >= 0).all()
        if not is_sorted or self.starts[0] != 0 or self.starts[-1] != len(self.item) or (np.diff(self.rows) <= 0).any():
            raise DataError("RecordedState must have one block of events for each of its users.")

    def to_bytes(self) -> bytes:
        """The state as the bytes of a ZIP file of arrays, whose checksums are verified when it is read. O(E)."""
        arrays, plain = dict[str, NDArray[Any]](), dict[str, Any]()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            (arrays if isinstance(value, np.ndarray) else plain)[field.name] = value
        ids = [each.encode() for each in arrays.pop("new_ids").tolist()]
        arrays["id_lengths"] = np.array([len(each) for each in ids], np.int64)
        for name, text in (("ids", b"".join(ids)), ("plain", json.dumps(plain).encode())):
            arrays[name] = np.frombuffer(text, np.uint8)
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "RecordedState":
        """The state that ``to_bytes`` wrote. Raises DataError if it is damaged, or of another version of leanrec."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            plain = json.loads(arrays.pop("plain").tobytes())
            text, ends = arrays.pop("ids").tobytes(), np.cumsum(arrays.pop("id_lengths")).tolist()
            ids = [text[start:end].decode() for start, end in itertools.pairwise([0, *ends])]
            plain["event_types"] = tuple(plain["event_types"])
            state = cls(new_ids=np.array(ids, np.dtypes.StringDType()), **plain, **arrays)
        except (EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"A snapshot of histories must be as it was written. It is not: {error}.") from error
        check_fields(state)
        return state

    @functools.cached_property
    def users(self) -> Vocabulary:
        """The ids of the new users."""
        return Vocabulary(self.new_ids, "user")

    def find(self, row: int) -> slice | None:
        """The events of a user row; None for a user without events in the log. O(log C)."""
        at = int(np.searchsorted(self.rows, row))
        if at == len(self.rows) or self.rows[at] != row:
            return None
        return slice(int(self.starts[at]), int(self.starts[at + 1]))

    def extend(self, data: Dataset, events: RecordedEvents, **changes: Any) -> "RecordedState":
        """The state with events that follow in the log. Events that the fit has already are marked, and not added.

        A log that is given in parts gives the same state as the whole log. Cost: O(E + n log n) for n events that follow.

        Args:
            data: the data of the fit.
            events: the events.
            changes: other fields of the new state.
        """
        if not len(events.user):
            return dataclasses.replace(self, **changes)
        base = self._include(data, np.unique(events.user))
        block = np.searchsorted(base.rows, events.user)
        origin, is_new = _mark_known(base, block, events)
        block, time = block[is_new], events.time[is_new]
        order = np.lexsort((time, block))  # events of the same second in the order of the log
        block, time = block[order], time[order]
        places = _find_places(base.time, base.starts[block], base.starts[block + 1], time)
        new = {name: getattr(events, name)[is_new][order] for name in _COLUMNS}
        new["origin"] = np.full(len(order), OF_LOG, np.int8)
        columns = _insert(dataclasses.replace(base, origin=origin), places, new)
        counts = np.bincount(block, minlength=len(base.rows))
        starts = base.starts + np.concatenate([[0], np.cumsum(counts)])
        return dataclasses.replace(base, starts=starts, **columns, **changes)

    def drop_users(self, users: Int32Array) -> "RecordedState":
        """The state without the events of some users and the ids of those who are new; the rows behind these move up. O(E)."""
        dropped = np.unique(users[users >= self.n_users])
        kept = np.flatnonzero(~np.isin(self.rows, users))
        lengths = np.diff(self.starts)[kept]
        events = _list_positions(self.starts[kept], lengths)
        columns: dict[str, Any] = {name: getattr(self, name)[events] for name in (*_COLUMNS, "origin")}
        rows = self.rows[kept]
        return dataclasses.replace(
            self,
            new_ids=np.delete(self.new_ids, dropped - self.n_users),
            rows=(rows - np.searchsorted(dropped, rows)).astype(np.int32),
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            **columns,
        )

    def _include(self, data: Dataset, users: Int32Array) -> "RecordedState":
        """The state with a block for each of these users (ascending): those who had none get their events of the fit."""
        missing = np.setdiff1d(users, self.rows)
        if not len(missing):
            return self
        fitted = missing[missing < len(data.users)]
        lengths = np.zeros(len(missing), np.int64)
        lengths[: len(fitted)] = data.indptr[fitted + 1] - data.indptr[fitted]  # new users have higher rows
        theirs = _list_positions(data.indptr[fitted], lengths[: len(fitted)])
        ratings = data.events.rating
        new = {name: getattr(data.events, name)[theirs] for name in _COLUMNS if name != "rating"}
        new["rating"] = np.full(len(theirs), np.nan, np.float32) if ratings is None else ratings[theirs]
        new["origin"] = np.full(len(theirs), OF_FIT, np.int8)
        places = np.searchsorted(self.rows, missing)
        columns = _insert(self, np.repeat(self.starts[places], lengths), new)
        all_lengths = np.insert(np.diff(self.starts), places, lengths)
        starts = np.concatenate([[0], np.cumsum(all_lengths)]).astype(np.int64)
        return dataclasses.replace(self, rows=np.insert(self.rows, places, missing), starts=starts, **columns)


def _mark_known(
    state: RecordedState, block: NDArray[np.intp], events: RecordedEvents
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """The origins, with the events of the fit marked that come again in the log; and whether each event is another one."""
    may_match = (state.time >= events.time.min()) & (state.time <= events.time.max())  # mostly none: a log is later
    free = np.flatnonzero(may_match & (state.origin == OF_FIT))
    if not len(free):
        return state.origin, np.ones(len(block), np.bool_)
    keys = [np.concatenate([getattr(state, name)[free], getattr(events, name)]) for name in _COLUMNS[:3]]
    of_free = np.searchsorted(state.starts, free, side="right") - 1
    is_matched, is_new = _match(len(free), [*keys, np.concatenate([of_free, block])])
    origin = state.origin.copy()
    origin[free[is_matched]] = OF_BOTH
    return origin, is_new


def _insert(state: RecordedState, places: NDArray[np.intp], new: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """The columns with new values before these places (ascending). O(E), without a sort of the events that are there."""
    where = places + np.arange(len(places))
    is_old = np.ones(len(state.item) + len(places), np.bool_)
    is_old[where] = False
    columns: dict[str, Any] = {}
    for name, values in new.items():
        old = getattr(state, name)
        columns[name] = np.empty(len(is_old), old.dtype)
        columns[name][is_old] = old
        columns[name][where] = values
        pause()
    return columns


def _find_places(times: Int64Array, low: Int64Array, high: Int64Array, asked: Int64Array) -> Int64Array:
    """For each time asked the first position from ``low`` to ``high`` (its block of ``times``) that is later. O(n log E)."""
    while (is_open := low < high).any():
        middle = (low + high) // 2
        is_behind = is_open & (times[np.minimum(middle, len(times) - 1)] <= asked)
        low, high = np.where(is_behind, middle + 1, low), np.where(is_open & ~is_behind, middle, high)
    return low


def _list_positions(begins: Int64Array, lengths: Int64Array) -> Int64Array:
    """The positions of blocks, one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    positions: Int64Array = np.arange(total) + np.repeat(begins - (ends - lengths), lengths)
    return positions


def _match(n_known: int, columns: list[NDArray[Any]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pair equal events: whether each of the first ``n_known`` has a partner behind them, and whether each of the others has none."""
    order = np.lexsort(columns)
    differs = np.zeros(len(order), np.bool_)
    differs[:1] = True
    for column in columns:
        differs[1:] |= column[order][1:] != column[order][:-1]
    group = np.cumsum(differs) - 1
    position = np.arange(len(order)) - np.flatnonzero(differs)[group]
    is_known = order < n_known
    n_first = np.bincount(group, is_known).astype(np.int64)[group]
    n_others = np.bincount(group).astype(np.int64)[group] - n_first
    # The sort is stable: known events come first in their group, and both parts are in their order.
    has_partner = np.empty(len(order), np.bool_)
    has_partner[order] = np.where(is_known, position < n_others, position - n_first < n_first)
    return has_partner[:n_known], ~has_partner[n_known:]
