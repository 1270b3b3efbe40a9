"""Evaluation queries with ground truth, and a check for temporal leakage."""

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.errors import DataError
from leanrec.types import CSR, Int64Array, Queries

__all__ = ["EvaluationSet", "LeakageReport", "find_repeat", "pair_keys"]


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Queries with ground truth: the histories of users, and the items that they interacted with next.

    Attributes:
        queries: B queries; ``is_stale`` where the history is not the one that the training part has.
        ground_truth: (B, N) CSR float32, summed weight of the positive held-out events; a row may be empty.
        ratings: (B, N) CSR float32, the held-out explicit ratings, or None where there are none.
        allow_repeats: whether the ground truth may contain items of the history. Then seen items are not excluded
            from the recommendation lists.
        n_dropped: held-out (user, item) pairs that are not in the ground truth because the item is in the history.

    Raises DataError for matrices of another shape, and for ground truth that names an item of a query twice.
    """

    queries: Queries
    ground_truth: CSR
    ratings: CSR | None = None
    allow_repeats: bool = False
    n_dropped: int = 0

    def __post_init__(self) -> None:
        if self.ground_truth.shape != (len(self.queries), self.queries.n_items):
            raise DataError(
                "EvaluationSet: ground_truth must have the shape of the histories, "
                f"{(len(self.queries), self.queries.n_items)}. Got {self.ground_truth.shape}."
            )
        for name, matrix in (("ground_truth", self.ground_truth), ("ratings", self.ratings)):
            row = None if matrix is None else find_repeat(matrix)
            if row is not None:
                raise DataError(
                    f"EvaluationSet: {name} must name each item of a query once. Query {row} names one twice. "
                    f"Add up the entries with {name}.sum_duplicates()."
                )
            if matrix is not None and not matrix.has_sorted_indices:
                object.__setattr__(self, name, matrix.sorted_indices())

    def __len__(self) -> int:
        return len(self.queries)

    @functools.cached_property
    def n_relevant(self) -> Int64Array:
        """(B,) number of relevant items of each query."""
        return np.diff(self.ground_truth.indptr).astype(np.int64)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over histories and ground truth: evaluations on equal sets are comparable."""
        digest = hashlib.sha256(str((*self.ground_truth.shape, self.allow_repeats)).encode())
        for matrix in (self.queries.history, self.ground_truth, self.ratings):
            for column in () if matrix is None else (matrix.indptr, matrix.indices, matrix.data):
                digest.update(np.ascontiguousarray(column).astype(np.float64).tobytes())
        return digest.hexdigest()

    def take(self, rows: NDArray[Any]) -> "EvaluationSet":
        """Return the queries at the given positions with their ground truth, for a sample or a group of users."""
        return dataclasses.replace(
            self,
            queries=self.queries.take(rows),
            ground_truth=self.ground_truth[rows],
            ratings=None if self.ratings is None else self.ratings[rows],
        )

    def to_dict(self) -> dict[str, int]:
        """Return counts for reports."""
        return {
            "queries": len(self),
            "without_history": int((np.diff(self.queries.history.indptr) == 0).sum()),
            "without_ground_truth": int((self.n_relevant == 0).sum()),
            "relevant": int(self.ground_truth.nnz),
            "repeats_dropped": self.n_dropped,
            "ratings": 0 if self.ratings is None else int(self.ratings.nnz),
        }


@dataclasses.dataclass(frozen=True)
class LeakageReport:
    """Temporal leakage of a split: shares of the positive held-out events that are earlier than known events.

    Attributes:
        overall: share that is earlier than the last known event of any user; None where times of users are not comparable.
        same_user: share that is earlier than the last known event of the same user; None without any order.
        events: number of positive held-out events.
    """

    overall: float | None
    same_user: float | None
    events: int

    @property
    def has_leakage(self) -> bool:
        """Whether any held-out event is earlier than an event of training or of the history."""
        return bool(self.overall) or bool(self.same_user)

    def __str__(self) -> str:
        if self.same_user is None:
            return "The events have no time, so temporal leakage of this split cannot be measured."
        own = "earlier than a known event of the same user"
        if self.overall is None:
            return (
                f"{self.same_user:.1%} of {self.events} held-out events are {own}. "
                "There are no timestamps to compare different users by."
            )
        if not self.has_leakage:
            return "No held-out event is earlier than a known one: this split has no temporal leakage."
        return (
            f"This split has temporal leakage: {self.overall:.1%} of {self.events} held-out events are earlier than the "
            "last known event of any user, so a model may use trends from after the time of the query, and "
            f"{self.same_user:.1%} are {own}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers and the sentence."""
        return {**dataclasses.asdict(self), "has_leakage": self.has_leakage, "text": str(self)}


def find_repeat(matrix: CSR) -> int | None:
    """The first row with two entries in one column, or None. O(entries), and a sort where the columns are not in order."""
    if matrix.has_canonical_format:
        return None
    ordered = matrix if matrix.has_sorted_indices else matrix.sorted_indices()
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(ordered.indptr))
    same = np.flatnonzero((np.diff(rows) == 0) & (np.diff(ordered.indices) == 0))
    return int(rows[same[0]]) if len(same) else None


def pair_keys(matrix: CSR) -> Int64Array:
    """(entries,) one number for each (row, column) entry of a matrix with sorted columns, ascending."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    return rows * matrix.shape[1] + matrix.indices
