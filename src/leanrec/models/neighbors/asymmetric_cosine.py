"""Asymmetric cosine: item-based nearest neighbors with a directed similarity and a locality exponent.

Aiolli, "Efficient Top-N Recommendation for Very Large Scale Binary Rated Datasets", RecSys 2013.
"""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.csr import replace_columns
from leanrec.kernels.graph.spectral import inverse_power, scale_rows_and_columns
from leanrec.kernels.similarity.aggregation import drop_own_column
from leanrec.kernels.similarity.top_similar import top_similar_bytes, top_similar_rows
from leanrec.kernels.sparse import history_contributions, history_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries, compact_indices

__all__ = ["AsymmetricCosine", "AsymmetricCosineModel"]


@dataclasses.dataclass(frozen=True)
class AsymmetricCosine:
    """score(u, j) = Σ s(i → j)^locality over the history i, s(i → j) = x_i · x_j / (|x_i|^2alpha · |x_j|^2(1 − alpha)).

    ``alpha`` = ½ is the cosine. With 1 it is the share of the users of i who also interacted with j, which favors popular items;
    with 0 the share of the users of j who also interacted with i, which favors rare ones. A ``locality`` above 1 raises the weight of
    the most similar items over that of many weakly similar ones. Each item j has its own k neighbors.

    When to use: as `ItemKNN`, where popular or rare items should be favored.

    Cost: fit O(Σ_u L_u²) time and ``fit_bytes``; a query O(L · k + N); the model 8 N · k bytes.
    """

    SIMILAR_TO: ClassVar[str] = "item_knn"

    alpha: float = setting(
        0.5, between=(0, 1), search="0..1", doc="Share of the normalization on the item of the history; ½ = cosine."
    )
    locality: float = setting(1.0, above=0, search="0.5..4:log", doc="Exponent of the similarities.")
    n_neighbors: int = setting(200, at_least=1, search="25..800:log", doc="k, number of neighbors of each item.")
    weighting: str = setting(
        "binary",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc="Transformation of interaction weights.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Copies of the interactions, the neighbors, and a block of sums for each thread."""
        lists = top_similar_bytes(shape.items, shape.items, self.n_neighbors, Run().n_threads())
        neighbors = 24 * shape.items * min(self.n_neighbors, shape.items)
        return 100 * shape.events + 64 * (shape.users + shape.items) + lists + neighbors + 2**25

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "AsymmetricCosineModel":
        """Find the neighbors. Raises BudgetError before starting if they do not fit into memory."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"Asymmetric cosine over {len(data.items)} items",
            "Lower n_neighbors or raise the limit.",
        )
        with run.limit_threads():
            return AsymmetricCosineModel(self, compact_indices(sp.csr_array(self.find_neighbors(data).T)))

    def find_neighbors(self, data: Dataset, items: Int32Array | None = None) -> CSR:
        """(N, N): row j has the similarities of the neighbors of item j; (C, N) for ``items``."""
        X = weight_interactions(data.interactions, self.weighting)
        squares = np.asarray(
            np.bincount(X.indices, weights=X.data.astype(np.float64) ** 2, minlength=X.shape[1]), dtype=np.float64
        )
        users = np.ones(X.shape[0])
        # Row j of the product has the similarities to j; the exponent keeps their order.
        targets = scale_rows_and_columns(sp.csr_array(X.T), inverse_power(squares, 1 - self.alpha), users)
        sources = scale_rows_and_columns(X, users, inverse_power(squares, self.alpha))
        if items is None:
            similar = top_similar_rows(targets, sources, self.n_neighbors, "dot", exclude_self=True)
        else:
            similar = top_similar_rows(targets[items], sources, self.n_neighbors + 1, "dot")
            similar = drop_own_column(similar, items, self.n_neighbors)
        similar.data **= np.float32(self.locality)
        return similar


@dataclasses.dataclass(frozen=True, eq=False)
class AsymmetricCosineModel:
    """A fitted `AsymmetricCosine`.

    Attributes:
        settings: settings of the fit.
        weights: (N, N) CSR float32; ``weights[i, j]`` is s(i → j)^locality; at most k entries a column.
    """

    settings: AsymmetricCosine
    weights: Annotated[CSR, ArrayShape("N", "N")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return int(self.weights.shape[0])

    def profile(self, queries: Queries) -> CSR:
        """(B, N) weighted histories."""
        return weight_interactions(queries.history, self.settings.weighting)

    def item_weights(self) -> CSR:
        """(N, N) the similarities."""
        return self.weights

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History × similarities: (B, N), or (B, K) for ``items``."""
        return history_scores(self.profile(queries), self.weights, items)

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "AsymmetricCosineModel":
        """The model of a fit on ``data``; with ``changed``, only the neighbors of these items are found again."""
        if changed is None:
            return self.settings.fit(data, run)
        with run.limit_threads():
            found = self.settings.find_neighbors(data, changed)
            return dataclasses.replace(self, weights=replace_columns(self.weights, changed, found))

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history and their contributions to the score."""
        history = self.profile(queries)
        added = history_contributions(history, self.weights, items)
        return rank_contributions(history.indices, added, only_positive=True, top_k=top_k)
