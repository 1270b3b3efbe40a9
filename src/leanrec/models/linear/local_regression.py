"""Local regression: ridge regression of each item on its most similar items.

EASE (Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019) restricted to similar
items, as in SLIM with feature selection (Ning & Karypis, ICDM 2011); powers of the degrees as in Christoffel, Paudel, Newell
& Bernstein, "Blockbusters and Wallflowers", RecSys 2015, and Steck, "Autoencoders that don't overfit towards the
Identity", NeurIPS 2020.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.graph.spectral import weighted_degrees
from leanrec.kernels.similarity.top_similar import top_similar, top_similar_bytes
from leanrec.kernels.solvers.dense_ridge import dense_gram
from leanrec.kernels.solvers.local_ridge import fit_local_ridges, local_ridge_bytes
from leanrec.kernels.sparse import history_contributions, history_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries, compact_indices

__all__ = ["LocalRegression", "LocalRegressionModel"]

# Items of one block: the time limit is checked between blocks.
_ITEMS = 4096
# The Gram matrix of all items is computed where it is small, or not large and faster than the local ones.
_SMALL_BYTES, _LARGE_BYTES = 2**29, 2**32


@dataclasses.dataclass(frozen=True)
class LocalRegression:
    """Weights of the K most similar items in a regression of item j: the w that minimizes |x_j − X_S w|² + Σ r_i w_i².

    Rows of X are scaled by (sum of the row)^−alpha; S are the items of the largest cosine with j. With g_i = |x_i|²,
    its mean m and the mean number of users n, both over the items with interactions, the ridge is
    r_i = l2 · m^(1 − e) · g_i^e / √n with e = ``l2_exponent``. It follows the scale and the sparsity of the data, so that
    the default of ``l2`` suits sparse and dense logs. The score of j is the sum over the history of
    d_i^−beta · w_i · d_j^gamma, d the sums of the columns.

    When to use: the first to try on sparse logs: it fits in seconds and is small.

    Cost: fit O(Σ_u L_u² + Σ_j entries of S_j and the pairs that share a user + iterations · N · K²) time and ``fit_bytes``; a query
    O(L · K) on average; the model at most 8 N · K bytes.
    """

    VARIANTS: ClassVar[tuple[Mapping[str, Any], ...]] = ({"n_neighbors": 50},)

    n_neighbors: int = setting(
        200,
        at_least=1,
        search="25..800:log",
        doc="K; larger values are better and slower, with little gain above 200.",
    )
    l2: float = setting(
        16.0,
        above=0,
        search="0.16..1.6e3:log",
        doc="Strength of the ridge, in units of the mean squared length of an item's column over √n.",
    )
    l2_exponent: float = setting(
        0.3,
        between=(0, 1),
        search="0..1",
        doc="Exponent of the item's frequency in the ridge: 0 = the same for all, 1 = in proportion.",
    )
    alpha: float = setting(
        0.1,
        between=(-2, 2),
        search="0..1",
        doc="Exponent of the users' degrees; larger values lower the weight of users with long histories.",
    )
    beta: float = setting(
        0.1,
        between=(-2, 2),
        search="0..1",
        doc="Exponent of the items' degrees in the history; larger values lower the weight of popular items.",
    )
    gamma: float = setting(
        0.0,
        between=(-2, 2),
        doc="Exponent of the items' degrees in the score; larger values recommend popular items more.",
    )
    min_weight: float = setting(
        0.01, between=(0, 1), doc="Weights below this fraction of the largest weight of their item are dropped."
    )
    weighting: str = setting(
        "log",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc="Transformation of interaction weights.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The data in three forms, the neighbors with their weights in three, and work space for each thread."""
        n, threads = shape.items, Run().n_threads()
        k = min(self.n_neighbors, n)
        work = local_ridge_bytes(shape.users, shape.events, k, n, threads)
        size = 72 * shape.events + 64 * (shape.users + n) + top_similar_bytes(n, n, k, threads) + work + 24 * n * k
        return size + (4 * n**2 if self._uses_full_gram(shape) else 0) + 2**21

    def _uses_full_gram(self, shape: DatasetShape) -> bool:
        """Whether local Gram matrices are copied from that of all items instead of computed one by one.

        A copy is K² / 2 numbers; computing visits at least K times the mean number of users of an item.
        """
        size = 4 * shape.items**2
        copies_faster = 2 * shape.events > self.n_neighbors * shape.items
        return size <= _SMALL_BYTES or (size <= _LARGE_BYTES and copies_faster)

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "LocalRegressionModel":
        """Find the neighbors and compute the weights.

        Items that are not reached in time get the weights of one-variable regressions, scaled to the level of those
        that were computed.
        """
        run.require_memory(
            self.fit_bytes(data.shape),
            f"Local regression over {len(data.items)} items",
            "Lower n_neighbors or raise the limit.",
        )
        with run.limit_threads():
            return self._build_model(_drop_small_weights(self._weigh_items(data, None, run), self.min_weight))

    def fit_pattern(self, data: Dataset, pattern: CSR, run: Run = Run()) -> "LocalRegressionModel":
        """The weights of a given pattern: each item regressed on the items of its row.

        Args:
            data: the interactions.
            pattern: (N, N), row j has the items with a weight in the score of j, without j itself, and their cosine,
                which stands in for the regressions that are not reached in time.
            run: threads and time.
        """
        with run.limit_threads():
            return self._build_model(self._weigh_items(data, pattern, run))

    def _build_model(self, rows: CSR) -> "LocalRegressionModel":
        """Rows hold the weights in the score of one item; a query needs those by the item of the history."""
        return LocalRegressionModel(settings=self, weights=compact_indices(sp.csr_array(rows.T)))

    def _weigh_items(self, data: Dataset, near: CSR | None, run: Run) -> CSR:
        """(N, N) weights, row j those in the score of j, on the items of row j of ``near``; None = the similar items."""
        X = weight_interactions(data.interactions, self.weighting)
        of_users, of_items = weighted_degrees(X)
        X = _scale_rows(X, _degree_power(of_users, -self.alpha))
        gram = dense_gram(X) if self._uses_full_gram(data.shape) else None
        rows = self._fit_regressions(X, top_similar(X, self.n_neighbors, "cosine") if near is None else near, gram, run)
        rows.data[:] *= _degree_power(of_items, -self.beta)[rows.indices]
        return _scale_rows(rows, _degree_power(of_items, self.gamma))

    def _fit_regressions(self, X: CSR, near: CSR, gram: Float32Array | None, run: Run) -> CSR:
        """(N, N) weights: row j has the coefficients of the regression of column j of X on the columns of row j of ``near``."""
        columns = sp.csr_array(X.T)
        squares = np.bincount(X.indices, weights=X.data**2, minlength=X.shape[1]).astype(np.float32)
        ridge = self._ridge(squares, X.nnz)
        lengths = np.sqrt(squares)
        # The cosine times both norms is the dot product; divided by square + ridge, a regression on one item.
        near = _scale_rows(near, lengths)
        near.data *= (lengths / (squares + ridge))[near.indices]
        solved, n = 0, len(squares)
        weights = near.data.copy()
        starts = range(0, n, _ITEMS)
        for first in run.track(starts, "Local regression"):
            if run.out_of_time():
                break
            low, solved = near.indptr[first], near.indptr[min(first + _ITEMS, n)]
            block = near[first : first + _ITEMS]
            weights[low:solved] = fit_local_ridges(columns, block, ridge, first=first, gram=gram)
        # The rest, regressions on one item, are brought to the level of the solved ones.
        size = float(np.abs(near.data[:solved]).sum())
        if size and solved < len(weights):
            weights[solved:] *= np.float32(np.abs(weights[:solved]).sum() / size)
        return sp.csr_array((weights, near.indices, near.indptr), shape=near.shape)

    def _ridge(self, squares: Float32Array, entries: int) -> Float32Array:
        """(N,) the ridge of each item; any positive number for an item without interactions."""
        interacted = squares > 0
        known = max(1, int(interacted.sum()))
        mean = float(squares.sum(dtype=np.float64)) / known or 1.0
        strength = self.l2 * mean ** (1 - self.l2_exponent) / np.sqrt(max(1, entries) / known)
        return np.asarray(strength * np.where(interacted, squares, mean) ** self.l2_exponent, dtype=np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class LocalRegressionModel:
    """A fitted `LocalRegression`.

    Attributes:
        settings: settings of the fit.
        weights: (N, N) CSR float32; ``weights[i, j]`` is the contribution of item i in a history to the score of item j.
    """

    settings: LocalRegression
    weights: Annotated[CSR, ArrayShape("N", "N")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return int(self.weights.shape[0])

    def profile(self, queries: Queries) -> CSR:
        """(B, N) weighted histories."""
        return weight_interactions(queries.history, self.settings.weighting)

    def item_weights(self) -> CSR | None:
        """(N, N) the weights."""
        return self.weights

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History × weights: (B, N), or (B, K) for ``items``."""
        return history_scores(self.profile(queries), self.weights, items)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history and their contributions to the score."""
        history = self.profile(queries)
        added = history_contributions(history, self.weights, items)
        return rank_contributions(history.indices, added, top_k=top_k)


def _degree_power(degree: NDArray[np.float64], exponent: float) -> Float32Array:
    """degree^exponent; 1 where the degree is 0."""
    return np.asarray(np.where(degree > 0, degree, 1) ** exponent, dtype=np.float32)


def _scale_rows(matrix: CSR, rows: Float32Array) -> CSR:
    """diag(rows) · matrix, the structure shared with ``matrix``."""
    data = matrix.data * np.repeat(rows, np.diff(matrix.indptr))
    return sp.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _drop_small_weights(rows: CSR, min_weight: float) -> CSR:
    """Drop zeros and the entries below ``min_weight`` times the largest absolute value in their row."""
    largest = np.zeros(rows.shape[0], np.float32)
    np.maximum.at(largest, np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), np.abs(rows.data))
    kept = np.abs(rows.data) > np.repeat(largest * np.float32(min_weight), np.diff(rows.indptr))
    counts = np.concatenate([[0], np.cumsum(kept)])[rows.indptr]
    return sp.csr_array((rows.data[kept], rows.indices[kept], counts), shape=rows.shape)
