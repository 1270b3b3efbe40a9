"""XSimGCL: LightGCN with noise-based contrastive learning between layers.

Yu, Xia, Chen, Cui, Hung & Yin, "XSimGCL: Towards Extremely Simple Graph Contrastive Learning for Recommendation",
IEEE Transactions on Knowledge and Data Engineering 2023.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.finiteness import require_finite
from leanrec.kernels.graph.propagation import BipartiteEdges, BipartiteGraph, bipartite_graph_bytes
from leanrec.kernels.graph.spectral import inverse_power, singular_vectors_bytes, weighted_degrees
from leanrec.kernels.sgd.contrastive import contrastive_bytes, info_nce, normalize_rows, normalize_rows_backward
from leanrec.kernels.weighting import weight_interactions
from leanrec.models.graph.core.training import (
    GraphTraining,
    GraphVectors,
    Step,
    build_user_item_graph,
    edge_softmax,
    fit_fold_in_map,
)
from leanrec.run import Run
from leanrec.settings import check_between, check_settings, setting
from leanrec.types import CSR, Float32Array, Int64Array

__all__ = ["XSimGCL", "XSimGCLModel"]

_Pair = tuple[Float32Array, Float32Array]


@dataclasses.dataclass(frozen=True)
class XSimGCL(GraphTraining):
    """Scores u · v, where embeddings are the mean of layers 1 to K, as in LightGCN without layer 0.

    In training each layer gets noise of norm ``noise`` with the signs of its embeddings. One pass gives both views of a
    node, the mean of all layers and layer ``contrast_layer``, which are contrasted with those of
    ``contrast_batch_size`` nodes. The gradient treats the noise as a constant.

    When to use: as `LightGCN`, with noise and a contrastive loss between the layers.

    Cost: a step O(4 n_layers · E · D + batch_size · n_negatives · D + contrast_batch_size² · D); memory ``fit_bytes``; a
    query O(L · D + N · D); the model 4 D (U + 2 N) bytes.
    """

    COST: ClassVar[str] = "minutes"

    epochs: int = setting(100)
    n_layers: int = setting(2, at_least=1, doc="Number of graph convolutions.")
    noise: float = setting(0.1, at_least=0, doc="Norm of the noise added to each embedding in each layer.")
    contrast_layer: int = setting(1, at_least=1, doc="The layer that is contrasted with the mean of all layers.")
    contrast_weight: float = setting(0.1, at_least=0, doc="Weight of the contrastive loss.")
    contrast_temperature: float = setting(0.2, above=0, doc="Divisor of the cosines of the contrastive loss.")
    contrast_batch_size: int = setting(1024, at_least=1, doc="Users, and items, of the contrastive loss of a step.")
    temperature: float = setting(0.1, above=0, doc="Divisor of the cosines of users and items.")
    length_exponent: float = setting(
        0.25,
        between=(0, 1),
        doc="Exponent of the length of a history by which the loss of its user is divided.",
    )
    alpha: float = setting(
        0.4,
        between=(0, 1),
        search="0..1",
        doc="Exponent of the users' degrees in the normalization of the graph, ½ in the paper.",
    )
    norm_exponent: float = setting(
        0.3,
        between=(0, 1),
        doc="Exponent of the norm of an item embedding in its score: 1 = dot product, 0 = cosine, as in training.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        check_between("contrast_layer", self.contrast_layer, 1, self.n_layers)

    def history_exponent(self) -> float:
        """``alpha``, as in the normalization of the graph."""
        return self.alpha

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The graph; tables of embeddings, their moments, layers, noise and gradients; the blocks of scores."""
        U, N, E, D = shape.users, shape.items, shape.events, self.embedding_dim
        negatives, views = min(self.n_negatives, N), min(self.contrast_batch_size, max(U, N))
        tables = 4 * D * (U + N) * 20
        start = singular_vectors_bytes(U, N, min(D, U, N)) + 32 * E if self.n_init_iter else 0
        blocks = contrastive_bytes(U, N, E, negatives, D) + contrastive_bytes(views, views, 0, views, D)
        return bipartite_graph_bytes(U, N, E) + 40 * E + tables + max(start, blocks) + 2**24

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "XSimGCLModel":
        """Train the embeddings. The result depends on ``run.seed``; training ends early when the time is over."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"XSimGCL with {self.embedding_dim} dimensions",
            "Lower embedding_dim or raise the limit.",
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            state = _TrainingState(self, X, build_user_item_graph(X, self.alpha), self.init_embeddings(X, run.rng()))
            if X.nnz:
                self.train(state.arrays, state.batches, run)
            return state.build_model()


@dataclasses.dataclass(frozen=True, eq=False)
class _Batch:
    """The sampled rows of a step."""

    users: Int64Array
    negatives: Int64Array
    user_views: Int64Array
    item_views: Int64Array


@dataclasses.dataclass(frozen=True, eq=False)
class _TrainingState:
    """State of a fit that every step needs."""

    settings: XSimGCL
    X: CSR
    graph: BipartiteGraph
    arrays: Mapping[str, Float32Array]

    def batches(self, rng: np.random.Generator) -> Iterator[Step]:
        (U, N), views = self.X.shape, self.settings.contrast_batch_size
        interacted = np.unique(self.X.indices)
        for users in self.settings.sample_batches(U, rng):
            batch = _Batch(
                users=users,
                negatives=self.settings.sample_negatives(N, rng),
                user_views=rng.choice(users, min(views, len(users)), replace=False),
                item_views=rng.choice(interacted, min(views, len(interacted)), replace=False),
            )
            seed = int(rng.integers(2**63))
            yield functools.partial(self.gradients, batch, np.random.default_rng(seed))

    def gradients(self, batch: _Batch, rng: np.random.Generator) -> tuple[float, Mapping[str, Float32Array]]:
        """The loss of the edges of some users plus the contrastive loss, and the gradients by all parameters."""
        mean, view = self.forward(rng)
        settings = self.settings
        all_users = len(batch.users) == self.X.shape[0]
        edges = self.graph.edges if all_users else BipartiteEdges.from_matrix(self.X[batch.users])
        loss, *d_mean = edge_softmax(
            edges,
            *mean,
            batch.users,
            batch.negatives,
            temperature=settings.temperature,
            length_exponent=settings.length_exponent,
        )
        d_view = np.zeros_like(mean[0]), np.zeros_like(mean[1])
        if settings.contrast_weight:
            for side, rows in enumerate((batch.user_views, batch.item_views)):
                loss += self._add_contrastive(rows, mean[side], view[side], d_mean[side], d_view[side])
        d_users, d_items = self.backward((d_mean[0], d_mean[1]), d_view)
        return loss, {"users": d_users, "items": d_items}

    def forward(self, rng: np.random.Generator | None) -> tuple[_Pair, _Pair]:
        """The mean of the layers and layer ``contrast_layer``, of users and of items; with noise where ``rng`` is given."""
        settings = self.settings
        users, items = self.arrays["users"], self.arrays["items"]
        sums = np.zeros_like(users), np.zeros_like(items)
        view = users, items
        for layer in range(1, settings.n_layers + 1):
            users, items = self.graph.propagate_to_rows(items), self.graph.propagate_to_columns(users)
            if rng is not None and settings.noise:
                users, items = (_add_noise(each, settings.noise, rng) for each in (users, items))
            sums = sums[0] + users, sums[1] + items
            view = (users, items) if layer == settings.contrast_layer else view
        share = np.float32(1 / settings.n_layers)
        return (share * sums[0], share * sums[1]), view

    def backward(self, d_mean: _Pair, d_view: _Pair) -> _Pair:
        """The gradients by the initial embeddings: Σ over layers k of Aᵏ times the gradient by layer k, from the last layer down."""
        share = np.float32(1 / self.settings.n_layers)
        users, items = np.zeros_like(d_mean[0]), np.zeros_like(d_mean[1])
        for layer in range(self.settings.n_layers, 0, -1):
            users, items = users + share * d_mean[0], items + share * d_mean[1]
            if layer == self.settings.contrast_layer:
                users, items = users + d_view[0], items + d_view[1]
            users, items = self.graph.propagate_to_rows(items), self.graph.propagate_to_columns(users)
        return users, items

    def _add_contrastive(
        self, rows: Int64Array, mean: Float32Array, view: Float32Array, d_mean: Float32Array, d_view: Float32Array
    ) -> float:
        """Add the gradients of the contrastive loss of both views of ``rows``, and return the loss."""
        weight = np.float32(self.settings.contrast_weight)
        one, one_lengths = normalize_rows(mean[rows])
        other, other_lengths = normalize_rows(view[rows])
        found = info_nce(one, other, self.settings.contrast_temperature)
        d_mean[rows] += weight * normalize_rows_backward(found.rows, one, one_lengths)
        d_view[rows] += weight * normalize_rows_backward(found.columns, other, other_lengths)
        return float(weight) * found.loss

    def build_model(self) -> "XSimGCLModel":
        """The convolved embeddings without noise, and the vectors that a history sums."""
        settings = self.settings
        (users, items), _ = self.forward(None)
        # Layers 1 … K of a user are sums over layers 0 … K − 1 of the items.
        shares = np.full(settings.n_layers, 1 / settings.n_layers, np.float32)
        convolved = self.graph.sum_layers(self.arrays["users"], self.arrays["items"], shares)[1]
        sources = convolved * inverse_power(weighted_degrees(self.X)[1], 0.5)[:, None].astype(np.float32)
        unit, lengths = normalize_rows(items)
        items = unit * lengths ** np.float32(settings.norm_exponent)
        return XSimGCLModel(
            settings, users, items, sources @ fit_fold_in_map(self.graph.propagate_to_rows(convolved), users)
        )


def _add_noise(vectors: Float32Array, size: float, rng: np.random.Generator) -> Float32Array:
    """Add noise of norm ``size`` with the signs of the vectors."""
    noise, _ = normalize_rows(rng.random(vectors.shape, dtype=np.float32))
    return np.asarray(vectors + np.float32(size) * np.copysign(noise, vectors) * (vectors != 0), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class XSimGCLModel(GraphVectors):
    """A fitted `XSimGCL`."""

    settings: XSimGCL
