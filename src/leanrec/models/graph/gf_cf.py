"""GF-CF: a linear graph filter and an ideal low-pass filter, in closed form.

Shen, Wu, Zhang, Shan, Zhang, Letaief & Li, "How Powerful is Graph Convolution for Recommendation?", CIKM 2021.
"""

import dataclasses

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.kernels.graph.spectral import (
    ItemGraph,
    build_item_graph,
    inverse_power,
    item_graph_bytes,
    scale_rows_and_columns,
    sparsify_filter,
    sparsify_filter_bytes,
    weighted_degrees,
)
from leanrec.kernels.sparse import gather_scores, history_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["GFCF", "GFCFModel"]


@dataclasses.dataclass(frozen=True)
class GFCF:
    """Scores x · (P + ideal · D_I^−½ V Vᵀ D_I^½), P = R̃ᵀR̃, R̃ = D_U^−alpha R D_I^−½, V its strongest directions.

    Cost: fit O(passes · (E · D + N · D²)) time and ``fit_bytes``; a query O(Σ over the users who share an item
    of their histories + N · D); the model 16 E + 4 N · D bytes. With ``top_k`` the fit also answers N queries, a
    query costs O(L · top) and the model 8 N · top bytes.
    """

    n_components: int = setting(
        512,
        at_least=0,
        search="128,256,512,1024",
        doc="D, directions that the low-pass filter lets through; 0 leaves it out.",
    )
    low_pass_weight: float = setting(0.3, at_least=0, search="0..1", doc="Weight of the low-pass filter beside the linear one.")
    alpha: float = setting(
        0.3,
        at_least=0,
        search="0..1",
        doc="Power of the users' degrees, ½ in the paper; less lets people with long histories say more.",
    )
    n_iter: int = setting(4, at_least=1, doc="Rounds of the subspace iteration that finds the directions.")
    top_k: int = setting(
        0,
        at_least=0,
        doc="Keep only what each item adds to this many items, the most; 0 = all, by way of the users.",
    )
    weighting: str = setting(
        "log",
        one_of=("none", "binary", "log"),
        search="none,binary,log",
        doc='How much a repeated or stronger interaction counts: "binary", "log" or "none".',
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The graph twice over, its directions, and the blocks of answers where only the top is kept."""
        size = item_graph_bytes(shape.users, shape.items, shape.events, self.n_components) + 2**25
        return size + (sparsify_filter_bytes(shape.items, self.top_k) if self.top_k else 0)

    def fit(self, data: Dataset, run: Run = Run()) -> "GFCFModel":
        """Find the directions. The result follows from ``run.seed``."""
        run.require_memory(self.fit_bytes(data.shape), f"GF-CF of width {self.n_components}", "Choose a smaller width or top.")
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            graph, _ = build_item_graph(X, self.alpha, self.n_components, self.n_iter, run.rng())
            root = np.sqrt(weighted_degrees(X)[1]).astype(np.float32)
            full = GFCFModel(self, root, graph, None)
            if not self.top_k:
                return full
            weights = sparsify_filter(
                full.answer,
                full.n_items,
                self.top_k,
                lambda blocks: run.track(blocks, "GF-CF"),
            )
            return GFCFModel(self, root, None, weights)


@dataclasses.dataclass(frozen=True, eq=False)
class GFCFModel:
    """A fitted GF-CF.

    Attributes:
        settings: what it was fitted with.
        root: (N,) float32 square roots of the degrees of the items.
        graph: the graph with its directions; None with ``top_k``.
        weights: with ``top_k``, (N, N) CSR: ``weights[i, j]`` is what item i in a history adds to item j; else None.
    """

    settings: GFCF
    root: Float32Array
    graph: ItemGraph | None
    weights: CSR | None

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.root)

    def profile(self, queries: Queries) -> CSR:
        """(B, N) what the askers touched, weighted."""
        return weight_interactions(queries.history, self.settings.weighting)

    def item_weights(self) -> CSR | None:
        """(N, N) with ``top_k``; None where the graph is used whole."""
        return self.weights

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Filtered histories: (B, N), or (B, K) for ``items``."""
        return gather_scores(self.answer(self.profile(queries)), items)

    def answer(self, signals: CSR) -> Float32Array:
        """(B, N) from sparse signals (B, N): what each touched and how much."""
        if self.graph is None:
            return history_scores(signals, self._kept)
        scores = self.graph.step(signals)
        if self._smooths:
            even = scale_rows_and_columns(signals, np.ones(signals.shape[0]), inverse_power(self.root, 1))
            smooth = self.graph.project(even, np.float32(self.settings.low_pass_weight))
            smooth *= self.root
            scores += smooth
        return scores

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by what each adds to the score."""
        history = self.profile(queries.block(0, 1))
        touched = history.indices.astype(np.int32)
        added = history.data * self._towards(item, touched)
        return rank_contributions(touched, added)

    def _towards(self, item: int, touched: Int32Array) -> Float32Array:
        """What a unit of each touched item adds to ``item``: the graph is the same in both directions."""
        if self.graph is None:
            return np.asarray(self._kept[touched][:, [item]].toarray()[:, 0])
        alone = sp.csr_array((np.ones(1, np.float32), [item], [0, 1]), shape=(1, self.n_items))
        added: Float32Array = self.graph.step(alone)[0, touched]
        if self._smooths:
            smooth = self.graph.project(alone, np.float32(self.settings.low_pass_weight * self.root[item]))
            added += smooth[0, touched] * inverse_power(self.root, 1).astype(np.float32)[touched]
        return added

    @property
    def _smooths(self) -> bool:
        return self.graph is not None and bool(self.settings.low_pass_weight and self.settings.n_components)

    @property
    def _kept(self) -> CSR:
        assert self.weights is not None  # noqa: S101 - a model has its graph or its weights
        return self.weights
