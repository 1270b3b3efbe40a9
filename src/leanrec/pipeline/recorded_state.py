"""Recorded state: the histories of users with events in a log, as arrays that a start reads instead of the whole log."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape
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
        """The state with events that follow in the log. Events that the fit has already are marked, and not added. O(E log E).

        A log that is given in parts gives the same state as the whole log.

        Args:
            data: the data of the fit.
            events: the events.
            changes: other fields of the new state.
        """
        if not len(events.user):
            return dataclasses.replace(self, **changes)
        affected = np.unique(events.user)
        known = self._gather_known(data, affected)
        new = {name: getattr(events, name) for name in ("user", *_COLUMNS)}
        free = np.flatnonzero(known["origin"] == OF_FIT)
        keys = [np.concatenate([known[name][free], new[name]]) for name in ("time", "event_type", "item", "user")]
        is_matched, is_new = _match(len(free), keys)
        known["origin"][free[is_matched]] = OF_BOTH
        new["origin"] = np.full(len(events.user), OF_LOG, np.int8)
        merged = {name: np.concatenate([column, new[name][is_new]]) for name, column in known.items()}
        order = np.lexsort((merged["time"], merged["user"]))  # events of the same second in the order of the log
        counts = np.bincount(np.searchsorted(affected, merged["user"]), minlength=len(affected))
        # The blocks of all users, first those of the users without new events and then the merged ones, are put in order.
        others = np.flatnonzero(~np.isin(self.rows, affected))
        rows = np.concatenate([self.rows[others], affected])
        lengths = np.concatenate([np.diff(self.starts)[others], counts])
        begins = np.concatenate([self.starts[others], len(self.item) + np.cumsum(counts) - counts])
        by_row = np.argsort(rows)
        taken = _list_positions(begins[by_row], lengths[by_row])
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), merged[name][order]])[taken] for name in (*_COLUMNS, "origin")
        }
        starts = np.concatenate([[0], np.cumsum(lengths[by_row])]).astype(np.int64)
        return dataclasses.replace(self, rows=rows[by_row].astype(np.int32), starts=starts, **columns, **changes)

    def _gather_known(self, data: Dataset, affected: Int32Array) -> dict[str, NDArray[Any]]:
        """The events of users so far: those of this state, or those of the fit."""
        at = np.minimum(np.searchsorted(self.rows, affected), max(len(self.rows) - 1, 0))
        is_here = self.rows[at] == affected if len(self.rows) else np.zeros(len(affected), np.bool_)
        at, fitted = at[is_here], affected[~is_here & (affected < len(data.users))]
        mine = _list_positions(self.starts[at], self.starts[at + 1] - self.starts[at])
        lengths = data.indptr[fitted + 1] - data.indptr[fitted]
        theirs = _list_positions(data.indptr[fitted], lengths)
        fit = {name: getattr(data.events, name) for name in _COLUMNS}
        if fit["rating"] is None:
            fit["rating"] = np.full(len(data.events), np.nan, np.float32)
        known = {name: np.concatenate([getattr(self, name)[mine], fit[name][theirs]]) for name in _COLUMNS}
        known["origin"] = np.concatenate([self.origin[mine], np.full(len(theirs), OF_FIT, np.int8)])
        known["user"] = np.concatenate(
            [np.repeat(self.rows[at], self.starts[at + 1] - self.starts[at]), np.repeat(fitted, lengths)]
        )
        return known


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
