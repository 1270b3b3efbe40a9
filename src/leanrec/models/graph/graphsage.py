"""GraphSAGE: inductive item embeddings from content and graph neighborhoods.

Hamilton, Ying & Leskovec, "Inductive Representation Learning on Large Graphs", NeurIPS 2017; with the importance
neighborhoods of PinSage: Ying, He, Chen, Eksombatchai, Hamilton & Leskovec, "Graph Convolutional Neural Networks for
Web-Scale Recommender Systems", KDD 2018.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.table import Table
from leanrec.errors import ColumnError, DataError
from leanrec.features.pipeline import FeatureSpec, FittedFeatures
from leanrec.features.reduction import TruncatedSVD
from leanrec.field_checks import ArrayShape, check_array_shapes
from leanrec.finiteness import require_finite
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
from leanrec.models.graph.core.training import Step, explain_fold_in, fold_in, spectral_init, train_arrays
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["GraphSAGE", "GraphSAGEModel"]

_Weights = Mapping[str, Float32Array]


@dataclasses.dataclass(frozen=True)
class GraphSAGE:
    """Scores u · v: v from two layers over the features of an item and its neighbors, u the sum of v over the history.

    The features of an item are its content (``content_dim`` dimensions; none without an item table) and its singular
    vectors in the graph (``structure_dim``). Its neighbors are the items that two-step random walks reach most often,
    weighted by the probability of the walk, which is computed instead of sampled. The layers are

        h = relu(x W₁ + x̄ W₂), x̄ the weighted mean over the neighbors, and v = h V₁ + h̄ V₂.

    In each step a part of every history is masked and predicted with a sampled softmax, and a share of the items
    (``structure_dropout``) has neither structure nor neighbors, as new items do. All items share the weights, so that a
    new item needs content and a new user a history, and no refit.

    When to use: new items with content, or a catalog that changes often: no item has parameters of its own.

    Cost: fit O(Σ_u L_u²) for the neighbors, then a step O(N · F · D + E · D + batch_size · n_negatives · D) for F
    features; memory ``fit_bytes``; a query O(L · D + N · D); the model 4 N · D bytes; a new item O(F · D).
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "content"})
    COST: ClassVar[str] = "minutes"

    embedding_dim: int = setting(64, at_least=1, search="16,32,64,128", doc="D, dimension of the embeddings.")
    hidden_dim: int = setting(0, at_least=0, doc="Size of the hidden layer; 0 = twice ``embedding_dim``.")
    content_dim: int = setting(64, at_least=1, doc="Dimensions of the reduced item table.")
    structure_dim: int = setting(64, at_least=0, doc="Singular vectors of the graph used as features; 0 = none.")
    n_neighbors: int = setting(
        20,
        at_least=0,
        search="2..80:log",
        doc="Number of neighbors of an item; 0 = none.",
    )
    structure_dropout: float = setting(
        0.2,
        between=(0, 1),
        doc="Share of the items of a step without structure and neighbors; 0 without an item table.",
    )
    mask_ratio: float = setting(0.5, between=(0.05, 0.95), doc="Share of a history that is predicted from the rest.")
    n_steps: int = setting(
        300, at_least=1, doc="Number of training steps; each uses all items and ``batch_size`` users."
    )
    batch_size: int = setting(8192, at_least=0, doc="Users in a step; 0 = all users.")
    learning_rate: float = setting(
        0.01,
        above=0,
        search="0.001..0.1:log",
        doc="Peak learning rate of Adam, with linear warm-up over 5 % of the steps and cosine decay.",
    )
    weight_decay: float = setting(0.0, at_least=0, doc="Decoupled weight decay, in units of the learning rate.")
    n_negatives: int = setting(512, at_least=1, doc="Sampled negative items, shared by all users of a step.")
    temperature: float = setting(0.2, above=0, doc="Divisor of the scores; smaller values weight hard negatives more.")
    alpha: float = setting(
        0.5,
        between=(0, 1),
        search="0..1",
        doc="Exponent of the degree of a history by which the embedding of a user is divided.",
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
        """Content at 4 kB an item, the graphs, tables of features and layers, a block of scores."""
        U, N, E, D = shape.users, shape.items, shape.events, self.embedding_dim
        F = self.content_dim + self.structure_dim + 1
        tables = 4 * N * (6 * F + 6 * self._hidden_dim() + 8 * D) + 12 * U * D
        near = bipartite_graph_bytes(N, N, N * min(self.n_neighbors, N)) + top_similar_bytes(
            N, N, self.n_neighbors, Run().n_threads()
        )
        start = singular_vectors_bytes(U, N, min(self.structure_dim, U, N)) + 8 * U * self.structure_dim
        step = contrastive_bytes(U, N, E, min(self.n_negatives, N), D) + bipartite_graph_bytes(U, N, E) + 40 * E
        return bipartite_graph_bytes(U, N, E) + 40 * E + 4096 * N + tables + near + max(start, step) + 2**24

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "GraphSAGEModel":
        """Train the weights. The result depends on ``run.seed``; training ends early when the time is over."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"GraphSAGE over {len(data.items)} items",
            "Lower embedding_dim or content_dim, or raise the limit.",
        )
        features, content = self._fit_content(data, run)
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            of_users, _ = weighted_degrees(X)
            graph = BipartiteGraph.from_matrix(
                scale_rows_and_columns(X, inverse_power(of_users, self.alpha), np.ones(X.shape[1]))
            )
            rng = run.rng()
            items = _Items(
                content, self._compute_structure(X, rng), BipartiteGraph.from_matrix(self._find_neighbors(X, of_users))
            )
            weights = self._init_weights(items.width, rng)
            state = _TrainingState(self, X, graph, items, weights, features is not None)
            if X.nnz:
                train_arrays(
                    weights, state.batches, self.n_steps, self.learning_rate, self.weight_decay, run, "GraphSAGE"
                )
            vectors = items.forward(weights, items.hide_structure(np.zeros(len(content), np.bool_))).out
        return GraphSAGEModel(self, features, weights, vectors)

    def _hidden_dim(self) -> int:
        return self.hidden_dim or 2 * self.embedding_dim

    def _fit_content(self, data: Dataset, run: Run) -> tuple[FittedFeatures | None, Float32Array]:
        """The fitted features and (N, content) rows of unit length; (N, 0) without a usable item table."""
        no_content = np.zeros((len(data.items), 0), np.float32)
        if data.item_table is None:
            return None, no_content
        try:
            features = FeatureSpec(reduce=TruncatedSVD(self.content_dim)).fit(data.item_table, run)
        except ColumnError:
            return None, no_content
        return features, _content_rows(features, data.item_table)

    def _compute_structure(self, X: CSR, rng: np.random.Generator) -> Float32Array:
        """(N, structure) with a root mean square of about 1; zeros for an item without interactions."""
        if not self.structure_dim:
            return np.zeros((X.shape[1], 0), np.float32)
        _, vectors = spectral_init(X, min(self.structure_dim, *X.shape), 4, rng, size=1.0, noise=0.0)
        return vectors / np.float32(max(1e-6, float(np.sqrt(np.mean(vectors**2)))))

    def _find_neighbors(self, X: CSR, of_users: np.ndarray) -> CSR:
        """(N, N) weights of the neighbors of an item, which sum to 1: probabilities of walks item → user → item."""
        walks = top_similar(
            scale_rows_and_columns(X, inverse_power(of_users, 0.5), np.ones(X.shape[1])), self.n_neighbors, "dot"
        )
        return scale_rows_and_columns(walks, inverse_power(weighted_degrees(walks)[0], 1.0), np.ones(X.shape[1]))

    def _init_weights(self, features: int, rng: np.random.Generator) -> dict[str, Float32Array]:
        hidden = self._hidden_dim()
        shapes = {
            "own": (features, hidden),
            "near": (features, hidden),
            "up": (hidden, self.embedding_dim),
            "up_near": (hidden, self.embedding_dim),
        }
        random = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
        return {name: (weight / np.sqrt(np.float32(len(weight)))).astype(np.float32) for name, weight in random.items()}


@dataclasses.dataclass(frozen=True, eq=False)
class _Activations:
    """Activations of a forward pass, kept for the backward pass."""

    x: Float32Array
    x_near: Float32Array
    h: Float32Array
    h_near: Float32Array
    out: Float32Array


@dataclasses.dataclass(frozen=True, eq=False)
class _VisibleFeatures:
    """Features of all items, and (N, 1) 1 where an item has neighbors."""

    x: Float32Array
    has_neighbors: Float32Array


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

    def hide_structure(self, isolated: np.ndarray) -> _VisibleFeatures:
        """Features where the ``isolated`` items (N,) have neither structure nor neighbors."""
        has_neighbors = (~isolated).astype(np.float32)[:, None]
        return _VisibleFeatures(_concat_features(self.content, self.structure * has_neighbors), has_neighbors)

    def forward(self, weights: _Weights, visible: _VisibleFeatures) -> _Activations:
        """The embeddings of all items."""
        x_near = visible.has_neighbors * self.near.propagate_to_rows(visible.x)
        h = np.maximum(visible.x @ weights["own"] + x_near @ weights["near"], 0)
        h_near = visible.has_neighbors * self.near.propagate_to_rows(h)
        out = np.asarray(h @ weights["up"] + h_near @ weights["up_near"], dtype=np.float32)
        return _Activations(visible.x, x_near, h, h_near, out)

    def backward(
        self, weights: _Weights, visible: _VisibleFeatures, passed: _Activations, d_out: Float32Array
    ) -> _Weights:
        """The gradients by the weights from the gradient by the embeddings."""
        d_h = d_out @ weights["up"].T + self.near.propagate_to_columns(
            visible.has_neighbors * (d_out @ weights["up_near"].T)
        )
        d_h *= passed.h > 0
        return {
            "own": passed.x.T @ d_h,
            "near": passed.x_near.T @ d_h,
            "up": passed.h.T @ d_out,
            "up_near": passed.h_near.T @ d_out,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class _TrainingState:
    """State of a fit that every step needs."""

    settings: GraphSAGE
    X: CSR
    graph: BipartiteGraph
    items: _Items
    weights: _Weights
    has_content: bool

    def batches(self, rng: np.random.Generator) -> Iterator[Step]:
        """The one step of an epoch."""
        (U, N), settings = self.X.shape, self.settings
        users = np.sort(rng.choice(U, min(settings.batch_size or U, U), replace=False))
        negatives = rng.choice(N, min(settings.n_negatives, N), replace=False)
        targets, masked = sample_masked_edges(self.X, users, settings.mask_ratio, rng)
        isolated = rng.random(N) < (settings.structure_dropout if self.has_content else 0)
        yield functools.partial(self.gradients, users, targets, masked, negatives, isolated)

    def gradients(
        self, users: Int64Array, targets: CSR, masked: Int64Array, negatives: Int64Array, isolated: np.ndarray
    ) -> tuple[float, _Weights]:
        """The mean loss of the masked items (b, N) of some users, and its gradients by the weights."""
        settings, visible, graph = self.settings, self.items.hide_structure(isolated), self.graph.without_edges(masked)
        passed = self.items.forward(self.weights, visible)
        edges, inverse_temperature = BipartiteEdges.from_matrix(targets), np.float32(1 / settings.temperature)
        rows, lengths = normalize_rows(graph.propagate_to_rows(passed.out)[users])
        share = np.full(len(users), 1 / max(1, len(edges)), np.float32)
        log_q = np.full(len(negatives), np.log(len(negatives) / len(passed.out)), np.float32)
        found = sampled_softmax(edges, inverse_temperature * rows, passed.out, negatives, log_q, share)
        d_users = np.zeros((self.X.shape[0], settings.embedding_dim), np.float32)
        d_users[users] = normalize_rows_backward(inverse_temperature * found.rows, rows, lengths)
        d_out = found.columns + graph.propagate_to_columns(d_users)
        return found.loss, self.items.backward(self.weights, visible, passed, d_out)


@dataclasses.dataclass(frozen=True, eq=False)
class GraphSAGEModel:
    """A fitted `GraphSAGE`.

    Attributes:
        settings: settings of the fit.
        features: the fitted features of the item table; None without one.
        weights: "own" and "near" (F, H) of the first layer, "up" and "up_near" (H, D) of the second.
        items: (N, D) float32 item embeddings.
    """

    settings: GraphSAGE
    features: FittedFeatures | None
    weights: Mapping[str, Float32Array]
    items: Annotated[Float32Array, ArrayShape("N", "D")]

    def check_state(self) -> None:
        """Raise DataError unless the layers have the sizes of the vectors."""
        own = self.weights["own"]
        n_content = 0 if self.features is None else len(self.features.names)
        F, hidden, D = max(len(own), n_content + 1), own.shape[1], self.items.shape[1]
        shapes = {"own": (F, hidden), "near": (F, hidden), "up": (hidden, D), "up_near": (hidden, D)}
        check_array_shapes("GraphSAGEModel", self.weights, shapes)

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D): the weighted sum of the item embeddings of a history; zeros for an empty one."""
        return fold_in(queries.history, self.items, self.settings.weighting, self.settings.alpha)

    def embed_items(self) -> Float32Array:
        """(N, D) item vectors."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """User embeddings · item embeddings: (B, N), or (B, K) for ``items``."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history, by what each adds to the score; these sum to it."""
        settings = self.settings
        return explain_fold_in(queries, self.items, self.items[items], settings.weighting, settings.alpha, top_k)

    def extend(self, items: Table) -> "GraphSAGEModel":
        """The model of N + M items: the M new rows are embedded from their content.

        Raises DataError where the fit had no item table, ColumnError where the items have no known column.
        """
        if self.features is None:
            raise DataError(
                "The model must be fitted with an item table to embed new items. It was fitted without one; fit it again with one."
            )
        content = _content_rows(self.features, items)
        structure = np.zeros((len(items), len(self.weights["own"]) - content.shape[1] - 1), np.float32)
        hidden = np.maximum(_concat_features(content, structure) @ self.weights["own"], 0)
        return dataclasses.replace(self, items=np.concatenate([self.items, hidden @ self.weights["up"]]))


def _content_rows(features: FittedFeatures, table: Table) -> Float32Array:
    """(n, F) dense content, with a root mean square of about 1."""
    rows = features.transform(table)
    dense = np.asarray(rows.toarray() if sp.issparse(rows) else rows, dtype=np.float32)
    return normalize_rows(dense)[0] * np.float32(np.sqrt(max(1, dense.shape[1])))


def _concat_features(content: Float32Array, structure: Float32Array) -> Float32Array:
    """(n, F): content, structure and a constant."""
    return np.hstack([content, structure, np.ones((len(content), 1), np.float32)])
