"""Questions with known answers, and how far training knows the future of them."""

import dataclasses
import functools
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.errors import DataError
from leanrec.types import CSR, Int64Array, Queries

__all__ = ["Cases", "Leak", "pair_keys"]


@dataclasses.dataclass(frozen=True, eq=False)
class Cases:
    """Questions with known answers: what askers knew, and what they did next.

    Attributes:
        queries: B askers. ``users`` is -1 where the history is not the one the training part holds.
        truth: (B, N) CSR float32, summed weight of the positive held-out events; an empty row has no answer.
        ratings: (B, N) CSR float32, the held-out explicit ratings, or None where there are none.
        repeats: whether truth may hold items the asker had touched before. Seen items are then not hidden.
        dropped: held-out (asker, item) pairs left out of truth because the asker had touched the item before.
    """

    queries: Queries
    truth: CSR
    ratings: CSR | None = None
    repeats: bool = False
    dropped: int = 0

    def __post_init__(self) -> None:
        if self.truth.shape != (len(self.queries), self.queries.n_items):
            raise DataError(
                "Cases: truth must have the shape of the histories, "
                f"{(len(self.queries), self.queries.n_items)}. Got {self.truth.shape}."
            )

    def __len__(self) -> int:
        return len(self.queries)

    @functools.cached_property
    def relevant(self) -> Int64Array:
        """(B,) how many items answer each query."""
        return np.diff(self.truth.indptr).astype(np.int64)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over histories and truth: evaluations over the same cases can be compared."""
        digest = hashlib.sha256(str((*self.truth.shape, self.repeats)).encode())
        for matrix in (self.queries.history, self.truth, self.ratings):
            for part in () if matrix is None else (matrix.indptr, matrix.indices, matrix.data):
                digest.update(np.ascontiguousarray(part).astype(np.float64).tobytes())
        return digest.hexdigest()

    def take(self, rows: NDArray[Any]) -> "Cases":
        """The cases at the given positions, for a sample or a group of askers."""
        return dataclasses.replace(
            self,
            queries=self.queries.take(rows),
            truth=self.truth[rows],
            ratings=None if self.ratings is None else self.ratings[rows],
        )

    def to_dict(self) -> dict[str, int]:
        """Counts for reports."""
        return {
            "queries": len(self),
            "without_history": int((np.diff(self.queries.history.indptr) == 0).sum()),
            "without_truth": int((self.relevant == 0).sum()),
            "relevant": int(self.truth.nnz),
            "repeats_dropped": self.dropped,
            "ratings": 0 if self.ratings is None else int(self.ratings.nnz),
        }


@dataclasses.dataclass(frozen=True)
class Leak:
    """What training knows of the time after a held-out event, in shares of the held-out positive events.

    Attributes:
        overall: share that is earlier than the last known event of anybody; None without a clock.
        same_user: share that is earlier than the last known event of the same user; None without any order.
        events: how many held-out events were looked at.
    """

    overall: float | None
    same_user: float | None
    events: int

    @property
    def leaks(self) -> bool:
        """Whether any held-out event is earlier than something that training or the history holds."""
        return bool(self.overall) or bool(self.same_user)

    def __str__(self) -> str:
        if self.same_user is None:
            return "The events carry no time, so nobody can tell whether this split leaks the future."
        own = "earlier than a known event of the same user"
        if self.overall is None:
            return (
                f"{self.same_user:.1%} of {self.events} held-out events are {own}. "
                "There is no clock to compare different users by."
            )
        if not self.leaks:
            return "No held-out event is earlier than a known one: this split does not leak the future."
        return (
            f"This split leaks the future: {self.overall:.1%} of {self.events} held-out events are earlier "
            "than the last known event of anybody, so a model may know trends from after the moment of "
            f"asking, and {self.same_user:.1%} are {own}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The numbers and the sentence."""
        return {**dataclasses.asdict(self), "leaks": self.leaks, "text": str(self)}


def pair_keys(matrix: CSR) -> Int64Array:
    """(entries,) one number for each (row, column) of a matrix with sorted columns, ascending."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    return rows * matrix.shape[1] + matrix.indices
