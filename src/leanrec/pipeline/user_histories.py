"""Who touched what: the events of the fit, and over them what was recorded since."""

import dataclasses
import functools
import threading
from typing import Any

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset
from leanrec.data.merge import MAX_KINDS, extended_ids, not_yet_there
from leanrec.data.vocabulary import Id, Vocabulary
from leanrec.types import CSR, Events, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["Histories", "History"]


@dataclasses.dataclass(frozen=True, eq=False)
class History:
    """The events of one user, oldest first.

    Attributes:
        item: (L,) int32 rows.
        kind: (L,) int8 codes.
        time: (L,) int64 seconds since 1970.
        weight: (L,) float32, 0 = no evidence of liking.
        value: (L,) float32 ratings, NaN where the event is none.
    """

    item: Int32Array
    kind: np.ndarray
    time: Int64Array
    weight: Float32Array
    value: Float32Array

    def __len__(self) -> int:
        return len(self.item)

    def columns(self) -> dict[str, np.ndarray]:
        """The columns by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def joined(self, other: "History") -> "History":
        """Both, in time order; of one second, in order of arrival. O(L log L)."""
        mine, theirs = self.columns(), other.columns()
        joined = {name: np.concatenate([mine[name], theirs[name]]) for name in mine}
        order = np.argsort(joined["time"], kind="stable")
        return History(**{name: column[order] for name, column in joined.items()})

    def lacks(self, other: "History") -> "History":
        """The events of ``other`` that are not here (item, kind and time), in their order. O(L log L)."""
        mine, theirs = self.columns(), other.columns()
        keys = [np.concatenate([mine[name], theirs[name]]) for name in ("time", "kind", "item")]
        new = not_yet_there(len(self), *keys) - len(self)
        return History(**{name: column[new] for name, column in other.columns().items()})

    def queries(self, user: int, n_items: int) -> Queries:
        """The one asker with this history. O(L log L).

        Args:
            user: row that the model knows, or −1.
            n_items: N.
        """
        positive = self.weight > 0
        rated = np.isfinite(self.value)
        return Queries(
            users=np.array([user], np.int32),
            history=_row(self.item[positive], self.weight[positive], n_items),
            seen=_row(self.item, np.ones(len(self.item), np.float32), n_items),
            ratings=_last(self.item[rated], self.value[rated], n_items) if rated.any() else None,
            last=(self.item[positive],),
        )


def _row(items: Int32Array, values: Float32Array, n_items: int) -> CSR:
    columns, where = np.unique(items, return_inverse=True)
    return _csr(columns, np.bincount(where, values, len(columns)), n_items)


def _last(items: Int32Array, values: Float32Array, n_items: int) -> CSR:
    columns, from_the_end = np.unique(items[::-1], return_index=True)
    return _csr(columns, values[::-1][from_the_end], n_items)


def _csr(columns: np.ndarray, values: np.ndarray, n_items: int) -> CSR:
    ends = np.array([0, len(columns)], np.int32)
    return sp.csr_array((values.astype(np.float32), columns.astype(np.int32), ends), shape=(1, n_items))


class Histories:
    """The histories of all users, in memory.

    Reading a user costs O(L); recording costs O(L) of the users it names, whatever the size of the log.
    Safe to use from many threads: a history is replaced, never changed.
    """

    def __init__(self, data: Dataset, stale: Int32Array) -> None:
        """Take the events of the fit.

        Args:
            data: the fitted data set.
            stale: user rows about whom the model learnt before their last event.
        """
        self._data = data
        self._lock = threading.Lock()
        self._stale = set(stale.tolist())
        self._changed: dict[int, History] = {}
        self._new: dict[str, int] = {}
        self._new_ids: list[Id] = []
        self.kinds: tuple[str, ...] = data.events.kinds

    @property
    def n_users(self) -> int:
        """Users of the fit and new ones."""
        return len(self._data.users) + len(self._new_ids)

    def find(self, user: Id) -> int | None:
        """Row of a user, or None."""
        if user in self._data.users:
            return self._data.users.row(user)
        return self._new.get(str(user))

    def own_id(self, row: int) -> Id:
        """Own id of a user row."""
        fitted = len(self._data.users)
        own: Id = self._data.users.ids[row] if row < fitted else self._new_ids[row - fitted]
        return own.item() if isinstance(own, np.generic) else own

    def of(self, row: int) -> History:
        """The history of a user row. O(L)."""
        changed = self._changed.get(row)
        if changed is not None:
            return changed
        if row >= len(self._data.users):
            return _EMPTY
        events = self._data.events
        cut = slice(self._data.indptr[row], self._data.indptr[row + 1])
        item, weight = events.item[cut], events.weight[cut]
        value = np.full(len(item), np.nan, np.float32) if events.value is None else events.value[cut]
        return History(item, events.kind[cut], events.time[cut], weight, value)

    def row_for_model(self, row: int) -> int:
        """The row whose learnt vector still describes the user, or −1."""
        return -1 if row >= len(self._data.users) or row in self._stale or row in self._changed else row

    def count(self, row: int) -> int:
        """Number of events of a user row."""
        changed = self._changed.get(row)
        if changed is not None:
            return len(changed)
        return 0 if row >= len(self._data.users) else int(self._data.indptr[row + 1] - self._data.indptr[row])

    def beginning_with(self, text: str, limit: int) -> list[int]:
        """Rows of users whose id begins with the text, new ones first. O(U)."""
        with self._lock:
            new = [row for user, row in self._new.items() if user.startswith(text)]
        fitted = np.flatnonzero(np.strings.startswith(self._texts, text))[:limit]
        return [*reversed(new), *fitted.tolist()][:limit]

    @functools.cached_property
    def _texts(self) -> np.ndarray:
        return np.array([str(each) for each in self._data.users.ids.tolist()], np.dtypes.StringDType())

    def code(self, kind: str) -> int | None:
        """Code of a kind, new ones included; None when no more codes are left."""
        with self._lock:
            if kind not in self.kinds:
                if len(self.kinds) >= MAX_KINDS:
                    return None
                self.kinds = (*self.kinds, kind)
            return self.kinds.index(kind)

    def add(self, user: Id, events: History, *, replayed: bool = False) -> int:
        """Record events of one user, who may be new, and return how many were added.

        Of ``replayed`` events, those that are there already are left out.
        """
        with self._lock:
            row = self.find(user)
            if row is None:
                row = self.n_users
                self._new_ids.append(user)
                self._changed[row] = _EMPTY
                self._new[str(user)] = row
            old = self.of(row)
            new = old.lacks(events) if replayed else events
            if len(new):
                self._changed[row] = old.joined(new)
            return len(new)

    def merged(self, data: Dataset) -> tuple[Dataset, Int32Array]:
        """``data`` with every event recorded so far and the rows whose learnt vectors are stale.

        Args:
            data: the data set of the fit, possibly with more items by now.
        """
        with self._lock:
            changed, new_ids, kinds = dict(self._changed), list(self._new_ids), self.kinds
            stale = np.array(sorted(self._stale | set(changed)), np.int32)
        users = _with_new(data.users, new_ids)
        kept = ~np.isin(data.events.user, np.fromiter(changed, np.int32, len(changed)))
        parts = [_columns(data.events.take(kept))]
        parts += [
            history.columns() | {"user": np.full(len(history), row, np.int32)} for row, history in changed.items()
        ]
        columns: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        table = data.user_table
        if table is not None and new_ids:
            table = table.take(np.concatenate([np.arange(len(table)), np.full(len(new_ids), -1)]))
        merged = dataclasses.replace(data, users=users, user_table=table, events=Events(**columns, kinds=kinds))
        return merged.with_events(merged.events), stale


_EMPTY = History(
    np.zeros(0, np.int32),
    np.zeros(0, np.int8),
    np.zeros(0, np.int64),
    np.zeros(0, np.float32),
    np.zeros(0, np.float32),
)


def _with_new(users: Vocabulary, ids: list[Id]) -> Vocabulary:
    if not ids:
        return users
    return extended_ids(users, np.array([str(each) for each in ids], np.dtypes.StringDType()))


def _columns(events: Events) -> dict[str, np.ndarray]:
    value = np.full(len(events), np.nan, np.float32) if events.value is None else events.value
    return {
        "user": events.user,
        "item": events.item,
        "kind": events.kind,
        "time": events.time,
        "weight": events.weight,
        "value": value,
    }
