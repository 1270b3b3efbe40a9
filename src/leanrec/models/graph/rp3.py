"""RP3: random walks of three steps on the user-item graph, with a popularity penalty.

Cooper, Lee, Radzik & Siantos, "Random Walks in Recommender Systems: Exact Computation and Simulations", WWW 2014
companion (P3alpha); Paudel, Christoffel, Newell & Bernstein, "Updatable, Accurate, Diverse, and Scalable
Recommendations for Interactive Applications", ACM TiiS 7(1), 2017 (RP3beta).
"""

import dataclasses
from typing import Annotated

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.graph.spectral import inverse_power, scale_rows_and_columns, weighted_degrees
from leanrec.kernels.similarity.top_similar import top_similar_bytes, top_similar_rows
from leanrec.kernels.sparse import history_contributions, history_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries, compact_indices

__all__ = ["RP3", "RP3Model"]


@dataclasses.dataclass(frozen=True)
class RP3:
    """score(u, j) = sum over the history of w_ui^alpha · Σ_v p(i → v)^alpha · p(v → j)^alpha / degree(j)^beta.

    p are transition probabilities, the weight of an edge divided by the degree of its start. The first step is not
    divided, since the degree of the user is the same for all items. ``beta`` = 0 is P3alpha.

    When to use: the fastest of the accurate models on sparse logs: a single pass, and a small sparse model.

    Cost: fit O(Σ_u L_u²) time and ``fit_bytes``; a query O(L · n_neighbors); the model 8 N · n_neighbors bytes.
    """

    alpha: float = setting(
        0.7,
        at_least=0,
        search="0.2..2",
        doc="Exponent of the transition probabilities; values below 1 weight rare transitions more.",
    )
    beta: float = setting(0.2, at_least=0, search="0..1", doc="Exponent of the popularity penalty.")
    n_neighbors: int = setting(
        200,
        at_least=1,
        search="25..800:log",
        doc="Number of most probable targets kept for each item, after the penalty.",
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
        """Copies of the interactions, the neighbors, and a block of sums for each thread."""
        lists = top_similar_bytes(shape.items, shape.items, self.n_neighbors, Run().n_threads())
        return 100 * shape.events + 64 * (shape.users + shape.items) + lists + 2**25

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "RP3Model":
        """Compute the walks. Raises BudgetError before starting if they do not fit into memory."""
        run.require_memory(
            self.fit_bytes(data.shape), f"RP3 over {len(data.items)} items", "Lower n_neighbors or raise the limit."
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            users, items = weighted_degrees(X)
            X.data **= np.float32(self.alpha)
            leaving = inverse_power(items, self.alpha)
            there = scale_rows_and_columns(sp.csr_array(X.T), leaving, np.ones(len(users)))
            back = scale_rows_and_columns(X, inverse_power(users, self.alpha), inverse_power(items, self.beta))
            return RP3Model(
                self, compact_indices(top_similar_rows(there, back, self.n_neighbors, "dot", exclude_self=True))
            )


@dataclasses.dataclass(frozen=True, eq=False)
class RP3Model:
    """A fitted `RP3`.

    Attributes:
        settings: settings of the fit.
        walks: (N, N) CSR float32, ``walks[i, j]`` is the contribution of item i in a history to the score of item j;
            at most n_neighbors entries a row.
    """

    settings: RP3
    walks: Annotated[CSR, ArrayShape("N", "N")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return int(self.walks.shape[0])

    def profile(self, queries: Queries) -> CSR:
        """(B, N) the first step of the walks."""
        history = weight_interactions(queries.history, self.settings.weighting)
        history.data **= np.float32(self.settings.alpha)
        return history

    def item_weights(self) -> CSR:
        """(N, N) the walks."""
        return self.walks

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History × walks: (B, N), or (B, K) for ``items``."""
        return history_scores(self.profile(queries), self.walks, items)

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "RP3Model":  # noqa: ARG002 - a walk to a changed item may start anywhere
        """The model of a fit on ``data``, at the cost of a fit."""
        return self.settings.fit(data, run)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history with walks to each of ``items``, and their contributions."""
        history = self.profile(queries)
        added = history_contributions(history, self.walks, items)
        return rank_contributions(history.indices, added, only_positive=True, top_k=top_k)
