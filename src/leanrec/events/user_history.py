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
        block = slice(data.indptr.item(user), data.indptr.item(user + 1))
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
        positive, columns, values, counts = _sum_by_item(self.item, self.weight, self.rating)
        history, seen, ratings = [
            build_row(columns[kind, :count], values[kind, :count], n_items) for kind, count in enumerate(counts)
        ]
        return Queries(
            users=np.array([user], np.int32),
            time=np.array([time.time()], np.int64),
            history=history,
            seen=seen,
            ratings=ratings if counts[2] else None,
            sequences=(positive,),
            is_stale=np.array([is_stale]),
        )


@numba.njit(cache=True, nogil=True)
def _sum_by_item(
    item: Int32Array, weight: Float32Array, rating: Float32Array
) -> tuple[Int32Array, Int32Array, Float32Array, tuple[int, int, int]]:
    """The items of the positive events, oldest first; columns (3, L), values (3, L), and how many each of the three rows has.

    The rows hold the sum of the positive weights of each item, the number of its events, and its last rating. An event with a rating counts only where it is the last one of its item, as in ``Dataset.is_positive``.
    """
    n = len(item)
    # One sort of numbers, by item and then by position, takes half of the time of a stable sort of positions.
    order = np.empty(n, np.int64)
    for at in range(n):
        order[at] = (np.int64(item[at]) << 32) | at
    order.sort()
    is_positive = np.zeros(n, np.bool_)
    columns, values = np.empty((3, n), np.int32), np.empty((3, n), np.float32)
    n_history, n_seen, n_rated = 0, 0, 0
    start = 0
    while start < n:
        stop, last, row = start, -1, order[start] >> 32
        while stop < n and order[stop] >> 32 == row:
            event = order[stop] & 0xFFFFFFFF
            if np.isfinite(rating[event]):
                last = event
            stop += 1
        total, any_positive = 0.0, False
        for at in range(start, stop):
            event = order[at] & 0xFFFFFFFF
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
    return item[is_positive], columns, values, (n_history, n_seen, n_rated)
