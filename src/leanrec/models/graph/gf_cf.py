"""GF-CF: a linear graph filter and an ideal low-pass filter with a closed-form solution.

Shen, Wu, Zhang, Shan, Zhang, Letaief & Li, "How Powerful is Graph Convolution for Recommendation?", CIKM 2021.
"""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.field_checks import ArrayShape, SharedSizes
from leanrec.finiteness import require_finite
from leanrec.kernels.graph.spectral import (
    ItemGraph,
    build_item_graph,
    inverse_power,
    scale_rows_and_columns,
    weighted_degrees,
)
from leanrec.kernels.weighting import weight_interactions
from leanrec.models.graph.core.filters import FilterModel, check_filter_memory, filter_bytes, keep_largest_weights
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = ["GFCF", "GFCFModel"]


@dataclasses.dataclass(frozen=True)
class GFCF:
    """Scores x · (P + w · D_I^−½ V Vᵀ D_I^½), P = R̃ᵀR̃, R̃ = D_U^−alpha R D_I^−½ / its norm.

    w is ``low_pass_weight`` and V are the first D right singular vectors of R̃.

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
    low_pass_weight: float = setting(0.3, at_least=0, search="0..1", doc="Weight of the low-pass filter.")
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
        return filter_bytes(shape, self.n_components, self.top_k)

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "GFCFModel":
        """Compute the singular vectors. The result depends on ``run.seed``."""
        check_filter_memory(self, data.shape, run, "GF-CF")
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            graph, _ = build_item_graph(X, self.alpha, self.n_components, self.n_iter, run.rng())
            root = np.sqrt(weighted_degrees(X)[1]).astype(np.float32)
            return keep_largest_weights(GFCFModel(self, root, graph, None), run, "GF-CF")


@dataclasses.dataclass(frozen=True, eq=False)
class GFCFModel(FilterModel):
    """A fitted `GFCF`.

    Attributes:
        settings: settings of the fit.
        root: (N,) float32 square roots of the item degrees.
        graph: the graph with its singular vectors; None with ``top_k``.
        weights: with ``top_k``, (N, N) CSR: ``weights[i, j]`` is the contribution of item i in a history to the score of
            item j; else None.
    """

    settings: GFCF
    root: Annotated[Float32Array, ArrayShape("N")]
    graph: Annotated[ItemGraph | None, SharedSizes(N="N")]
    weights: Annotated[CSR | None, ArrayShape("N", "N")]

    def filter_by_graph(self, graph: ItemGraph, signals: CSR) -> Float32Array:
        """(B, N) filtered signals from sparse ones (B, N)."""
        scores = graph.propagate_sparse(signals)
        if self._has_low_pass:
            scaled = scale_rows_and_columns(signals, np.ones(signals.shape[0]), inverse_power(self.root, 1))
            smooth = graph.apply_spectral_filter(scaled, np.float32(self.settings.low_pass_weight))
            smooth *= self.root
            scores += smooth
        return scores

    def weigh_by_graph(self, graph: ItemGraph, units: CSR, items: Int32Array, history: Int32Array) -> Float32Array:
        """(K, L) weights of the history in the scores of ``items``. The graph is symmetric, so it starts from these."""
        weights: Float32Array = graph.propagate_sparse(units)[:, history]
        if self._has_low_pass:
            smooth = graph.apply_spectral_filter(units, np.float32(self.settings.low_pass_weight))[:, history]
            weights += smooth * self.root[items, None] * inverse_power(self.root, 1).astype(np.float32)[history]
        return weights

    @property
    def _has_low_pass(self) -> bool:
        return bool(self.settings.low_pass_weight and self.settings.n_components)
