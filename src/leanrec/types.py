"""The values that flow through leanrec, and the key to their shapes.

Dimension key, used in every docstring and as a suffix where it helps (``scores_BN``):

    E  events      U  users      N  items      B  queries in one call
    K  length of a list          D  width of an embedding      L  length of a history
"""

import dataclasses
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.errors import DataError

__all__ = [
    "CSR",
    "Candidates",
    "Events",
    "Float32Array",
    "IdArray",
    "Int32Array",
    "Int64Array",
    "Queries",
    "empty_csr",
]

CSR: TypeAlias = sp.csr_array
Float32Array: TypeAlias = NDArray[np.float32]
Int32Array: TypeAlias = NDArray[np.int32]
Int64Array: TypeAlias = NDArray[np.int64]
IdArray: TypeAlias = NDArray[Any]


def empty_csr(rows: int, columns: int) -> CSR:
    """A (rows, columns) float32 matrix with no entry."""
    return sp.csr_array((rows, columns), dtype=np.float32)  # type: ignore[return-value]  # stubs take the shape for data


@dataclasses.dataclass(frozen=True, eq=False)
class Events:
    """A log of behaviour: what training reads and what serving writes.

    Attributes:
        user: (E,) who: the user's own ids at the edge; int32 rows once a Dataset has indexed them.
        item: (E,) what: own ids at the edge; int32 rows inside a Dataset.
        time: (E,) int64 seconds since 1970, or the order within the user where there is no clock; all equal where the log has neither.
        kind: (E,) int8 codes into ``kinds``.
        weight: (E,) float32 strength as positive evidence; 0 = seen, but no evidence of liking.
        value: (E,) float32 the explicit rating, NaN where the event is none. None: no event is a rating.
        request: (E,) ids of the served list that an event answers, or None.
        rank: (E,) int32 position in that list, 0 = first, −1 = unknown, or None.
        propensity: (E,) float32 probability with which it was shown, NaN = unknown, or None.
        kinds: names of the behaviours, e.g. ("view", "purchase").
    """

    user: IdArray
    item: IdArray
    time: Int64Array
    kind: NDArray[np.int8]
    weight: Float32Array
    value: Float32Array | None = None
    request: IdArray | None = None
    rank: Int32Array | None = None
    propensity: Float32Array | None = None
    kinds: tuple[str, ...] = ("interaction",)

    def __post_init__(self) -> None:
        for name, column in self.columns().items():
            if len(column) != len(self.user):
                raise DataError(f"Events: column {name!r} must have {len(self.user)} rows. Got {len(column)}.")

    def __len__(self) -> int:
        return len(self.user)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns that are there, by name."""
        values = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if f.name != "kinds")
        return {name: value for name, value in values if value is not None}

    def take(self, which: NDArray[Any] | slice) -> "Events":
        """The events at the given positions, or where a boolean mask holds. Cost O(E) bytes."""
        taken: dict[str, Any] = {name: column[which] for name, column in self.columns().items()}
        return dataclasses.replace(self, **taken)


@dataclasses.dataclass(frozen=True, eq=False)
class Queries:
    """All that may be known of B askers at the moment they ask.

    A model scores from ``history`` where it can, so a new user or a new click needs no refit.

    Attributes:
        users: (B,) int32 rows of the fitted data set. −1: a new user, or one whose history has changed
            since the fit; only ``history`` may be used then.
        history: (B, N) CSR float32, the summed positive weight of each item the asker touched (all > 0).
        seen: (B, N) CSR, whatever must not be shown again; None means ``history``.
        ratings: (B, N) CSR float32, explicit ratings, for models that predict ratings; None where there are none.
        time: (B,) int64 seconds since 1970: the moment of asking; None = unknown.
        last: per query, int32 rows of the touched items in time order (for sequence models); None = unknown.
    """

    users: Int32Array
    history: CSR
    seen: CSR | None = None
    ratings: CSR | None = None
    time: Int64Array | None = None
    last: tuple[Int32Array, ...] | None = None

    def __post_init__(self) -> None:
        if self.history.shape[0] != len(self.users):
            raise DataError(
                f"Queries: history must have one row per user ({len(self.users)}). Got {self.history.shape[0]}."
            )

    def __len__(self) -> int:
        return len(self.users)

    @property
    def n_items(self) -> int:
        """N, the number of items the histories are about."""
        return int(self.history.shape[1])

    def block(self, start: int, stop: int) -> "Queries":
        """Queries ``start`` to ``stop``, for work that streams in blocks."""
        cut = slice(start, stop)
        return Queries(
            users=self.users[cut],
            history=self.history[cut],
            seen=None if self.seen is None else self.seen[cut],
            ratings=None if self.ratings is None else self.ratings[cut],
            time=None if self.time is None else self.time[cut],
            last=None if self.last is None else self.last[cut],
        )

    def take(self, rows: NDArray[Any]) -> "Queries":
        """The queries at the given positions, in that order; a position may come twice."""
        return Queries(
            users=self.users[rows],
            history=self.history[rows],
            seen=None if self.seen is None else self.seen[rows],
            ratings=None if self.ratings is None else self.ratings[rows],
            time=None if self.time is None else self.time[rows],
            last=None if self.last is None else tuple(self.last[row] for row in rows.tolist()),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """Lists of items, best first.

    Retrieval makes them, ranking reorders them, serving sends them, evaluation measures them and feedback
    logs them.

    Attributes:
        items: (B, K) int32 item rows, −1 past the end of a list.
        scores: (B, K) float32, non-increasing along a row, −inf past the end.
        fallback: (B,) bool, True where the model had nothing to go on (no history it can use) and the list
            comes from the fallback; None means nowhere.
    """

    items: Int32Array
    scores: Float32Array
    fallback: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.items)
