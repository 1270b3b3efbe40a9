"""EASE: linear item-item autoencoder with a closed-form solution.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
"""

import dataclasses
import shutil
import tempfile
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import BudgetError, DataError
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.solvers.dense_ridge import (
    dense_gram,
    fill_gram,
    invert_in_place,
    invert_ridge_by_users,
    is_dense_gram_small,
    keep_largest_by_users,
    keep_largest_weights,
    mirror_upper_triangle,
    regression_weights,
)
from leanrec.kernels.solvers.inverse import (
    BLOCK_ROWS,
    copy_diagonal,
    max_inverse_residual,
    sweep_inverse,
    sweep_inverse_bytes,
)
from leanrec.kernels.solvers.local_ridge import fit_local_ridges
from leanrec.kernels.sparse import history_contributions, history_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries, compact_indices
from leanrec.units import format_bytes

__all__ = ["EASE", "EASEModel"]

# Largest residual of (XᵀX + l2 · I) p − e in float32. 1e-4 is typical; recommendations change only above 1e-2.
_RESIDUAL = 1e-2
# Least and most rows of a band of a matrix in a file.
_BAND_ROWS = (256, 4096)
# Above this many items the sweep costs little more than LAPACK, which crashed once at 40,981 items.
_MAX_LAPACK_ITEMS = 16_384
# Exponent of item frequency when weights are pruned; 0.3 lost least among 0, 0.3, 0.5 and 0.7 on two data sets.
_FREQUENCY = 0.3


@dataclasses.dataclass(frozen=True)
class EASE:
    """Ridge regression of each item on all others: weights B with a zero diagonal. B = I − P · diag(1 / diag(P)), P = (XᵀX + l2 · I)⁻¹.

    When to use: a catalog small enough for an N × N matrix, in memory or on disk.

    Cost: fit N³ operations and 4 N² bytes, or O(U · N²) and 4 N² + 4 U · N + 24 U² bytes where users are at most half as
    many as items (the same weights, computed in the space of the users); a query O(L · N); the model 4 N² bytes. Where
    N² floats do not fit into the memory of the run, the matrix is inverted in an unnamed temporary file, a band of rows
    at a time, and the model is mapped from that file.

    With ``top_k`` only the largest weights of each item, by |weight| · frequency^0.3, are kept and solved for again: a
    query costs O(L · top_k) on average and the model 8 N · top_k bytes.
    """

    VARIANTS: ClassVar[tuple[Mapping[str, Any], ...]] = ({"top_k": 100},)

    l2: float = setting(100.0, above=0, search="1..1e4:log", doc="Ridge strength; more for sparser data.")
    weighting: str = setting(
        "log",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc="Transformation of interaction weights.",
    )
    top_k: int = setting(0, at_least=0, doc="Number of largest weights kept for each item; 0 = all.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """N² floats, inverted in place, copies of the data, and two matrices of the users where these are fewer.

        With ``top_k`` and fewer users, blocks of the inverse take the place of the N² floats.

        BLAS has buffers of its own; 32 MB covers them on the machines that were measured. A fit with less memory than
        this uses a temporary file.
        """
        of_users = 4 * shape.users * shape.items + 24 * shape.users**2 + 2 * 8 * 2048 * shape.users
        if _has_few_users(shape) and self.top_k:
            return of_users + 2 * 4 * BLOCK_ROWS * shape.items + self._other_bytes(shape)
        size = 4 * shape.items**2 + self._other_bytes(shape)
        if _has_few_users(shape):
            size += of_users
        elif shape.items > _MAX_LAPACK_ITEMS:
            size += sweep_inverse_bytes(shape.items)
        return size

    def _other_bytes(self, shape: DatasetShape) -> int:
        """Memory in addition to the N² floats: copies of the data, and the weights kept by ``top_k``."""
        size = 60 * shape.events + 64 * (shape.items + shape.users) + 2**25
        top = min(self.top_k, shape.items)
        return size + (48 * shape.items * top + 16 * 8 * top**2 if self.top_k else 0)

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "EASEModel":
        """Compute the weights, in a temporary file where N² floats do not fit into memory.

        Raises BudgetError before starting if neither memory nor disk suffices, and DataError if ``l2`` is too small for
        float32.
        """
        rows = 0 if self.fit_bytes(data.shape) <= run.available_memory() else self._rows_per_band(data.shape, run)
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            frequency = (np.bincount(X.indices, minlength=X.shape[1]) ** _FREQUENCY).astype(np.float32)
            if self.top_k and _has_few_users(data.shape):
                kept = keep_largest_by_users(X, self.l2, self.top_k, frequency)
                return self.fit_pattern(data, kept, run)
            if rows:
                inverse, diagonal = _invert_in_file(X, self.l2, rows)
            elif _has_few_users(data.shape):
                inverse, diagonal = invert_ridge_by_users(X, self.l2)
            else:
                inverse, diagonal = _invert_in_memory(X, self.l2)
            if not self.top_k:
                weights = regression_weights(inverse, diagonal, rows or BLOCK_ROWS)
                # np.asarray turns a memory map into a plain array view.
                return EASEModel(settings=self, weights=np.asarray(weights))
            # Row j of the pattern has the items with the largest |weight| · frequency^0.3 in the score of j.
            mirror_upper_triangle(inverse, rows or BLOCK_ROWS)
            kept = keep_largest_weights(inverse, self.top_k, frequency, rows or BLOCK_ROWS)
            del inverse
            return self.fit_pattern(data, kept, run)

    def fit_pattern(self, data: Dataset, pattern: CSR, run: Run = Run()) -> "EASEModel":
        """The weights of a given pattern: each item regressed on the items of its row. O(entries · mean entries of a row).

        Args:
            data: the interactions.
            pattern: (N, N), row j has the items with a weight in the score of j, without j itself.
            run: threads.
        """
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            n = X.shape[1]
            gram = dense_gram(X) if is_dense_gram_small(n) and not _has_few_users(data.shape) else None
            solved = fit_local_ridges(sp.csr_array(X.T), pattern, np.full(n, self.l2, np.float32), gram=gram)
            rows = sp.csr_array((solved, pattern.indices, pattern.indptr), shape=pattern.shape)
            # Rows hold the weights in the score of one item; a query needs those by the item of the history.
            return EASEModel(settings=self, weights=compact_indices(sp.csr_array(rows.T)))

    def _rows_per_band(self, shape: DatasetShape, run: Run) -> int:
        """Rows of a band of a matrix in a file. Raises BudgetError if memory or disk is too small."""
        n = shape.items
        least, most = (min(rows, n) for rows in _BAND_ROWS)
        run.require_memory(
            self._other_bytes(shape) + sweep_inverse_bytes(n, least),
            f"EASE over {n} items, even with its {format_bytes(4 * n**2)} in a file,",
            "Cut rare items or raise the limit.",
        )
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if free < 4 * n**2:
            raise BudgetError(
                f"EASE over {n} items needs {format_bytes(4 * n**2)} in memory or on disk. There are "
                f"{format_bytes(run.available_memory())} of memory, and {format_bytes(free)} in {tempfile.gettempdir()}. "
                "Raise the limit, or set TMPDIR to a larger disk."
            )
        room = run.available_memory() - self._other_bytes(shape)
        return next(rows for rows in range(most, least - 1, -1) if sweep_inverse_bytes(n, rows) <= room)


def _invert_in_memory(X: CSR, l2: float) -> tuple[Float32Array, Float32Array]:
    """The upper triangle of the inverse, or of minus the inverse, and its diagonal."""
    inverse = np.zeros((X.shape[1], X.shape[1]), np.float32)
    fill_gram(X, l2, inverse)
    if len(inverse) <= _MAX_LAPACK_ITEMS:
        inverse = invert_in_place(inverse)
    else:
        sweep_inverse(inverse)
    _check_residual(X, l2, inverse)
    return inverse, copy_diagonal(inverse)


def _invert_in_file(X: CSR, l2: float, rows: int) -> tuple[Float32Array, Float32Array]:
    """The upper triangle of minus the inverse, in a file that is deleted with the array, and its diagonal."""
    n = X.shape[1]
    with tempfile.TemporaryFile() as file:
        inverse = np.memmap(file, np.float32, "w+", shape=(n, n))
    fill_gram(X, l2, inverse, rows)
    sweep_inverse(inverse, rows)
    _check_residual(X, l2, inverse)
    return inverse, copy_diagonal(inverse)


def _check_residual(X: CSR, l2: float, inverse: Float32Array) -> None:
    residual = max_inverse_residual(X, l2, inverse)
    if not residual <= _RESIDUAL:
        raise DataError(
            f"l2 must be large enough for float32: the inverse is wrong by {residual:.2g} where 1 is expected. "
            f"Raise l2 above {l2:g}."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class EASEModel:
    """A fitted `EASE`.

    Attributes:
        settings: settings of the fit.
        weights: (N, N) float32, CSR if ``top_k`` is set; ``weights[i, j]`` is the contribution of item i in
            a history to the score of item j.
    """

    settings: EASE
    weights: Annotated[Float32Array | CSR, ArrayShape("N", "N")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return int(self.weights.shape[0])

    def profile(self, queries: Queries) -> CSR:
        """(B, N) weighted histories."""
        return weight_interactions(queries.history, self.settings.weighting)

    def item_weights(self) -> CSR | None:
        """(N, N) the weights where they are sparse, else None."""
        return None if isinstance(self.weights, np.ndarray) else self.weights

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History × weights: (B, N), or (B, K) for ``items``."""
        return history_scores(self.profile(queries), self.weights, items)

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "EASEModel":  # noqa: ARG002 - each weight depends on all items
        """The model of a fit on ``data``, at the cost of a fit: the weights alone do not have the inverse in them."""
        return self.settings.fit(data, run)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history and their contributions to the score."""
        history = self.profile(queries)
        added = history_contributions(history, self.weights, items)
        return rank_contributions(history.indices, added, top_k=top_k)


def _has_few_users(shape: DatasetShape) -> bool:
    """Whether U · N² + U² · N operations in the space of the users are fewer than N³, at most at three times the memory."""
    return 2 * shape.users <= shape.items
