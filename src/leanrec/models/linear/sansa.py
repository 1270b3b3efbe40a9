"""SANSA: EASE over large catalogs by a sparse approximate inverse.

Spišák, Bartyzal, Hoskovec, Peška & Tůma, "Scalable Approximate NonSymmetric Autoencoder for Collaborative Filtering",
RecSys 2023. There the factor of the inverse is a refined incomplete Cholesky factorization. Here each row
is optimal for its sparsity pattern (Kolotilina & Yeremin, "Factorized Sparse Approximate Inverse Preconditionings",
SIAM Journal on Matrix Analysis 1993; also optimal in Kullback-Leibler divergence: Schäfer, Katzfuss & Owhadi, "Sparse
Cholesky Factorization by Kullback-Leibler Minimization", SIAM Journal on Scientific Computing 2021).
"""

import dataclasses
from typing import Annotated

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.csr import build_single_rows
from leanrec.kernels.similarity.top_similar import top_similar, top_similar_bytes
from leanrec.kernels.solvers.dense_ridge import dense_gram, is_dense_gram_small
from leanrec.kernels.solvers.local_ridge import fit_local_ridges, local_ridge_bytes
from leanrec.kernels.sparse import history_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["SANSA", "SANSAModel"]


@dataclasses.dataclass(frozen=True)
class SANSA:
    """The weights of EASE, B = I − P · diag(1 / diag(P)), with P = (XᵀX + l2 · I)⁻¹ replaced by FᵀF, F sparse.

    Row j of F is (e_j − w) / √s, where w is a ridge regression of item j on its more frequent similar items and s the
    residual. No N × N matrix is formed, and no factorization can break down: F is valid for any sparsity pattern, and
    exact for the full one. B is not formed either; a history is multiplied by F twice.

    When to use: as `EASE`, for catalogs too large for an N × N matrix.

    Cost: fit O(Σ_u L_u²) for the similar items and O(N · K²) for the regressions on K neighbors; a query
    O(L · K²) at most; the model 16 bytes for each of about 0.8 N · K entries.
    """

    l2: float = setting(100.0, above=0, search="1..1e4:log", doc="Ridge strength; more for sparser data.")
    n_neighbors: int = setting(
        100,
        at_least=1,
        search="12..400:log",
        doc="K; the pattern has the K most similar items (cosine) of each item.",
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
        """The similar items and the factor in several forms, the work space of the regressions, and copies of the data."""
        n = shape.items
        k = min(self.n_neighbors, n)
        lists = top_similar_bytes(n, n, k, 16) + 120 * n * k
        # An item may be a neighbor of more than K others; more than eight times as many has not been observed.
        regressions = local_ridge_bytes(shape.users, shape.events, min(n, 8 * k), n, 8)
        return lists + regressions + 80 * shape.events + (4 * n**2 if is_dense_gram_small(n) else 0) + 2**25

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "SANSAModel":
        """Compute the factor. Raises BudgetError before starting if it does not fit into memory."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"SANSA over {len(data.items)} items",
            f"Set n_neighbors below {self.n_neighbors}, or raise the limit.",
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            factor = _compute_factor(X, self.l2, top_similar(X, self.n_neighbors, "cosine"))
            diagonal = np.bincount(factor.indices, weights=factor.data.astype(np.float64) ** 2, minlength=X.shape[1])
            back = factor @ sp.diags_array(-1 / diagonal.astype(np.float32))
            # A second copy of the history in the profile removes the weight of an item on itself.
            weights = sp.vstack([back, sp.eye_array(X.shape[1], dtype=np.float32)], format="csr")
            return SANSAModel(settings=self, projection=sp.csr_array(factor.T), weights=sp.csr_array(weights))


@dataclasses.dataclass(frozen=True, eq=False)
class SANSAModel:
    """A fitted `SANSA`.

    Attributes:
        settings: settings of the fit.
        projection: (N, N) CSR float32, Fᵀ, from items of a history to components.
        weights: (2 N, N) CSR float32, from components to scores, −F · diag(1 / diag(FᵀF)), and below it the identity, for
            the items of the history.
    """

    settings: SANSA
    projection: Annotated[CSR, ArrayShape("N", "N")]
    weights: Annotated[CSR, ArrayShape("2 N", "N")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return int(self.weights.shape[1])

    def profile(self, queries: Queries) -> CSR:
        """(B, 2 N): the components of the histories, and the histories."""
        history = weight_interactions(queries.history, self.settings.weighting)
        components = sp.csr_array(history @ self.projection)
        both = sp.csr_array(sp.hstack([components, history], format="csr"))
        both.sort_indices()
        return both

    def item_weights(self) -> CSR | None:
        """(2 N, N) the weights of the components and of the history."""
        return self.weights

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Components of the history × weights: (B, N), or (B, K) for ``items``."""
        return history_scores(self.profile(queries), self.weights, items)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history and their contributions to the score."""
        history = weight_interactions(queries.history, self.settings.weighting)
        projected = sp.csr_array(build_single_rows(history.indices, history.data, self.n_items) @ self.projection)
        added = history_scores(projected, self.weights, items).T
        added = np.where(history.indices == items[:, None], 0, added)
        return rank_contributions(history.indices, added, top_k=top_k)


def _compute_factor(X: CSR, l2: float, similar: CSR) -> CSR:
    """F (N, N): rows (e_j − w_j) / √s_j, w_j over the items of the symmetric pattern that are more frequent than j."""
    n = X.shape[1]
    near = _more_frequent(X, similar)
    gram = dense_gram(X) if is_dense_gram_small(n) else None
    solved = fit_local_ridges(sp.csr_array(X.T), near, np.full(n, l2, np.float32), gram=gram)
    squares = np.bincount(X.indices, weights=X.data.astype(np.float64) ** 2, minlength=n)
    item = np.repeat(np.arange(n), np.diff(near.indptr))
    # The cosine times both norms is the dot product of two columns.
    products = near.data * np.sqrt(squares[item] * squares[near.indices])
    left = squares + l2 - np.bincount(item, weights=solved * products, minlength=n)
    # A residual below the ridge is a rounding error.
    scale = 1 / np.sqrt(np.maximum(left, l2))
    weights = sp.csr_array((solved, near.indices, near.indptr), shape=near.shape)
    return sp.csr_array(sp.diags_array(scale.astype(np.float32)) @ (sp.eye_array(n, dtype=np.float32) - weights))


def _more_frequent(X: CSR, similar: CSR) -> CSR:
    """Row j: the more frequent items i that are neighbors of j, or that j is a neighbor of, with their similarity."""
    counts = np.bincount(X.indices, minlength=X.shape[1])
    rank = np.empty(len(counts), np.int32)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts), dtype=np.int32)
    near = sp.coo_array(similar.maximum(similar.T))
    before = rank[near.col] < rank[near.row]
    kept = sp.csr_array((near.data[before], (near.row[before], near.col[before])), shape=near.shape)
    return kept.sorted_indices()
