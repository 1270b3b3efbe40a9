"""GF-CF: a linear graph filter and an ideal low-pass filter with a closed-form solution.

Shen, Wu, Zhang, Shan, Zhang, Letaief & Li, "How Powerful is Graph Convolution for Recommendation?", CIKM 2021.
"""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape, SharedSizes
from leanrec.finiteness import require_finite
from leanrec.kernels.csr import build_single_rows
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
from leanrec.kernels.sparse import gather_scores, history_contributions, history_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["GFCF", "GFCFModel"]


@dataclasses.dataclass(frozen=True)
class GFCF:
    """Scores x · (P + w · D_I^−½ V Vᵀ D_I^½), P = R̃ᵀR̃, R̃ = D_U^−alpha R D_I^−½, V its singular vectors.

    When to use: neighbors and global factors combined, without training.

    Cost: fit O(n_iter · (E · D + N · D²)) time and ``fit_bytes``; a query O(Σ over the users who share an item
    of their histories + N · D); the model 16 E + 4 N · D bytes. With ``top_k`` the fit also answers N queries, a
    query costs O(L · top_k) and the model 8 N · top_k bytes.
    """

    SIMILAR_TO: ClassVar[str] = "cheby_cf"

    n_components: int = setting(
        512,
        at_least=0,
        search="128,256,512,1024",
        doc="D, number of singular vectors, which the low-pass filter passes; 0 = no low-pass filter.",
    )
    low_pass_weight: float = setting(0.3, at_least=0, search="0..1", doc="Weight w of the low-pass filter.")
    alpha: float = setting(
        0.3,
        at_least=0,
        search="0..1",
        doc="Exponent of the users' degrees, ½ in the paper; smaller values weight users with long histories more.",
    )
    n_iter: int = setting(4, at_least=1, doc="Subspace iterations for the singular vectors.")
    top_k: int = setting(
        0,
        at_least=0,
        doc="Number of largest weights kept for each item, as a sparse matrix; 0 = the graph is applied to each query.",
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
        """The graph twice, its singular vectors, and the blocks of scores where only ``top_k`` are kept."""
        size = item_graph_bytes(shape.users, shape.items, shape.events, self.n_components) + 2**25
        return size + (sparsify_filter_bytes(shape.items, self.top_k) if self.top_k else 0)

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "GFCFModel":
        """Compute the singular vectors. The result depends on ``run.seed``."""
        run.require_memory(
            self.fit_bytes(data.shape), f"GF-CF with {self.n_components} components", "Lower n_components or top_k."
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            graph, _ = build_item_graph(X, self.alpha, self.n_components, self.n_iter, run.rng())
            root = np.sqrt(weighted_degrees(X)[1]).astype(np.float32)
            full = GFCFModel(self, root, graph, None)
            if not self.top_k:
                return full
            weights = sparsify_filter(
                full.apply_filter,
                full.n_items,
                self.top_k,
                lambda blocks: run.track(blocks, "GF-CF"),
            )
            return GFCFModel(self, root, None, weights)


@dataclasses.dataclass(frozen=True, eq=False)
class GFCFModel:
    """A fitted GF-CF.

    Attributes:
        settings: settings of the fit.
        root: (N,) float32 square roots of the item degrees.
        graph: the graph with its singular vectors; None with ``top_k``.
        weights: with ``top_k``, (N, N) CSR: ``weights[i, j]`` is the contribution of item i in a history to the score of item j; else None.
    """

    settings: GFCF
    root: Annotated[Float32Array, ArrayShape("N")]
    graph: Annotated[ItemGraph | None, SharedSizes(N="N")]
    weights: Annotated[CSR | None, ArrayShape("N", "N")]

    def check_state(self) -> None:
        """Raise DataError unless it has either its graph or its weights."""
        if (self.graph is None) == (self.weights is None) or bool(self.settings.top_k) != (self.graph is None):
            raise DataError("GFCFModel must have weights where top_k is set, and its graph otherwise.")

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.root)

    def profile(self, queries: Queries) -> CSR:
        """(B, N) weighted histories."""
        return weight_interactions(queries.history, self.settings.weighting)

    def item_weights(self) -> CSR | None:
        """(N, N) with ``top_k``; None where the graph is applied to each query."""
        return self.weights

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Filtered histories: (B, N), or (B, K) for ``items``."""
        return gather_scores(self.apply_filter(self.profile(queries)), items)

    def apply_filter(self, signals: CSR) -> Float32Array:
        """(B, N) filtered signals from sparse ones (B, N)."""
        if self.graph is None:
            return history_scores(signals, self._sparse_weights)
        scores = self.graph.propagate_sparse(signals)
        if self._has_low_pass:
            even = scale_rows_and_columns(signals, np.ones(signals.shape[0]), inverse_power(self.root, 1))
            smooth = self.graph.apply_spectral_filter(even, np.float32(self.settings.low_pass_weight))
            smooth *= self.root
            scores += smooth
        return scores

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history and their contributions to the score."""
        history = self.profile(queries)
        added = self._contributions(history, items)
        return rank_contributions(history.indices, added, top_k=top_k)

    def _contributions(self, history: CSR, items: Int32Array) -> Float32Array:
        """(K, L) of the L entries of one history to the scores of K items. The graph is symmetric, so it starts from these."""
        if self.graph is None:
            return history_contributions(history, self._sparse_weights, items)
        alone, past = build_single_rows(items, np.ones(len(items), np.float32), self.n_items), history.indices
        added: Float32Array = self.graph.propagate_sparse(alone)[:, past]
        if self._has_low_pass:
            smooth = self.graph.apply_spectral_filter(alone, np.float32(self.settings.low_pass_weight))[:, past]
            added += smooth * self.root[items, None] * inverse_power(self.root, 1).astype(np.float32)[past]
        return np.asarray(added * history.data)

    @property
    def _has_low_pass(self) -> bool:
        return self.graph is not None and bool(self.settings.low_pass_weight and self.settings.n_components)

    @property
    def _sparse_weights(self) -> CSR:
        assert self.weights is not None  # noqa: S101 - a model has its graph or its weights
        return self.weights
