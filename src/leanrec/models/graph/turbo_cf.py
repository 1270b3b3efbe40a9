"""Turbo-CF: a polynomial graph filter on item similarities with asymmetric normalization.

Park, Shin & Shin, "Turbo-CF: Matrix Decomposition-Free Graph Filtering for Fast Recommendation", SIGIR 2024.
"""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape
from leanrec.finiteness import require_finite
from leanrec.kernels.graph.spectral import inverse_power, scale_rows_and_columns, weighted_degrees
from leanrec.kernels.similarity.top_similar import top_similar, top_similar_bytes
from leanrec.kernels.sparse import gather_scores, history_contributions, history_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries, compact_indices

__all__ = ["TurboCF", "TurboCFModel"]

# Coefficients of P, P² and P³ in the filters of the paper.
_FILTERS = {1: (1.0,), 2: (2.0, -1.0), 3: (0.71, 0.1, -0.01)}


@dataclasses.dataclass(frozen=True)
class TurboCF:
    """Scores x · H(P), P = (R̃ᵀR̃)^power element by element, R̃ = D_U^−alpha · R · D_I^(alpha − 1).

    H is one of the paper's three filters: P; 2P − P²; P + 0.01 · (−P³ + 10 P² − 29 P). P keeps the k largest entries of
    each item, without itself; in the paper it is dense.

    When to use: as `RP3`: a single pass over a sparse log, with flattened similarities.

    Cost: fit O(Σ_u L_u²) time and ``fit_bytes``; a query O(L · k), and O(N · k) more for each order above 1; the
    model 8 N · k bytes.
    """

    SIMILAR_TO: ClassVar[str] = "rp3"

    alpha: float = setting(
        0.6,
        between=(0, 1),
        search="0..1",
        doc=(
            "Exponent of the users' degrees, and 1 − alpha of the items'; 0.5 is symmetric, larger values lower the "
            "weight of users with long histories, smaller ones that of popular items."
        ),
    )
    power: float = setting(
        0.7,
        above=0,
        search="0.233..2.1:log",
        doc="Exponent of the similarities; values below 1 bring them closer together.",
    )
    order: int = setting(1, one_of=_FILTERS, doc="Degree of the filter.")
    n_neighbors: int = setting(1000, at_least=1, search="125..4000:log", doc="k, number of neighbors of each item.")
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
    def fit(self, data: Dataset, run: Run = Run()) -> "TurboCFModel":
        """Find the neighbors. Raises BudgetError before starting if they do not fit into memory."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"Turbo-CF over {len(data.items)} items",
            "Lower n_neighbors or raise the limit.",
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            users, items = weighted_degrees(X)
            X = scale_rows_and_columns(X, inverse_power(users, self.alpha), inverse_power(items, 1 - self.alpha))
            graph = compact_indices(top_similar(X, self.n_neighbors, "dot"))
            graph.data **= np.float32(self.power)
            return TurboCFModel(self, graph)


@dataclasses.dataclass(frozen=True, eq=False)
class TurboCFModel:
    """A fitted `TurboCF`.

    Attributes:
        settings: settings of the fit.
        graph: (N, N) CSR float32, ``graph[i, j]`` is the weight of item i in the score of item j; at most k entries a row.
    """

    settings: TurboCF
    graph: Annotated[CSR, ArrayShape("N", "N")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return int(self.graph.shape[0])

    def profile(self, queries: Queries) -> CSR:
        """(B, N) weighted histories."""
        return weight_interactions(queries.history, self.settings.weighting)

    def item_weights(self) -> CSR | None:
        """(N, N) the graph where the filter is linear; a higher order has no sparse weights."""
        return self.graph if self.settings.order == 1 else None

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """History × filter of the graph: (B, N), or (B, K) for ``items``."""
        return self._apply_filter(self.profile(queries), items)

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = Run()) -> "TurboCFModel":  # noqa: ARG002 - each filter depends on all items
        """The model of a fit on ``data``, at the cost of a fit."""
        return self.settings.fit(data, run)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history and their contributions to the score."""
        history = self.profile(queries)
        first, *others = _FILTERS[self.settings.order]
        if not others:
            added = history_contributions(history, self.graph, items)
        else:
            # From the items back to the history: the other way, each entry of the history would reach most items.
            reached, rows = self.graph[:, items].toarray(), self.graph[history.indices]
            added = np.float32(first) * reached[history.indices].T
            for step, share in enumerate(others):
                reached = self.graph @ reached if step else reached
                added += np.float32(share) * (rows @ reached).T
            added *= history.data
        return rank_contributions(history.indices, added, top_k=top_k)

    def _apply_filter(self, history: CSR, items: Int32Array | None) -> Float32Array:
        first, *others = _FILTERS[self.settings.order]
        if not others:
            return history_scores(history, self.graph, items)
        signal = history_scores(history, self.graph)
        scores = np.float32(first) * signal
        for share in others:
            signal = history_scores(sp.csr_array(signal), self.graph)
            scores += np.float32(share) * signal
        return gather_scores(scores, items)
