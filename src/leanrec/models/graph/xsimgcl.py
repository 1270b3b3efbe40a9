"""XSimGCL: LightGCN whose layers are shaken a little, and told to agree all the same.

Yu, Xia, Chen, Cui, Hung & Yin, "XSimGCL: Towards Extremely Simple Graph Contrastive Learning for Recommendation",
IEEE Transactions on Knowledge and Data Engineering 2023.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.kernels.graph.propagation import BipartiteEdges, BipartiteGraph, bipartite_graph_bytes
from leanrec.kernels.graph.spectral import inverse_power, singular_vectors_bytes, weighted_degrees
from leanrec.kernels.sgd.contrastive import contrastive_bytes, info_nce, normalize_rows, normalize_rows_backward
from leanrec.kernels.weighting import weight_interactions
from leanrec.models.graph.core.training import GraphTraining, GraphVectors, Step, bridge, edge_softmax, graph_of
from leanrec.run import Run
from leanrec.settings import check_between, check_settings, setting
from leanrec.types import CSR, Float32Array, Int64Array

__all__ = ["XSimGCL", "XSimGCLModel"]

_Pair = tuple[Float32Array, Float32Array]


@dataclasses.dataclass(frozen=True)
class XSimGCL(GraphTraining):
    """Scores u · v, the mean of layers 1 to K of the graph over a learnt start, as in LightGCN without its layer 0.

    In training each layer gets noise of length ``noise`` with the signs of its vectors. One pass gives both views:
    the mean of all layers and layer ``contrast_layer`` of the same node must be told from those of ``contrast_batch_size`` other nodes.
    The noise is a constant for the gradient, which therefore is the same pass over the graph the other way.

    Cost: a step O(4 layers · E · D + batch · negatives · D + views² · D); memory ``fit_bytes``; a query O(L · D + N · D);
    the model 4 D (U + 2 N) bytes.
    """

    epochs: int = setting(100)
    n_layers: int = setting(2, at_least=1, doc="Times that vectors pass over the graph.")
    noise: float = setting(0.1, at_least=0, doc="Length of the noise added to each vector in each layer.")
    contrast_layer: int = setting(1, at_least=1, doc="The layer that is compared with the mean of all.")
    contrast_weight: float = setting(0.1, at_least=0, doc="Weight of that comparison.")
    contrast_temperature: float = setting(0.2, above=0, doc="Cosines of views are divided by it.")
    contrast_batch_size: int = setting(1024, at_least=1, doc="Users, and items, that are compared in a step.")
    temperature: float = setting(0.1, above=0, doc="Cosines of users and items are divided by it.")
    length_exponent: float = setting(
        0.25,
        between=(0, 1),
        doc="Power of the length of a history by which its user's part of the loss is divided.",
    )
    alpha: float = setting(
        0.4,
        between=(0, 1),
        search="0..1",
        doc="Power of the users' degrees in the graph, ½ in the paper.",
    )
    norm_exponent: float = setting(
        0.3,
        between=(0, 1),
        doc="Power of the length of an item's vector that its score keeps: 1 the product, 0 the cosine.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        check_between("contrast_layer", self.contrast_layer, 1, self.n_layers)

    def power_of_histories(self) -> float:
        """``alpha``."""
        return self.alpha

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The graph; the tables of vectors: learnt, their moments, layers, noise and gradients; the stretches of scores."""
        U, N, E, D = shape.users, shape.items, shape.events, self.embedding_dim
        negatives, views = min(self.n_negatives, N), min(self.contrast_batch_size, max(U, N))
        tables = 4 * D * (U + N) * 20
        start = singular_vectors_bytes(U, N, min(D, U, N)) + 32 * E if self.n_init_iter else 0
        stretches = contrastive_bytes(U, N, E, negatives, D) + contrastive_bytes(views, views, 0, views, D)
        return bipartite_graph_bytes(U, N, E) + 40 * E + tables + max(start, stretches) + 2**24

    def fit(self, data: Dataset, run: Run = Run()) -> "XSimGCLModel":
        """Learn the vectors. The result follows from ``run.seed``; an end of the time keeps what is there."""
        run.require_memory(self.fit_bytes(data.shape), f"XSimGCL of width {self.embedding_dim}", "Choose a smaller width.")
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            work = _Work(self, X, graph_of(X, self.alpha), self.start(X, run.rng()))
            if X.nnz:
                self.learn(work.arrays, work.batches, run)
            return work.model()


@dataclasses.dataclass(frozen=True, eq=False)
class _Batch:
    """What is drawn for a step."""

    users: Int64Array
    negatives: Int64Array
    user_views: Int64Array
    item_views: Int64Array


@dataclasses.dataclass(frozen=True, eq=False)
class _Work:
    """What every step of a fit needs."""

    settings: XSimGCL
    X: CSR
    graph: BipartiteGraph
    arrays: Mapping[str, Float32Array]

    def batches(self, rng: np.random.Generator) -> Iterator[Step]:
        (U, N), views = self.X.shape, self.settings.contrast_batch_size
        touched = np.unique(self.X.indices)
        for users in self.settings.steps(U, rng):
            batch = _Batch(
                users=users,
                negatives=self.settings.drawn(N, rng),
                user_views=rng.choice(users, min(views, len(users)), replace=False),
                item_views=rng.choice(touched, min(views, len(touched)), replace=False),
            )
            seed = int(rng.integers(2**63))
            yield functools.partial(self.gradients, batch, np.random.default_rng(seed))

    def gradients(self, batch: _Batch, rng: np.random.Generator) -> tuple[float, Mapping[str, Float32Array]]:
        """The loss of the edges of some users and of the agreement of views, and the gradients by all that is learnt."""
        mean, view = self.forward(rng)
        settings = self.settings
        all_of_them = len(batch.users) == self.X.shape[0]
        links = self.graph.links if all_of_them else BipartiteEdges.of(self.X[batch.users])
        loss, *d_mean = edge_softmax(
            links, *mean, batch.users, batch.negatives, temperature=settings.temperature, balance=settings.length_exponent
        )
        d_view = np.zeros_like(mean[0]), np.zeros_like(mean[1])
        if settings.contrast_weight:
            for side, rows in enumerate((batch.user_views, batch.item_views)):
                loss += self._agree(rows, mean[side], view[side], d_mean[side], d_view[side])
        d_users, d_items = self.backward((d_mean[0], d_mean[1]), d_view)
        return loss, {"users": d_users, "items": d_items}

    def forward(self, rng: np.random.Generator | None) -> tuple[_Pair, _Pair]:
        """The mean of the layers and the layer of contrast, of users and of items; with noise from ``rng``."""
        settings = self.settings
        users, items = self.arrays["users"], self.arrays["items"]
        sums = np.zeros_like(users), np.zeros_like(items)
        view = users, items
        for layer in range(1, settings.n_layers + 1):
            users, items = self.graph.to_rows(items), self.graph.to_columns(users)
            if rng is not None and settings.noise:
                users, items = (_shaken(each, settings.noise, rng) for each in (users, items))
            sums = sums[0] + users, sums[1] + items
            view = (users, items) if layer == settings.contrast_layer else view
        share = np.float32(1 / settings.n_layers)
        return (share * sums[0], share * sums[1]), view

    def backward(self, d_mean: _Pair, d_view: _Pair) -> _Pair:
        """The gradients by the start: Σ over layers k of Aᵏ times the gradient by layer k, from the last layer down."""
        share = np.float32(1 / self.settings.n_layers)
        users, items = np.zeros_like(d_mean[0]), np.zeros_like(d_mean[1])
        for layer in range(self.settings.n_layers, 0, -1):
            users, items = users + share * d_mean[0], items + share * d_mean[1]
            if layer == self.settings.contrast_layer:
                users, items = users + d_view[0], items + d_view[1]
            users, items = self.graph.to_rows(items), self.graph.to_columns(users)
        return users, items

    def _agree(
        self, rows: Int64Array, mean: Float32Array, view: Float32Array, d_mean: Float32Array, d_view: Float32Array
    ) -> float:
        """Adds the gradients of the agreement of both views of ``rows``; its loss."""
        weight = np.float32(self.settings.contrast_weight)
        one, one_lengths = normalize_rows(mean[rows])
        other, other_lengths = normalize_rows(view[rows])
        found = info_nce(one, other, self.settings.contrast_temperature)
        d_mean[rows] += weight * normalize_rows_backward(found.rows, one, one_lengths)
        d_view[rows] += weight * normalize_rows_backward(found.columns, other, other_lengths)
        return float(weight) * found.loss

    def model(self) -> "XSimGCLModel":
        """The vectors after their last pass, without noise, and what a history sums."""
        settings = self.settings
        (users, items), _ = self.forward(None)
        # A user's layers 1 … K are sums over the items' layers 0 … K − 1.
        shares = np.full(settings.n_layers, 1 / settings.n_layers, np.float32)
        passed = self.graph.layers(self.arrays["users"], self.arrays["items"], shares)[1]
        sources = passed * inverse_power(weighted_degrees(self.X)[1], 0.5)[:, None].astype(np.float32)
        unit, lengths = normalize_rows(items)
        items = unit * lengths ** np.float32(settings.norm_exponent)
        return XSimGCLModel(settings, users, items, sources @ bridge(self.graph.to_rows(passed), users))


def _shaken(vectors: Float32Array, size: float, rng: np.random.Generator) -> Float32Array:
    """The vectors with noise of length ``size`` in their own orthant."""
    noise, _ = normalize_rows(rng.random(vectors.shape, dtype=np.float32))
    return np.asarray(vectors + np.float32(size) * np.copysign(noise, vectors) * (vectors != 0), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class XSimGCLModel(GraphVectors):
    """A fitted XSimGCL."""

    settings: XSimGCL
