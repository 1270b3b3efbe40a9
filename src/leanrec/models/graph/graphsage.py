"""GraphSAGE: vectors made from content and from neighbours in the graph, so that new items need no refit.

Hamilton, Ying & Leskovec, "Inductive Representation Learning on Large Graphs", NeurIPS 2017; with the importance
neighbourhoods of PinSage: Ying, He, Chen, Eksombatchai, Hamilton & Leskovec, "Graph Convolutional Neural Networks for
Web-Scale Recommender Systems", KDD 2018.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.table import Table
from leanrec.errors import ColumnError, DataError
from leanrec.features.pipeline import Features, FeatureSpec
from leanrec.features.reduction import SVD
from leanrec.kernels.graph.propagation import BipartiteEdges, BipartiteGraph, bipartite_graph_bytes, sample_masked_edges
from leanrec.kernels.graph.spectral import (
    inverse_power,
    scale_rows_and_columns,
    singular_vectors_bytes,
    weighted_degrees,
)
from leanrec.kernels.sgd.contrastive import contrastive_bytes, normalize_rows, normalize_rows_backward, sampled_softmax
from leanrec.kernels.similarity.top_similar import top_similar, top_similar_bytes
from leanrec.kernels.sparse import dot_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.models.graph.core.training import Step, fold_in, learn, reasons, spectral_start
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["GraphSAGE", "GraphSAGEModel"]

_Weights = Mapping[str, Float32Array]


@dataclasses.dataclass(frozen=True)
class GraphSAGE:
    """Scores u · v: v by two layers over an item's features and its neighbours', u the sum of v over the history.

    An item has features of its content (``content_dim`` dimensions; none without an item table) and of its place in the graph
    (``structure_dim`` of its strongest directions). Its neighbours are the items that short random walks reach most often, and
    count by how often; that is the limit of walks, computed instead of drawn. A layer is

        h = relu(x W₁ + x̄ W₂), x̄ the weighted mean over the neighbours, and v = h V₁ + h̄ V₂.

    In each step a part of every history is hidden and has to be found by a softmax against shared negatives, and a part of the
    items is ``structure_dropout``: without structure and neighbours, as a new item will be. All weights are shared by all items, so
    what is new needs content or a history, and no refit.

    Cost: fit O(Σ_u L_u²) for the neighbours, then a step O(N · F · D + E · D + U · negatives · D) for F features; memory ``fit_bytes``;
    a query O(L · D + N · D); the model 4 N · D bytes; a new item O(F · D).
    """

    embedding_dim: int = setting(64, at_least=1, search="16,32,64,128", doc="D, the length of the vectors.")
    hidden_dim: int = setting(0, at_least=0, doc="Width of the first layer; 0 = twice ``embedding_dim``.")
    content_dim: int = setting(64, at_least=1, doc="Dimensions that the item table is reduced to.")
    structure_dim: int = setting(64, at_least=0, doc="Strongest directions of the graph that are features; 0 = none.")
    n_neighbors: int = setting(
        20,
        at_least=0,
        search="2..80:log",
        doc="Most important neighbours of an item that are looked at.",
    )
    structure_dropout: float = setting(
        0.2,
        between=(0, 1),
        doc="Share of the items of a step that see neither structure nor neighbours; 0 without an item table.",
    )
    mask_ratio: float = setting(0.5, between=(0.05, 0.95), doc="Share of a history that has to be found from the rest.")
    n_steps: int = setting(300, at_least=1, doc="Steps of training; each looks at all items and at ``batch_size`` users.")
    batch_size: int = setting(8192, at_least=0, doc="Users in a step; 0 = all of them.")
    learning_rate: float = setting(
        0.01,
        above=0,
        search="0.001..0.1:log",
        doc="Of Adam, the highest; it rises over a twentieth of the steps and falls by a cosine.",
    )
    weight_decay: float = setting(0.0, at_least=0, doc="Decoupled, per step and in units of the learning rate.")
    n_negatives: int = setting(512, at_least=1, doc="Items that all users of a step are compared with.")
    temperature: float = setting(0.2, above=0, doc="Scores are divided by it.")
    alpha: float = setting(
        0.5,
        between=(0, 1),
        search="0..1",
        doc="Power of the lengths of histories by which a user's vector is divided.",
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
        """Content at 4 kB an item, the graphs, a dozen tables of features and layers, a stretch of scores."""
        U, N, E, D = shape.users, shape.items, shape.events, self.embedding_dim
        F = self.content_dim + self.structure_dim + 1
        tables = 4 * N * (6 * F + 6 * self._hidden_width() + 8 * D) + 12 * U * D
        near = bipartite_graph_bytes(N, N, N * min(self.n_neighbors, N)) + top_similar_bytes(N, N, self.n_neighbors, Run().n_threads())
        start = singular_vectors_bytes(U, N, min(self.structure_dim, U, N)) + 8 * U * self.structure_dim
        step = contrastive_bytes(U, N, E, min(self.n_negatives, N), D) + bipartite_graph_bytes(U, N, E) + 40 * E
        return bipartite_graph_bytes(U, N, E) + 40 * E + 4096 * N + tables + near + max(start, step) + 2**24

    def fit(self, data: Dataset, run: Run = Run()) -> "GraphSAGEModel":
        """Learn the weights. The result follows from ``run.seed``; an end of the time keeps what is there."""
        run.require_memory(
            self.fit_bytes(data.shape), f"GraphSAGE over {len(data.items)} items", "Choose fewer dimensions."
        )
        features, content = self._content(data, run)
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            of_users, _ = weighted_degrees(X)
            graph = BipartiteGraph.of(scale_rows_and_columns(X, inverse_power(of_users, self.alpha), np.ones(X.shape[1])))
            rng = run.rng()
            items = _Items(content, self._structure(X, rng), BipartiteGraph.of(self._near(X, of_users)))
            weights = self._start(items.width, rng)
            work = _Work(self, X, graph, items, weights, features is not None)
            if X.nnz:
                learn(weights, work.batches, self.n_steps, self.learning_rate, self.weight_decay, run, "GraphSAGE")
            vectors = items.forward(weights, items.seen_by(np.zeros(len(content), np.bool_))).out
        return GraphSAGEModel(self, features, weights, vectors)

    def _hidden_width(self) -> int:
        return self.hidden_dim or 2 * self.embedding_dim

    def _content(self, data: Dataset, run: Run) -> tuple[Features | None, Float32Array]:
        """The fitted features and (N, content) of unit length; (N, 0) where nothing is told of the items."""
        nothing = np.zeros((len(data.items), 0), np.float32)
        if data.item_table is None:
            return None, nothing
        try:
            features = FeatureSpec(reduce=SVD(self.content_dim)).fit(data.item_table, run)
        except ColumnError:
            return None, nothing
        return features, _content_rows(features, data.item_table)

    def _structure(self, X: CSR, rng: np.random.Generator) -> Float32Array:
        """(N, structure) of a root mean square about 1 a number, zeros for an item nobody touched."""
        if not self.structure_dim:
            return np.zeros((X.shape[1], 0), np.float32)
        _, place = spectral_start(X, min(self.structure_dim, *X.shape), 4, rng, size=1.0, noise=0.0)
        return place / np.float32(max(1e-6, float(np.sqrt(np.mean(place**2)))))

    def _near(self, X: CSR, of_users: np.ndarray) -> CSR:
        """(N, N) shares of an item's neighbours, which sum to 1: walks item → user → item, by how often they end there."""
        walks = top_similar(scale_rows_and_columns(X, inverse_power(of_users, 0.5), np.ones(X.shape[1])), self.n_neighbors, "dot")
        return scale_rows_and_columns(walks, inverse_power(weighted_degrees(walks)[0], 1.0), np.ones(X.shape[1]))

    def _start(self, features: int, rng: np.random.Generator) -> dict[str, Float32Array]:
        hidden = self._hidden_width()
        shapes = {
            "own": (features, hidden),
            "near": (features, hidden),
            "up": (hidden, self.embedding_dim),
            "up_near": (hidden, self.embedding_dim),
        }
        draw = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
        return {name: (weight / np.sqrt(np.float32(len(weight)))).astype(np.float32) for name, weight in draw.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class _Passed:
    """What a pass over the items leaves for the way back."""

    x: Float32Array
    x_near: Float32Array
    h: Float32Array
    h_near: Float32Array
    out: Float32Array


@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    """Features, and who sees neighbours (N, 1)."""

    x: Float32Array
    open: Float32Array


@dataclasses.dataclass(frozen=True, eq=False)
class _Items:
    """Features of the items and the graph between them."""

    content: Float32Array
    structure: Float32Array
    near: BipartiteGraph

    @property
    def width(self) -> int:
        """F, with the constant."""
        return int(self.content.shape[1] + self.structure.shape[1] + 1)

    def seen_by(self, blind: np.ndarray) -> _Seen:
        """(N, F) where blind items (N,) have no place in the graph."""
        visible = (~blind).astype(np.float32)[:, None]
        return _Seen(_rows(self.content, self.structure * visible), visible)

    def forward(self, weights: _Weights, seen: _Seen) -> _Passed:
        """The vectors of all items."""
        x_near = seen.open * self.near.to_rows(seen.x)
        h = np.maximum(seen.x @ weights["own"] + x_near @ weights["near"], 0)
        h_near = seen.open * self.near.to_rows(h)
        out = np.asarray(h @ weights["up"] + h_near @ weights["up_near"], dtype=np.float32)
        return _Passed(seen.x, x_near, h, h_near, out)

    def backward(self, weights: _Weights, seen: _Seen, passed: _Passed, d_out: Float32Array) -> _Weights:
        """The gradients by the weights from that by the vectors."""
        d_h = d_out @ weights["up"].T + self.near.to_columns(seen.open * (d_out @ weights["up_near"].T))
        d_h *= passed.h > 0
        return {
            "own": passed.x.T @ d_h,
            "near": passed.x_near.T @ d_h,
            "up": passed.h.T @ d_out,
            "up_near": passed.h_near.T @ d_out,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class _Work:
    """What every step of a fit needs."""

    settings: GraphSAGE
    X: CSR
    graph: BipartiteGraph
    items: _Items
    weights: _Weights
    told: bool

    def batches(self, rng: np.random.Generator) -> Iterator[Step]:
        """The one step of an epoch."""
        (U, N), settings = self.X.shape, self.settings
        users = np.sort(rng.choice(U, min(settings.batch_size or U, U), replace=False))
        negatives = rng.choice(N, min(settings.n_negatives, N), replace=False)
        targets, hidden = sample_masked_edges(self.X, users, settings.mask_ratio, rng)
        blind = rng.random(N) < (settings.structure_dropout if self.told else 0)
        yield functools.partial(self.gradients, users, targets, hidden, negatives, blind)

    def gradients(
        self, users: Int64Array, targets: CSR, hidden: Int64Array, negatives: Int64Array, blind: np.ndarray
    ) -> tuple[float, _Weights]:
        """The mean loss of what is hidden of some users (b, N), and its gradients by the weights."""
        settings, seen, graph = self.settings, self.items.seen_by(blind), self.graph.without(hidden)
        passed = self.items.forward(self.weights, seen)
        links, sharp = BipartiteEdges.of(targets), np.float32(1 / settings.temperature)
        rows, lengths = normalize_rows(graph.to_rows(passed.out)[users])
        share = np.full(len(users), 1 / max(1, len(links)), np.float32)
        log_q = np.full(len(negatives), np.log(len(negatives) / len(passed.out)), np.float32)
        found = sampled_softmax(links, sharp * rows, passed.out, negatives, log_q, share)
        d_users = np.zeros((self.X.shape[0], settings.embedding_dim), np.float32)
        d_users[users] = normalize_rows_backward(sharp * found.rows, rows, lengths)
        d_out = found.columns + graph.to_columns(d_users)
        return found.loss, self.items.backward(self.weights, seen, passed, d_out)


@dataclasses.dataclass(frozen=True, eq=False)
class GraphSAGEModel:
    """A fitted GraphSAGE.

    Attributes:
        settings: what it was fitted with.
        features: the fitted features of the item table; None where there was none.
        weights: "own" and "near" (F, H) of the first layer, "up" and "up_near" (H, D) of the second.
        items: (N, D) float32.
    """

    settings: GraphSAGE
    features: Features | None
    weights: Mapping[str, Float32Array]
    items: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D): the weighted sum of a history's item vectors; zeros for an empty one."""
        return fold_in(queries.history, self.items, self.settings.weighting, self.settings.alpha)

    def embed_items(self) -> Float32Array:
        """(N, D)."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """User vectors · item vectors."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by what each adds to the score; these sum to it."""
        return reasons(queries, self.items, self.items[item], self.settings.weighting, self.settings.alpha)

    def extend(self, items: Table) -> "GraphSAGEModel":
        """The model of N + M items: the M rows follow, made from their content by the layers of the fit.

        Raises DataError where the fit had no item table, ColumnError where no known column is there.
        """
        if self.features is None:
            raise DataError(
                "New items are made from content, and this model was fitted without an item table. Fit it with one."
            )
        content = _content_rows(self.features, items)
        structure = np.zeros((len(items), len(self.weights["own"]) - content.shape[1] - 1), np.float32)
        hidden = np.maximum(_rows(content, structure) @ self.weights["own"], 0)
        return dataclasses.replace(self, items=np.concatenate([self.items, hidden @ self.weights["up"]]))


def _content_rows(features: Features, table: Table) -> Float32Array:
    """(n, F) dense content, of a root mean square about 1 a number."""
    rows = features.transform(table)
    dense = np.asarray(rows.toarray() if sp.issparse(rows) else rows, dtype=np.float32)
    return normalize_rows(dense)[0] * np.float32(np.sqrt(max(1, dense.shape[1])))


def _rows(content: Float32Array, structure: Float32Array) -> Float32Array:
    """(n, F): both, and a constant."""
    return np.hstack([content, structure, np.ones((len(content), 1), np.float32)])
