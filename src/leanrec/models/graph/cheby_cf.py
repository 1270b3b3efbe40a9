"""ChebyCF: a plateau filter on the spectrum of the item graph by Chebyshev interpolation, and a low-pass filter.

Kim, Sung, Han & Lee, "Graph Spectral Filtering with Chebyshev Interpolation for Recommendation", SIGIR 2025.
"""

import dataclasses
from typing import Annotated

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import SettingError
from leanrec.field_checks import ArrayShape, SharedSizes, check_array_shapes
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

__all__ = ["ChebyCF", "ChebyCFModel"]

Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
# With singular vectors, polynomials of a higher degree lose float32 precision by cancellation.
_MAX_ORDER = 3


@dataclasses.dataclass(frozen=True)
class ChebyCF:
    """Scores x · D_I^−beta · (h(P) + w · V Vᵀ) · D_I^beta, P = R̃ᵀR̃, R̃ = D_U^−alpha R D_I^−½ / its norm.

    w is ``low_pass_weight``, and h is the paper's plateau over the eigenvalues λ of P, 0 to 1: with x = 1 − 2λ,
    h(λ) = ½ − ½ · sign(x) · |x|^flatness. The paper interpolates h by one Chebyshev polynomial of degree 8 over all λ,
    which takes 8 products with P for each query. Here the first D singular vectors V, which the low-pass filter needs in
    any case, are filtered with h exactly, and h is interpolated only on the rest of the spectrum, λ from 0 to λ_D. There
    it is so close to linear that degree 1 gives the same quality (measured in docs/project/journal/2026-11.md).
    ``n_components`` = 0 and ``order`` = 8 is the filter of the paper without its low-pass part.

    When to use: as `GFCF`, with a filter over the whole spectrum: among the best on sparse logs, without training.

    Cost: fit O(n_iter · (E · D + N · D²)) time and ``fit_bytes``; a query O(Σ over the users who share an item
    of their histories + N · D), and O(E) for each order above 1; the model 16 E + 4 N · D bytes. With ``top_k`` the
    fit also answers N queries, a query costs O(L · top_k) and the model 8 N · top_k bytes.
    """

    flatness: float = setting(
        2.0, above=0, search="0.5..8:log", doc="Flatness of the plateau; larger values make it longer."
    )
    n_components: int = setting(
        512,
        at_least=0,
        search="128,256,512,1024",
        doc="D, number of singular vectors, which the low-pass filter passes.",
    )
    low_pass_weight: float = setting(0.2, at_least=0, search="0..1", doc="Weight of the low-pass filter.")
    alpha: float = setting(
        0.3,
        at_least=0,
        search="0..1",
        doc="Exponent of the users' degrees, ½ in the paper; smaller values weight users with long histories more.",
    )
    beta: float = setting(
        0.4,
        at_least=0,
        search="0..1",
        doc="Exponent of the items' degrees; larger values lower the weight of popular items in the history and raise their scores.",
    )
    order: int = setting(
        1,
        at_least=1,
        doc="Degree of the polynomial; at most 3 unless ``n_components`` is 0.",
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
        if self.n_components and self.order > _MAX_ORDER:
            raise SettingError(
                f"order must be at most {_MAX_ORDER} unless n_components is 0. "
                f"Got order={self.order}, n_components={self.n_components}."
            )

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The graph twice, its singular vectors, and the blocks of scores where only ``top_k`` are kept."""
        return filter_bytes(shape, self.n_components, self.top_k)

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "ChebyCFModel":
        """Compute the singular vectors and the polynomial. The result depends on ``run.seed``."""
        check_filter_memory(self, data.shape, run, "ChebyCF")
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            graph, eigenvalues = build_item_graph(X, self.alpha, self.n_components, self.n_iter, run.rng())
            # Where the singular vectors cover the whole spectrum, or none of it, the interval is the whole.
            is_part = 0 < len(eigenvalues) < min(X.shape)
            ceiling = float(min(1.0, max(eigenvalues[-1], 1e-3))) if is_part else 1.0
            series = self.interpolate_plateau(ceiling)
            below = np.polynomial.chebyshev.chebval(2 * eigenvalues / ceiling - 1, series)
            gains = self.plateau(np.clip(eigenvalues, 0, 1)) + self.low_pass_weight - below
            even = inverse_power(weighted_degrees(X)[1], self.beta).astype(np.float32)
            model = ChebyCFModel(self, even, gains.astype(np.float32), series, ceiling, graph, None)
            return keep_largest_weights(model, run, "ChebyCF")

    def interpolate_plateau(self, ceiling: float) -> Float64Array:
        """Chebyshev coefficients, in 2λ / ceiling − 1, of the interpolation of h from 0 to ``ceiling``."""
        nodes = np.cos(np.pi * (np.arange(self.order + 1) + 0.5) / (self.order + 1))
        series = np.polynomial.chebyshev.chebfit(nodes, self.plateau((nodes + 1) / 2 * ceiling), self.order)
        return np.asarray(series, dtype=np.float64)

    def plateau(self, eigenvalues: Float64Array) -> Float64Array:
        """h(λ) for λ from 0 to 1."""
        x = 1 - 2 * eigenvalues
        return np.asarray(0.5 - 0.5 * np.sign(x) * np.abs(x) ** self.flatness)


@dataclasses.dataclass(frozen=True, eq=False)
class ChebyCFModel(FilterModel):
    """A fitted `ChebyCF`.

    Attributes:
        settings: settings of the fit.
        even: (N,) float32 degrees^−beta, 0 for items without interactions.
        gains: (D,) float32 gains of the singular vectors in addition to the polynomial.
        series: (order + 1,) coefficients of the Chebyshev polynomials in 2P / ceiling − 1.
        ceiling: largest eigenvalue of the interpolation.
        graph: the graph with its singular vectors; None with ``top_k``.
        weights: with ``top_k``, (N, N) CSR: ``weights[i, j]`` is the contribution of item i in a history to the score of
            item j; else None.
    """

    settings: ChebyCF
    even: Annotated[Float32Array, ArrayShape("N")]
    gains: Annotated[Float32Array, ArrayShape("D")]
    series: Annotated[Float64Array, ArrayShape("T")]
    ceiling: float
    graph: Annotated[ItemGraph | None, SharedSizes(N="N", D="D")]
    weights: Annotated[CSR | None, ArrayShape("N", "N")]

    def check_state(self) -> None:
        """Raise DataError unless it has either its graph or its weights, and a polynomial of its order."""
        super().check_state()
        check_array_shapes("ChebyCFModel", {"series": self.series}, {"series": (self.settings.order + 1,)})

    def filter_by_graph(self, graph: ItemGraph, signals: CSR) -> Float32Array:
        """(B, N) filtered signals from sparse ones (B, N)."""
        scores = self._apply_symmetric(graph, scale_rows_and_columns(signals, np.ones(signals.shape[0]), self.even))
        scores *= inverse_power(self.even, 1).astype(np.float32)
        return scores

    def weigh_by_graph(self, graph: ItemGraph, units: CSR, items: Int32Array, history: Int32Array) -> Float32Array:
        """(K, L) weights of the history in the scores of ``items``. The filter is symmetric, so it starts from these."""
        back = inverse_power(self.even[items], 1).astype(np.float32)
        return np.asarray(self._apply_symmetric(graph, units)[:, history] * self.even[history] * back[:, None])

    def _apply_symmetric(self, graph: ItemGraph, signals: CSR) -> Float32Array:
        """Signals (B, N) · (polynomial of P + V · gains · Vᵀ), by the Chebyshev recurrence."""
        series, scale = self.series.astype(np.float32), np.float32(2 / self.ceiling)
        scores = graph.propagate_sparse(signals)
        if len(series) == 2:
            scores *= scale * series[1]
            rows = np.repeat(np.arange(len(scores)), np.diff(signals.indptr))
            scores[rows, signals.indices] += (series[0] - series[1]) * signals.data
        else:
            before, now = signals.toarray(), scale * scores
            now -= before
            scores = series[0] * before + series[1] * now
            for share in series[2:]:
                before, now = now, 2 * (scale * graph.propagate_dense(now) - now) - before
                scores += share * now
        if len(self.gains):
            scores += graph.apply_spectral_filter(signals, self.gains)
        return scores
