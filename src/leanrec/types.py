"""Core value types: event logs, queries and candidate lists, with the dimension key of their shapes.

Dimension key, used in every docstring and as a suffix where it helps (``scores_BN``):

    E  events      U  users      N  items      B  queries in one batch
    K  length of a recommendation list         D  embedding dimension      L  length of a history
"""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape, check_codes

if TYPE_CHECKING:
    from leanrec.data.table import Table

__all__ = [
    "CSR",
    "Candidates",
    "Events",
    "Float32Array",
    "IdArray",
    "Int32Array",
    "Int64Array",
    "Queries",
    "compact_indices",
    "empty_csr",
]

CSR: TypeAlias = sp.csr_array
Float32Array: TypeAlias = NDArray[np.float32]
Int32Array: TypeAlias = NDArray[np.int32]
Int64Array: TypeAlias = NDArray[np.int64]
IdArray: TypeAlias = NDArray[Any]


_INT32_LIMIT = 2**31


def empty_csr(rows: int, columns: int) -> CSR:
    """Return a (rows, columns) float32 matrix without entries."""
    return sp.csr_array((rows, columns), dtype=np.float32)  # type: ignore[return-value]  # stubs take the shape for data


def compact_indices(matrix: CSR) -> CSR:
    """Return the matrix with int32 ``indices`` and ``indptr`` wherever the values fit; the same object if it has them.

    ``indices`` fit below 2³¹ columns, ``indptr`` below 2³¹ entries. The data are shared. Cost: none, or O(entries).
    """
    pointers = np.int32 if matrix.nnz < _INT32_LIMIT else np.int64
    indices = np.int32 if matrix.shape[1] <= _INT32_LIMIT else np.int64
    if matrix.indptr.dtype == pointers and matrix.indices.dtype == indices:
        return matrix
    compact: CSR = sp.csr_array(matrix.shape, dtype=matrix.dtype)
    # Set one by one: the constructor would bring both to one type.
    compact.data = matrix.data
    compact.indices = matrix.indices.astype(indices, copy=False)
    compact.indptr = matrix.indptr.astype(pointers, copy=False)
    return compact


@dataclasses.dataclass(frozen=True, eq=False)
class Events:
    """An interaction log: the input of training and the output of serving.

    Attributes:
        user: (E,) user ids: external ids outside a Dataset, int32 internal rows inside.
        item: (E,) item ids, in the same way.
        time: (E,) int64 seconds since 1970, or the order within the user where there are no timestamps; all equal
            where the log has neither.
        event_type: (E,) int8 codes into ``event_types``.
        weight: (E,) float32 strength of the positive evidence; 0 = the item was seen, without evidence of a preference.
        rating: (E,) float32 explicit rating, NaN where the event is not a rating. None: no event is a rating.
        request: (E,) ids of the served recommendation list that an event answers, or None.
        rank: (E,) int32 position in that list, 0 = first, −1 = unknown, or None.
        propensity: (E,) float32 probability with which the item was shown, NaN = unknown, or None.
        event_types: names of the event types, e.g. ("view", "purchase").
    """

    user: Annotated[IdArray, ArrayShape("E")]
    item: Annotated[IdArray, ArrayShape("E")]
    time: Annotated[Int64Array, ArrayShape("E")]
    event_type: Annotated[NDArray[np.int8], ArrayShape("E")]
    weight: Annotated[Float32Array, ArrayShape("E")]
    rating: Annotated[Float32Array | None, ArrayShape("E")] = None
    request: Annotated[IdArray | None, ArrayShape("E")] = None
    rank: Annotated[Int32Array | None, ArrayShape("E")] = None
    propensity: Annotated[Float32Array | None, ArrayShape("E")] = None
    event_types: tuple[str, ...] = ("interaction",)

    def check_state(self) -> None:
        """Raise DataError unless each event type has a name and each weight counts as evidence."""
        check_codes("Events.event_type", self.event_type, len(self.event_types))
        if not (np.isfinite(self.weight) & (self.weight >= 0)).all():
            raise DataError("Events.weight must have a finite number of at least 0 for each event.")
        if self.rating is not None and np.isinf(self.rating).any():
            raise DataError("Events.rating must have a finite number for each rating, or NaN.")

    def __post_init__(self) -> None:
        for name, column in self.columns().items():
            if len(column) != len(self.user):
                raise DataError(f"Events: column {name!r} must have {len(self.user)} rows. Got {len(column)}.")

    def __len__(self) -> int:
        return len(self.user)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the columns that are present, by name."""
        values = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if f.name != "event_types")
        return {name: value for name, value in values if value is not None}

    def take(self, which: NDArray[Any] | slice) -> "Events":
        """Return the events at the given positions, or where a boolean mask is True. Cost: O(E) bytes."""
        taken: dict[str, Any] = {name: column[which] for name, column in self.columns().items()}
        return dataclasses.replace(self, **taken)


@dataclasses.dataclass(frozen=True, eq=False)
class Queries:
    """A batch of B recommendation requests: everything known about each query user at the time of the request.

    Models score from ``history`` where they can, so a new user or a new event needs no refit.

    Attributes:
        users: (B,) int32 rows of the users in the data set of the fit, −1 for users it does not have. Models find a row of
            the user table, or links between users, by it.
        history: (B, N) CSR float32, summed positive weight of each item that the user interacted with (all > 0).
        seen: (B, N) CSR, items that must not be recommended again; None means ``history``.
        ratings: (B, N) CSR float32, explicit ratings, for models that predict ratings; None where there are none.
        time: (B,) int64 seconds since 1970: time of the request; None = unknown.
        sequences: per query, int32 rows of the items interacted with, in time order (for sequential models); None = unknown.
        context: B rows of further request features (device, location, …); None where there are none.
        is_stale: (B,) bool, True where ``history`` differs from the history of the user at the fit, so that a vector learned
            for the user is out of date (see ``trained_users``). None: nowhere.

    The matrices have int32 ``indices`` and ``indptr`` where these fit; see ``compact_indices``.
    """

    users: Int32Array
    history: CSR
    seen: CSR | None = None
    ratings: CSR | None = None
    time: Int64Array | None = None
    sequences: tuple[Int32Array, ...] | None = None
    context: "Table | None" = None
    is_stale: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.history.shape[0] != len(self.users):
            raise DataError(
                f"Queries: history must have one row per user ({len(self.users)}). Got {self.history.shape[0]}."
            )
        if self.context is not None and len(self.context) != len(self.users):
            raise DataError(
                f"Queries: context must have one row per user ({len(self.users)}). Got {len(self.context)}."
            )
        if self.is_stale is not None and len(self.is_stale) != len(self.users):
            raise DataError(
                f"Queries: is_stale must have one value per user ({len(self.users)}). Got {len(self.is_stale)}."
            )
        for name in ("history", "seen", "ratings"):
            matrix = getattr(self, name)
            if matrix is None or (matrix.indices.dtype == np.int32 and matrix.indptr.dtype == np.int32):
                continue  # the case of a request, for which SciPy's properties would take a microsecond each
            if (compact := compact_indices(matrix)) is not matrix:
                object.__setattr__(self, name, compact)

    def __len__(self) -> int:
        return len(self.users)

    @property
    def n_items(self) -> int:
        """N, the number of columns of ``history``."""
        return int(self.history.shape[1])

    @property
    def trained_users(self) -> Int32Array:
        """(B,) rows of the users whose learned vectors are up to date; −1 for unknown users and changed histories."""
        return self.users if self.is_stale is None else np.where(self.is_stale, np.int32(-1), self.users)

    def block(self, start: int, stop: int) -> "Queries":
        """Return the queries ``start`` to ``stop``, for work in blocks."""
        return self._select(slice(start, stop))

    def take(self, rows: NDArray[Any]) -> "Queries":
        """Return the queries at the given positions, in that order; a position may repeat."""
        return self._select(rows)

    def _select(self, rows: NDArray[Any] | slice) -> "Queries":
        selected = {field.name: _select_rows(getattr(self, field.name), rows) for field in dataclasses.fields(self)}
        return Queries(**selected)


def _select_rows(value: Any, rows: NDArray[Any] | slice) -> Any:
    """Return rows of a field of ``Queries``: an array, a matrix, a tuple of arrays, a table, or None."""
    if value is None:
        return None
    if isinstance(value, np.ndarray | sp.csr_array):
        return value[rows]
    if isinstance(value, tuple):
        return value[rows] if isinstance(rows, slice) else tuple(value[row] for row in rows.tolist())
    return value.take(np.arange(len(value))[rows])


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """Lists of items, best first: the output of retrieval and ranking, the input of serving and evaluation.

    Attributes:
        items: (B, K) int32 item rows, −1 past the end of a list.
        scores: (B, K) float32, non-increasing along a row, −inf past the end.
        fallback: (B,) bool, True where the model had no usable history and the list comes from the fallback;
            None means nowhere.
        n_from_model: (B,) int32, how many items at the head of each list the model ranked; the fallback filled in
            the rest. None means all.
    """

    items: Annotated[Int32Array, ArrayShape("B", "K")]
    scores: Annotated[Float32Array, ArrayShape("B", "K")]
    fallback: Annotated[NDArray[np.bool_] | None, ArrayShape("B")] = None
    n_from_model: Annotated[Int32Array | None, ArrayShape("B")] = None

    def __len__(self) -> int:
        return len(self.items)
