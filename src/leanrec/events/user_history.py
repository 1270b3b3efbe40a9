"""User history: the events of one user in memory, and the query that a model gets from them."""

import dataclasses
import time
from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.merge import find_new_events
from leanrec.kernels.csr import build_row
from leanrec.types import Float32Array, Int32Array, Int64Array, Queries

__all__ = ["UserHistory"]


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

    @classmethod
    def from_rows(cls, rows: Sequence[tuple[int, int, int, float, float]]) -> "UserHistory":
        """The events with these values, in the order of the columns. At least one."""
        item, event_type, time_, weight, rating = zip(*rows, strict=True)
        return cls(
            np.array(item, np.int32),
            np.array(event_type, np.int8),
            np.array(time_, np.int64),
            np.array(weight, np.float32),
            np.array(rating, np.float32),
        )

    @classmethod
    def from_data(cls, data: Dataset, user: int) -> "UserHistory":
        """The events of a user row of a data set. O(1), or O(L) where there are no ratings; the columns are views."""
        events = data.events
        block = slice(data.indptr[user], data.indptr[user + 1])
        item = events.item[block]
        rating = np.full(len(item), np.nan, np.float32) if events.rating is None else events.rating[block]
        return cls(item, events.event_type[block], events.time[block], events.weight[block], rating)

    def columns(self) -> dict[str, np.ndarray]:
        """The columns by name."""
        return dict(vars(self))

    def merge(self, *others: "UserHistory") -> "UserHistory":
        """The events of all in time order; events of the same second in order of arrival. O(L log L)."""
        all_columns = [vars(self), *map(vars, others)]
        order = np.argsort(np.concatenate([each["time"] for each in all_columns]), kind="stable")
        return UserHistory(*[np.concatenate([each[name] for each in all_columns])[order] for name in all_columns[0]])

    def find_missing(self, other: "UserHistory") -> "UserHistory":
        """The events of ``other`` that are not in this history by (item, event type, time), with repeats. O(L log L)."""
        return other.take(self._find_missing(other))

    def find_common(self, other: "UserHistory") -> "UserHistory":
        """The other events of ``other``: those that are in this history. O(L log L)."""
        return other.take(np.delete(np.arange(len(other)), self._find_missing(other)))

    def _find_missing(self, other: "UserHistory") -> NDArray[np.intp]:
        mine, theirs = self.columns(), other.columns()
        keys = [np.concatenate([mine[name], theirs[name]]) for name in ("time", "event_type", "item")]
        return find_new_events(len(self), *keys) - len(self)

    def take(self, positions: NDArray[np.intp] | slice) -> "UserHistory":
        """The events at these positions."""
        return UserHistory(**{name: column[positions] for name, column in self.columns().items()})

    def to_queries(self, user: int, n_items: int, *, is_stale: bool = False) -> Queries:
        """One query (B = 1) with this history, asked now. O(L log L).

        Args:
            user: row of the user in the fitted data, or −1.
            n_items: N.
            is_stale: the model was fitted on another history of the user.
        """
        is_positive, history, seen, ratings = _sum_by_item(self.item, self.weight, self.rating)
        return Queries(
            users=np.array([user], np.int32),
            time=np.array([time.time()], np.int64),
            history=build_row(*history, n_items),
            seen=build_row(*seen, n_items),
            ratings=build_row(*ratings, n_items) if len(ratings[0]) else None,
            sequences=(self.item[is_positive],),
            is_stale=np.array([is_stale]),
        )


_Row = tuple[Int32Array, Float32Array]


@numba.njit(cache=True, nogil=True)
def _sum_by_item(
    item: Int32Array, weight: Float32Array, rating: Float32Array
) -> tuple[NDArray[np.bool_], _Row, _Row, _Row]:
    """Whether each event is positive; and by item: the sum of its positive weights, its events, and its last rating.

    An event with a rating counts only where it is the last one of its item, as in ``Dataset.is_positive``.
    """
    order = np.argsort(item, kind="mergesort")
    n = len(item)
    is_positive = np.zeros(n, np.bool_)
    columns, values = np.empty((3, n), np.int32), np.empty((3, n), np.float32)
    n_history, n_seen, n_rated = 0, 0, 0
    start = 0
    while start < n:
        stop, last, row = start, -1, item[order[start]]
        while stop < n and item[order[stop]] == row:
            if np.isfinite(rating[order[stop]]):
                last = order[stop]
            stop += 1
        total, any_positive = 0.0, False
        for at in range(start, stop):
            event = order[at]
            if weight[event] > 0 and (event == last or not np.isfinite(rating[event])):
                is_positive[event] = any_positive = True
                total += weight[event]
        if any_positive:
            columns[0, n_history], values[0, n_history] = row, total
            n_history += 1
        columns[1, n_seen], values[1, n_seen] = row, stop - start
        n_seen += 1
        if last >= 0:
            columns[2, n_rated], values[2, n_rated] = row, rating[last]
            n_rated += 1
        start = stop
    return (
        is_positive,
        (columns[0, :n_history], values[0, :n_history]),
        (columns[1, :n_seen], values[1, :n_seen]),
        (columns[2, :n_rated], values[2, :n_rated]),
    )
