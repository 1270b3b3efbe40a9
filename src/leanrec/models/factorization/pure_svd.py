"""PureSVD: the histories projected on the strongest singular directions.

Cremonesi, Koren & Turrin, "Performance of Recommender Algorithms on Top-N Recommendation Tasks", RecSys 2010;
the randomised decomposition is of Halko, Martinsson & Tropp, SIAM Review 2011.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.kernels.sparse import dot_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["PureSVD", "PureSVDModel"]

_EXTRA = 10


@dataclasses.dataclass(frozen=True)
class PureSVD:
    """Scores x V Vᵀ, where V holds the strongest right singular vectors of the interactions.

    Cost: fit O(passes · (E · D + (U + N) · D²)) time and 36 (D + 10) (U + N) bytes; a query O(L · D + N · D);
    the model 4 N · D bytes.
    """

    VARIANTS: ClassVar[tuple[Mapping[str, Any], ...]] = ({"embedding_dim": 16}, {"embedding_dim": 128})

    embedding_dim: int = setting(
        64,
        at_least=1,
        search="16,32,64,128",
        doc="D, the number of singular directions; more than min(U, N) is min(U, N).",
    )
    n_iter: int = setting(4, at_least=0, doc="Power iterations; more for a spectrum that falls slowly.")
    weighting: str = setting(
        "log",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc='How much a repeated or stronger interaction counts: "binary", "log" or "none".',
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Projections of both sides with the copies that their factorisation makes, and copies of the data."""
        width = min(self.embedding_dim + _EXTRA, shape.users, shape.items)
        return 36 * width * (shape.users + shape.items) + 36 * shape.events + 16 * width**2 + 2**24

    def fit(self, data: Dataset, run: Run = Run()) -> "PureSVDModel":
        """Find the directions. The result follows from ``run.seed``."""
        run.require_memory(
            self.fit_bytes(data.shape), f"PureSVD of width {self.embedding_dim}", "Choose a smaller width."
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            V = _right_singular(X, min(self.embedding_dim, *X.shape), self.n_iter, run.rng())
        return PureSVDModel(settings=self, items=V)


@dataclasses.dataclass(frozen=True, eq=False)
class PureSVDModel:
    """A fitted PureSVD.

    Attributes:
        settings: what it was fitted with.
        items: (N, D) float32 orthonormal directions: of items in a history and of items to score alike.
    """

    settings: PureSVD
    items: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D): the histories in the space of the directions."""
        history = weight_interactions(queries.history, self.settings.weighting)
        return np.asarray(history @ self.items, dtype=np.float32)

    def embed_items(self) -> Float32Array:
        """(N, D)."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History · V Vᵀ."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by what each adds to the score."""
        history = weight_interactions(queries.history[[0]], self.settings.weighting)
        added = history.data * (self.items[history.indices] @ self.items[item])
        return rank_contributions(history.indices, added)


def _right_singular(X: CSR, width: int, passes: int, rng: np.random.Generator) -> Float32Array:
    """(N, width) orthonormal: a random projection, sharpened by passes over X and its transpose."""
    Xt = sp.csr_array(X.T)
    extra = min(width + _EXTRA, *X.shape)
    Q = rng.standard_normal((X.shape[1], extra), dtype=np.float32)
    for _ in range(passes):
        Q = _orthonormal(X @ Q)
        Q = _orthonormal(Xt @ Q)
    Q = _orthonormal(X @ Q)
    # The small triangle has the singular values; its left vectors turn the basis of the items into directions.
    basis, triangle = np.linalg.qr(Xt @ Q)
    turn, _, _ = np.linalg.svd(triangle)
    return np.ascontiguousarray(basis @ turn[:, :width], dtype=np.float32)


def _orthonormal(matrix: Float32Array) -> Float32Array:
    Q, _ = np.linalg.qr(matrix)
    return np.asarray(Q, dtype=np.float32)
