"""EASE: a linear item-item autoencoder in closed form.

Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
"""

import dataclasses

import numpy as np

from leanrec.data.dataset import Dataset, Shape
from leanrec.kernels.dense import (
    dense_gram,
    inverse_in_place,
    inverse_of_ridge,
    regression_weights,
    strongest,
)
from leanrec.kernels.sparse import history_scores
from leanrec.kernels.weighting import weigh
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_at_least, check_one_of, check_positive
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["EASE", "EASEModel"]


@dataclasses.dataclass(frozen=True)
class EASE:
    """Weights B that rebuild each history from itself with a zero diagonal: B = I − P · diag(1/P), P = (XᵀX + l2 · I)⁻¹.

    Cost: fit O(N³) time and 4 N² bytes, or O(U · N²) and 4 N² + 4 U · N bytes where users are at most half as
    many as items (the same weights by way of the users); a query O(L · N); the model 4 N² bytes. With ``top``
    a query costs O(L · top) on average and the model 8 N · top bytes.

    Attributes:
        l2: ridge strength; more for sparser data.
        weighting: how much a repeated or stronger interaction counts: "binary", "log" or "none".
        top: keep only this many weights of each item, the largest in size; 0 = all.
    """

    l2: float = 200.0
    weighting: str = "log"
    top: int = 0

    def __post_init__(self) -> None:
        check_positive("l2", self.l2)
        check_one_of("weighting", self.weighting, ("none", "binary", "log"))
        check_at_least("top", self.top, 0)

    def fit_bytes(self, shape: Shape) -> int:
        """N² floats, inverted in place, plus the copies of the data and, by way of the users, their two matrices.

        BLAS keeps buffers of its own; 32 MB covers them on the machines that were measured.
        """
        size = 4 * shape.items**2 + 36 * shape.events + 64 * (shape.items + shape.users) + 2**25
        if _by_users(shape):
            size += 4 * shape.users * shape.items + 24 * shape.users**2 + 2 * 8 * 2048 * shape.users
        if self.top:
            size += 32 * shape.items * min(self.top, shape.items)
        return size

    def fit(self, data: Dataset, run: Run = Run()) -> "EASEModel":
        """Solve for the weights. Raises BudgetError before starting if N² does not fit."""
        run.require(
            self.fit_bytes(data.shape),
            f"EASE over {len(data.items)} items",
            "Cut rare items or raise the limit.",
        )
        with run.limits():
            X = weigh(data.interactions, self.weighting)
            if _by_users(data.shape):
                inverse, diagonal = inverse_of_ridge(X, self.l2)
            else:
                gram = dense_gram(X)
                gram[np.diag_indices_from(gram)] += self.l2
                inverse = inverse_in_place(gram)
                diagonal = np.diag(inverse).copy()
            weights = regression_weights(inverse, diagonal)
            return EASEModel(settings=self, weights=strongest(weights, self.top) if self.top else weights)


@dataclasses.dataclass(frozen=True, eq=False)
class EASEModel:
    """A fitted EASE.

    Attributes:
        settings: what it was fitted with.
        weights: (N, N) float32, CSR if ``top`` is set; ``weights[i, j]`` is what item i in a history adds to
            the score of item j.
    """

    settings: EASE
    weights: Float32Array | CSR

    @property
    def n_items(self) -> int:
        """N."""
        return int(self.weights.shape[0])

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History × weights."""
        return history_scores(weigh(queries.history, self.settings.weighting), self.weights, items)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by what each adds to the score."""
        history = weigh(queries.history[[0]], self.settings.weighting)
        if isinstance(self.weights, np.ndarray):
            column = self.weights[history.indices, item]
        else:
            column = self.weights[history.indices][:, [item]].toarray()[:, 0]
        added = history.data * column
        order = np.argsort(-added, kind="stable")
        return Explanation("history", history.indices[order].astype(np.int32), added[order])


def _by_users(shape: Shape) -> bool:
    """Whether the way through the users, U · N² + 2 U² · N operations, is shorter than 2 N³ at no more memory than twice."""
    return 2 * shape.users <= shape.items
