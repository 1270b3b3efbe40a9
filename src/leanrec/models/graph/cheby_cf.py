"""ChebyCF: a plateau filter over the whole spectrum of the item graph, and an ideal low-pass filter.

Kim, Sung, Han & Lee, "Graph Spectral Filtering with Chebyshev Interpolation for Recommendation", SIGIR 2025.
"""

import dataclasses

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import SettingError
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

__all__ = ["ChebyCF", "ChebyCFModel"]

Float64Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
# Beside directions, polynomials above this degree would be large differences of large numbers in float32.
_DEGREE = 3


@dataclasses.dataclass(frozen=True)
class ChebyCF:
    """Scores x · D_I^−beta · (h(P) + ideal · V Vᵀ) · D_I^beta, P = R̃ᵀR̃, R̃ = D_U^−alpha R D_I^−½ / its norm.

    h is the paper's plateau over the eigenvalues λ of P, 0 to 1: with x = 1 − 2λ, h(λ) = ½ − ½ · sign(x) · |x|^flatness, 1 for what all the graph has
    in common and 0 for what it does not support. The paper interpolates h by one Chebyshev polynomial of degree 8
    over all λ, which takes 8 products with P for each query. Here the D strongest directions V, which the low-pass
    filter needs anyway, get h exactly, and only what lies below them, λ from 0 to λ_D, is interpolated. There h
    is so nearly straight that degree 1 ranks alike (measured in docs/project/journal/2026-11.md). ``n_components`` = 0 and ``order`` = 8 is
    the paper's filter without its low-pass part.

    Cost: fit O(passes · (E · D + N · D²)) time and ``fit_bytes``; a query O(Σ over the users who share an item
    of their histories + N · D), and O(E) for each order above 1; the model 16 E + 4 N · D bytes. With ``top_k`` the
    fit also answers N queries, a query costs O(L · top) and the model 8 N · top bytes.
    """

    flatness: float = setting(2.0, above=0, search="0.5..8:log", doc="Above 1; more for a longer plateau.")
    n_components: int = setting(
        512,
        at_least=0,
        search="128,256,512,1024",
        doc="D, directions that the low-pass filter lets through.",
    )
    low_pass_weight: float = setting(
        0.2, at_least=0, search="0..1", doc="Weight of the low-pass filter beside the plateau."
    )
    alpha: float = setting(
        0.3,
        at_least=0,
        search="0..1",
        doc="Power of the users' degrees, ½ in the paper; less lets people with long histories say more.",
    )
    beta: float = setting(
        0.4,
        at_least=0,
        search="0..1",
        doc="Power of the items' degrees; more, and popular items say less of the asker and are shown more.",
    )
    order: int = setting(
        1,
        at_least=1,
        doc="Degree of the polynomial below the directions: at most 3 unless ``n_components`` is 0.",
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
        if self.n_components and self.order > _DEGREE:
            raise SettingError(f"order must be at most {_DEGREE} unless width is 0. Got {self.order}.")

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The graph twice over, its directions, and the blocks of answers where only the top is kept."""
        size = item_graph_bytes(shape.users, shape.items, shape.events, self.n_components) + 2**25
        return size + (sparsify_filter_bytes(shape.items, self.top_k) if self.top_k else 0)

    def fit(self, data: Dataset, run: Run = Run()) -> "ChebyCFModel":
        """Find the directions and the polynomial. The result follows from ``run.seed``."""
        run.require_memory(
            self.fit_bytes(data.shape), f"ChebyCF of width {self.n_components}", "Choose a smaller width or top."
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            graph, strengths = build_item_graph(X, self.alpha, self.n_components, self.n_iter, run.rng())
            ceiling = _ceiling(strengths, min(X.shape))
            series = self.series(ceiling)
            below = np.polynomial.chebyshev.chebval(2 * strengths / ceiling - 1, series)
            gains = self.plateau(np.clip(strengths, 0, 1)) + self.low_pass_weight - below
            even = inverse_power(weighted_degrees(X)[1], self.beta).astype(np.float32)
            full = ChebyCFModel(self, even, gains.astype(np.float32), series, ceiling, graph, None)
            if not self.top_k:
                return full
            weights = sparsify_filter(
                full.answer,
                full.n_items,
                self.top_k,
                lambda blocks: run.track(blocks, "ChebyCF"),
            )
            return dataclasses.replace(full, graph=None, weights=weights)

    def series(self, ceiling: float) -> Float64Array:
        """Coefficients of the Chebyshev polynomials in 2λ / ceiling − 1 that meet h at their nodes from 0 to ``ceiling``."""
        nodes = np.cos(np.pi * (np.arange(self.order + 1) + 0.5) / (self.order + 1))
        series = np.polynomial.chebyshev.chebfit(nodes, self.plateau((nodes + 1) / 2 * ceiling), self.order)
        return np.asarray(series, dtype=np.float64)

    def plateau(self, eigenvalues: Float64Array) -> Float64Array:
        """h(λ) for λ from 0 to 1."""
        x = 1 - 2 * eigenvalues
        return np.asarray(0.5 - 0.5 * np.sign(x) * np.abs(x) ** self.flatness)


@dataclasses.dataclass(frozen=True, eq=False)
class ChebyCFModel:
    """A fitted ChebyCF.

    Attributes:
        settings: what it was fitted with.
        even: (N,) float32 degrees^−beta, 0 for items nobody touched.
        gains: (D,) float32 what the directions get beside the polynomial.
        series: (order + 1,) coefficients of the Chebyshev polynomials in 2P / ceiling − 1.
        ceiling: the eigenvalue up to which the polynomial follows the plateau.
        graph: the graph with its directions; None with ``top_k``.
        weights: with ``top_k``, (N, N) CSR: ``weights[i, j]`` is what item i in a history adds to item j; else None.
    """

    settings: ChebyCF
    even: Float32Array
    gains: Float32Array
    series: Float64Array
    ceiling: float
    graph: ItemGraph | None
    weights: CSR | None

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.even)

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
        if self.weights is not None:
            return history_scores(signals, self.weights)
        scores = self._filtered(scale_rows_and_columns(signals, np.ones(signals.shape[0]), self.even))
        scores *= inverse_power(self.even, 1).astype(np.float32)
        return scores

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by what each adds to the score."""
        history = self.profile(queries.block(0, 1))
        touched = history.indices.astype(np.int32)
        added = history.data * self._towards(item, touched)
        return rank_contributions(touched, added)

    def _towards(self, item: int, touched: Int32Array) -> Float32Array:
        """What a unit of each touched item adds to ``item``: the filter is the same in both directions."""
        if self.weights is not None:
            return np.asarray(self.weights[touched][:, [item]].toarray()[:, 0])
        back = inverse_power(self.even[[item]], 1).astype(np.float32)
        alone = sp.csr_array((back, [item], [0, 1]), shape=(1, self.n_items))
        return np.asarray(self._filtered(alone)[0, touched] * self.even[touched])

    def _filtered(self, signals: CSR) -> Float32Array:
        """Signals (B, N) · (polynomial of P + V · gains · Vᵀ), by the recurrence of Chebyshev."""
        assert self.graph is not None  # noqa: S101 - a model has its graph or its weights
        series, stretch = self.series.astype(np.float32), np.float32(2 / self.ceiling)
        scores = self.graph.step(signals)
        if len(series) == 2:
            scores *= stretch * series[1]
            _add(scores, signals, series[0] - series[1])
        else:
            before, now = signals.toarray(), stretch * scores
            now -= before
            scores = series[0] * before + series[1] * now
            for share in series[2:]:
                before, now = now, 2 * (stretch * self.graph.step_dense(now) - now) - before
                scores += share * now
        if len(self.gains):
            scores += self.graph.project(signals, self.gains)
        return scores


def _add(scores: Float32Array, signals: CSR, share: np.float32) -> None:
    """Add share · signals in place."""
    rows = np.repeat(np.arange(len(scores)), np.diff(signals.indptr))
    scores[rows, signals.indices] += share * signals.data


def _ceiling(strengths: Float64Array, rank: int) -> float:
    """The largest eigenvalue that the polynomial has to deal with."""
    if not len(strengths):
        return 1.0
    # Where the directions hold the whole spectrum nothing lies below, and any interval will do.
    return float(min(1.0, max(strengths[-1], 1e-3))) if len(strengths) < rank else 1.0
