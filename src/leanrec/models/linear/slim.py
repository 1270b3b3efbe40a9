"""SLIM: sparse linear item-item model with non-negative weights.

Ning & Karypis, "SLIM: Sparse Linear Methods for Top-N Recommender Systems", ICDM 2011.
"""

import dataclasses
from typing import Annotated

import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.similarity.top_similar import top_similar
from leanrec.kernels.solvers.coordinate_descent import ElasticNetPenalty, fit_elastic_nets, fit_local_elastic_nets
from leanrec.kernels.solvers.dense_ridge import dense_gram, is_dense_gram_small
from leanrec.kernels.sparse import history_contributions, history_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries, compact_indices, empty_csr

__all__ = ["SLIM", "SLIMModel"]

# Items of one block of a fit on all items: the time limit is checked between blocks.
_ITEMS = 256


@dataclasses.dataclass(frozen=True)
class SLIM:
    """Elastic-net regression of each item on others: W ≥ 0 with a zero diagonal minimizes ½|X − XW|² + ½ l2 |W|² + l1 Σ W.

    When to use: as `EASE`, where the model must be small and a query fast.

    Cost: fit, over all items, O(Σ_u L_u² + weights · iterations · N) time and 4 to 12 N² bytes; over
    ``n_neighbors`` K, O(Σ_u L_u² + N · K² · iterations) time and 70 N · K bytes (and 4 N² where that is below 512 MB). A query O(L · weights of an item); the model 8 bytes a weight.
    """

    l1: float = setting(
        1.0,
        at_least=0,
        search="0.01..100:log",
        doc="Strength of the L1 penalty; larger values make the model sparser.",
    )
    l2: float = setting(50.0, above=0, search="0.5..5e3:log", doc="Ridge strength.")
    n_neighbors: int = setting(
        200,
        at_least=0,
        search="25..800:log",
        doc="Regress an item only on its K most similar items (cosine); 0 = on all items.",
    )
    weighting: str = setting(
        "log",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc="Transformation of interaction weights.",
    )
    max_iter: int = setting(100, at_least=1, doc="Maximum number of coordinate descent passes for an item.")
    tolerance: float = setting(
        1e-4,
        above=0,
        doc="Stop when no weight of an item changes by more than this in a pass.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The Gram matrix and all weights in the worst case; or the neighbors, in several forms."""
        n = shape.items
        data = 80 * shape.events + 64 * (shape.users + n) + 2**20
        if not self.n_neighbors:
            return data + (4 + 8) * n**2 + 16 * _ITEMS * n + 64 * 4 * min(n, 1026) ** 2
        k = min(self.n_neighbors, n)
        return data + 70 * n * k + 64 * (8 * (k + 2) ** 2 + 29 * n) + (4 * n**2 if is_dense_gram_small(n) else 0)

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "SLIMModel":
        """Compute the weights of every item.

        On all items (``n_neighbors=0``), each item that is not reached in time gets one pass.
        """
        smaller = f"below {self.n_neighbors}" if self.n_neighbors else "to 100"
        run.require_memory(
            self.fit_bytes(data.shape),
            f"SLIM over {len(data.items)} items",
            f"Set n_neighbors {smaller}, or raise the limit.",
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            if self.n_neighbors:
                return self.fit_pattern(data, top_similar(X, self.n_neighbors, "cosine"), run)
            return SLIMModel(settings=self, weights=compact_indices(sp.csr_array(self._fit_on_all(X, run).T)))

    def fit_pattern(self, data: Dataset, pattern: CSR, run: Run = Run()) -> "SLIMModel":
        """The weights of a given pattern: each item regressed on the items of its row. Those at 0 are dropped.

        Args:
            data: the interactions.
            pattern: (N, N), row j has the items that may have a weight in the score of j, without j itself.
            run: threads.
        """
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            gram = dense_gram(X) if is_dense_gram_small(X.shape[1]) else None
            rows = fit_local_elastic_nets(X, pattern, self._penalty(self.max_iter), gram)
            # Rows hold the weights in the score of one item; a query needs those by the item of the history.
            return SLIMModel(settings=self, weights=compact_indices(sp.csr_array(rows.T)))

    def _penalty(self, max_iter: int) -> ElasticNetPenalty:
        return ElasticNetPenalty(self.l1, self.l2, max_iter, self.tolerance)

    def _fit_on_all(self, X: CSR, run: Run) -> CSR:
        gram = dense_gram(X)
        blocks = []
        starts = range(0, len(gram), _ITEMS)
        for start in run.track(starts, "SLIM"):
            penalty = self._penalty(1 if run.out_of_time() else self.max_iter)
            blocks.append(fit_elastic_nets(gram, penalty, start, min(start + _ITEMS, len(gram))))
        return sp.csr_array(sp.vstack(blocks, format="csr")) if blocks else empty_csr(0, 0)


@dataclasses.dataclass(frozen=True, eq=False)
class SLIMModel:
    """A fitted `SLIM`.

    Attributes:
        settings: settings of the fit.
        weights: (N, N) CSR float32; ``weights[i, j]`` is the contribution of item i in a history to the score of item j.
    """

    settings: SLIM
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
