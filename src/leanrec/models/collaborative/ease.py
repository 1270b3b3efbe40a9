"""EASE: a linear item-item autoencoder in closed form.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
"""

import dataclasses

import numpy as np
import scipy.linalg

from leanrec.data.dataset import Dataset, Shape
from leanrec.kernels.weighting import weigh
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_one_of, check_positive
from leanrec.types import Float32Array, Int32Array, Queries

__all__ = ["EASE", "EASEModel"]


@dataclasses.dataclass(frozen=True)
class EASE:
    """Weights B that rebuild each history from itself with a zero diagonal: B = I − P · diag(1/P), P = (XᵀX + l2 · I)⁻¹.

    Cost: fit O(N³) time and 12 N² bytes; a query O(L · N); the model 4 N² bytes.

    Attributes:
        l2: ridge strength; more for sparser data.
        weighting: how much a repeated or stronger interaction counts: "binary", "log" or "none".
    """

    l2: float = 200.0
    weighting: str = "log"

    def __post_init__(self) -> None:
        check_positive("l2", self.l2)
        check_one_of("weighting", self.weighting, ("none", "binary", "log"))

    def fit_bytes(self, shape: Shape) -> int:
        """The Gram matrix, its factor and the float32 weights: 12 bytes a pair, plus the weighted copy of the data."""
        return 12 * shape.items**2 + 12 * shape.events + 2**20

    def fit(self, data: Dataset, run: Run = Run()) -> "EASEModel":
        """Solve for the weights. Raises BudgetError before starting if N² does not fit."""
        run.require(self.fit_bytes(data.shape), f"EASE over {len(data.items)} items")
        with run.limits():
            X = weigh(data.interactions, self.weighting)
            gram = np.asarray((X.T @ X).todense(), dtype=np.float32)
            gram[np.diag_indices_from(gram)] += self.l2
            # The inverse of a positive definite matrix from its Cholesky factor, in place.
            factor, info = scipy.linalg.lapack.spotrf(gram, lower=True, overwrite_a=True)
            inverse, info = scipy.linalg.lapack.spotri(factor, lower=True, overwrite_c=True)
            weights = _symmetric(inverse)
            weights /= -np.diag(weights)
            weights[np.diag_indices_from(weights)] = 0
        return EASEModel(settings=self, weights=weights)


@dataclasses.dataclass(frozen=True, eq=False)
class EASEModel:
    """A fitted EASE.

    Attributes:
        settings: what it was fitted with.
        weights: (N, N) float32; ``weights[i, j]`` is what item i in a history adds to the score of item j.
    """

    settings: EASE
    weights: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.weights)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History × weights."""
        history = weigh(queries.history, self.settings.weighting)
        scores: Float32Array = history @ self.weights
        return scores if items is None else np.take_along_axis(scores, np.broadcast_to(items, (len(queries), np.shape(items)[-1])), 1)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by what each adds to the score."""
        history = weigh(queries.history[[0]], self.settings.weighting)
        added = history.data * self.weights[history.indices, item]
        order = np.argsort(-added, kind="stable")
        return Explanation("history", history.indices[order].astype(np.int32), added[order])


def _symmetric(lower: Float32Array) -> Float32Array:
    """The full matrix of a lower triangle."""
    full = np.tril(lower)
    full += np.tril(lower, -1).T
    return np.ascontiguousarray(full)
