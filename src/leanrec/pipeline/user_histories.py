"""User histories in memory: the events of the fit, and the events recorded since."""

import dataclasses
import functools
import threading
from typing import Any

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset
from leanrec.data.merge import MAX_EVENT_TYPES, concat_events, extend_vocabulary, find_new_events
from leanrec.data.vocabulary import Id
from leanrec.types import CSR, Events, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["UserHistories", "UserHistory"]


@dataclasses.dataclass(frozen=True, eq=False)
class UserHistory:
    """The events of one user, oldest first.

    Attributes:
        item: (L,) int32 item rows.
        event_type: (L,) int8 codes.
        time: (L,) int64 seconds since 1970.
        weight: (L,) float32 strength as positive evidence, 0 = none.
        rating: (L,) float32 ratings, NaN where the event has none.
    """

    item: Int32Array
    event_type: np.ndarray
    time: Int64Array
    weight: Float32Array
    rating: Float32Array

    def __len__(self) -> int:
        return len(self.item)

    def columns(self) -> dict[str, np.ndarray]:
        """The columns by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def merge(self, other: "UserHistory") -> "UserHistory":
        """The events of both in time order; events of the same second in order of arrival. O(L log L)."""
        mine, theirs = self.columns(), other.columns()
        merged = {name: np.concatenate([mine[name], theirs[name]]) for name in mine}
        order = np.argsort(merged["time"], kind="stable")
        return UserHistory(**{name: column[order] for name, column in merged.items()})

    def find_missing(self, other: "UserHistory") -> "UserHistory":
        """The events of ``other`` that are not in this history by (item, event type, time). O(L log L)."""
        mine, theirs = self.columns(), other.columns()
        keys = [np.concatenate([mine[name], theirs[name]]) for name in ("time", "event_type", "item")]
        new = find_new_events(len(self), *keys) - len(self)
        return UserHistory(**{name: column[new] for name, column in theirs.items()})

    def to_queries(self, user: int, n_items: int) -> Queries:
        """One query (B = 1) with this history. O(L log L).

        Args:
            user: row of the user in the fitted data, or −1.
            n_items: N.
        """
        rated = np.isfinite(self.rating)
        positive = self.weight > 0
        replaced = np.flatnonzero(rated)  # as in Dataset.is_positive
        _, from_the_end = np.unique(self.item[replaced][::-1], return_index=True)
        positive[np.delete(replaced, len(replaced) - 1 - from_the_end)] = False
        return Queries(
            users=np.array([user], np.int32),
            history=_sum_by_item(self.item[positive], self.weight[positive], n_items),
            seen=_sum_by_item(self.item, np.ones(len(self.item), np.float32), n_items),
            ratings=_last_by_item(self.item[rated], self.rating[rated], n_items) if rated.any() else None,
            sequences=(self.item[positive],),
        )


_NO_EVENTS = UserHistory(
    np.zeros(0, np.int32),
    np.zeros(0, np.int8),
    np.zeros(0, np.int64),
    np.zeros(0, np.float32),
    np.zeros(0, np.float32),
)


class UserHistories:
    """The histories of all users.

    Cost: O(L) to read a user, O(L) to record events of a user, whatever the size of the log. Thread-safe: a history
    is replaced, never changed.
    """

    def __init__(self, data: Dataset, stale: Int32Array) -> None:
        """Start from the events of a fit.

        Args:
            data: the fitted data set.
            stale: rows of users with events that the model was not fitted on.
        """
        self._data = data
        self._lock = threading.Lock()
        self._stale = set(stale.tolist())
        self._changed: dict[int, UserHistory] = {}
        self._new_rows: dict[str, int] = {}
        self._new_ids: list[Id] = []
        self.event_types: tuple[str, ...] = data.events.event_types

    @property
    def n_users(self) -> int:
        """Number of users, new ones included."""
        return len(self._data.users) + len(self._new_ids)

    def find_row(self, user: Id) -> int | None:
        """Row of a user, or None."""
        if user in self._data.users:
            return self._data.users.row(user)
        return self._new_rows.get(str(user))

    def external_id(self, row: int) -> Id:
        """External id of a user row."""
        n_fitted = len(self._data.users)
        user: Id = self._data.users.ids[row] if row < n_fitted else self._new_ids[row - n_fitted]
        return user.item() if isinstance(user, np.generic) else user

    def get(self, row: int) -> UserHistory:
        """The history of a user row. O(L)."""
        changed = self._changed.get(row)
        if changed is not None:
            return changed
        if row >= len(self._data.users):
            return _NO_EVENTS
        events = self._data.events
        block = slice(self._data.indptr[row], self._data.indptr[row + 1])
        item, weight = events.item[block], events.weight[block]
        rating = np.full(len(item), np.nan, np.float32) if events.rating is None else events.rating[block]
        return UserHistory(item, events.event_type[block], events.time[block], weight, rating)

    def model_row(self, row: int) -> int:
        """The row whose learned vector still describes the user, or −1 if events were recorded since the fit."""
        return -1 if row >= len(self._data.users) or row in self._stale or row in self._changed else row

    def count_events(self, row: int) -> int:
        """Number of events of a user row."""
        changed = self._changed.get(row)
        if changed is not None:
            return len(changed)
        return 0 if row >= len(self._data.users) else int(self._data.indptr[row + 1] - self._data.indptr[row])

    def find_by_prefix(self, prefix: str, limit: int) -> list[int]:
        """Rows of users whose id starts with the prefix, new users first. O(U)."""
        with self._lock:
            new = [row for user, row in self._new_rows.items() if user.startswith(prefix)]
        fitted = np.flatnonzero(np.strings.startswith(self._ids_as_text, prefix))[:limit]
        return [*reversed(new), *fitted.tolist()][:limit]

    @functools.cached_property
    def _ids_as_text(self) -> np.ndarray:
        return np.array([str(each) for each in self._data.users.ids.tolist()], np.dtypes.StringDType())

    def encode_event_type(self, name: str) -> int | None:
        """Code of an event type, added if it is new; None if there are no codes left."""
        with self._lock:
            if name not in self.event_types:
                if len(self.event_types) >= MAX_EVENT_TYPES:
                    return None
                self.event_types = (*self.event_types, name)
            return self.event_types.index(name)

    def add(self, user: Id, events: UserHistory, *, replayed: bool = False) -> int:
        """Record events of one user, who may be new, and return how many were added.

        With ``replayed``, events that are already in the history are left out.
        """
        with self._lock:
            row = self.find_row(user)
            if row is None:
                row = self.n_users
                self._new_ids.append(user)
                self._changed[row] = _NO_EVENTS
                self._new_rows[str(user)] = row
            old = self.get(row)
            new = old.find_missing(events) if replayed else events
            if len(new):
                self._changed[row] = old.merge(new)
            return len(new)

    def merge_into(self, data: Dataset) -> tuple[Dataset, Int32Array]:
        """``data`` with all recorded events, and the rows of users whose learned vectors are stale. O(E).

        Args:
            data: the data set of the fit; items may have been added since.
        """
        with self._lock:
            changed, new_ids, event_types = dict(self._changed), list(self._new_ids), self.event_types
            stale = np.array(sorted(self._stale | set(changed)), np.int32)
        users, table = data.users, data.user_table
        if new_ids:
            users = extend_vocabulary(users, np.array([str(each) for each in new_ids], np.dtypes.StringDType()))
            if table is not None:
                table = table.pad_to(len(users))
        events = data.events.take(~np.isin(data.events.user, np.fromiter(changed, np.int32, len(changed))))
        if changed:
            pasts = list(changed.values())
            columns: dict[str, Any] = {
                name: np.concatenate([past.columns()[name] for past in pasts]) for name in pasts[0].columns()
            }
            user = np.repeat(np.fromiter(changed, np.int32, len(changed)), [len(past) for past in pasts])
            events = concat_events(events, Events(user=user, **columns, event_types=event_types))
        return dataclasses.replace(data, users=users, user_table=table).with_events(events), stale


def _sum_by_item(items: Int32Array, values: Float32Array, n_items: int) -> CSR:
    columns, where = np.unique(items, return_inverse=True)
    return _make_row(columns, np.bincount(where, values, len(columns)), n_items)


def _last_by_item(items: Int32Array, values: Float32Array, n_items: int) -> CSR:
    columns, from_the_end = np.unique(items[::-1], return_index=True)
    return _make_row(columns, values[::-1][from_the_end], n_items)


def _make_row(columns: np.ndarray, values: np.ndarray, n_items: int) -> CSR:
    indptr = np.array([0, len(columns)], np.int32)
    return sp.csr_array((values.astype(np.float32), columns.astype(np.int32), indptr), shape=(1, n_items))
