"""PureSVD: projection of histories onto the first singular vectors.

Cremonesi, Koren & Turrin, "Performance of Recommender Algorithms on Top-N Recommendation Tasks", RecSys 2010;
randomized decomposition of Halko, Martinsson & Tropp, SIAM Review 2011.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.graph.spectral import right_singular_vectors
from leanrec.kernels.sparse import dot_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["PureSVD", "PureSVDModel"]

# Columns beyond embedding_dim: they make the leading singular vectors accurate after few iterations.
_OVERSAMPLING = 10
# A singular value below this share of the largest is a rounding error of float32.
_RANK_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class PureSVD:
    """Scores x V Vᵀ for a history x, where V are the first right singular vectors of the interactions.

    When to use: a fast matrix factorization with few settings.

    Cost: fit O(n_iter · (E · D + (U + N) · D²)) time and 36 (D + 10) (U + N) bytes; a query O(L · D + N · D);
    the model 4 N · D bytes.
    """

    VARIANTS: ClassVar[tuple[Mapping[str, Any], ...]] = ({"embedding_dim": 16}, {"embedding_dim": 128})

    embedding_dim: int = setting(
        64,
        at_least=1,
        search="16,32,64,128",
        doc="D, number of singular vectors; at most min(U, N).",
    )
    n_iter: int = setting(
        4, at_least=0, doc="Number of power iterations; more are needed where singular values decrease slowly."
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
        """Projections of both sides with the copies of their factorization, and copies of the data."""
        width = min(self.embedding_dim + _OVERSAMPLING, shape.users, shape.items)
        return 36 * width * (shape.users + shape.items) + 36 * shape.events + 16 * width**2 + 2**24

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "PureSVDModel":
        """Compute the singular vectors. The result depends on ``run.seed``."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"PureSVD with {self.embedding_dim} dimensions",
            "Lower embedding_dim or raise the limit.",
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            V = _randomized_svd(X, min(self.embedding_dim, *X.shape), self.n_iter, run.rng())
        return PureSVDModel(settings=self, items=V)


@dataclasses.dataclass(frozen=True, eq=False)
class PureSVDModel:
    """A fitted `PureSVD`.

    Attributes:
        settings: settings of the fit.
        items: (N, D) float32 orthonormal columns; the embeddings of items. The row of an item without interactions is 0,
            and so are columns beyond the rank of the interactions.
    """

    settings: PureSVD
    items: Annotated[Float32Array, ArrayShape("N", "D")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D): the projected histories."""
        history = weight_interactions(queries.history, self.settings.weighting)
        return np.asarray(history @ self.items, dtype=np.float32)

    def embed_items(self) -> Float32Array:
        """(N, D) item vectors."""
        return self.items

    def summarize(self) -> "PureSVDModel":
        """The model itself: a query needs nothing but the rows of its items and user."""
        return self

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History · V Vᵀ: (B, N), or (B, K) for ``items``."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "PureSVDModel":  # noqa: ARG002 - each vector depends on all items
        """The singular vectors after one more iteration, from those of this model; a fit does ``n_iter`` from random ones."""
        n_items = data.interactions.shape[1]
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.settings.weighting)
            start = np.zeros((n_items, self.items.shape[1]), np.float32)
            start[: len(self.items)] = self.items
            V, _ = right_singular_vectors(X, sp.csr_array(X.T), self.settings.embedding_dim, 1, run.rng(), start)
            return dataclasses.replace(self, items=V)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history and their contributions to the score."""
        history = weight_interactions(queries.history, self.settings.weighting)
        added = history.data * (self.items[items] @ self.items[history.indices].T)
        return rank_contributions(history.indices, added, top_k=top_k)


def _randomized_svd(X: CSR, n_components: int, n_iter: int, rng: np.random.Generator) -> Float32Array:
    """(N, n_components) right singular vectors, by randomized subspace iteration."""
    Xt = sp.csr_array(X.T)
    extra = min(n_components + _OVERSAMPLING, *X.shape)
    Q = rng.standard_normal((X.shape[1], extra), dtype=np.float32)
    for _ in range(n_iter):
        Q = _orthonormalize(X @ Q)
        Q = _orthonormalize(Xt @ Q)
    Q = _orthonormalize(X @ Q)
    # The SVD of the small triangle rotates the basis of the items to the singular vectors.
    basis, triangle = np.linalg.qr(Xt @ Q)
    rotation, singular, _ = np.linalg.svd(triangle)
    V = np.ascontiguousarray(basis @ rotation[:, :n_components], dtype=np.float32)
    # What is left of an item without interactions, or beyond the rank of the data, is rounding error.
    V[np.diff(Xt.indptr) == 0] = 0
    V[:, singular[:n_components] <= _RANK_TOLERANCE * singular.max(initial=0)] = 0
    return V


def _orthonormalize(matrix: Float32Array) -> Float32Array:
    Q, _ = np.linalg.qr(matrix)
    return np.asarray(Q, dtype=np.float32)
