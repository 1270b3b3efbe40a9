"""LightGCN: linear graph convolution of user and item embeddings.

He, Deng, Wang, Li, Zhang & Wang, "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation",
SIGIR 2020; with the sampled softmax of Wu et al., "On the Effectiveness of Sampled Softmax Loss for Item Recommendation",
TOIS 2024.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping

import numpy as np

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.finiteness import require_finite
from leanrec.kernels.graph.propagation import BipartiteEdges, BipartiteGraph, bipartite_graph_bytes, sample_masked_edges
from leanrec.kernels.graph.spectral import inverse_power, singular_vectors_bytes, weighted_degrees
from leanrec.kernels.sgd.contrastive import contrastive_bytes, normalize_rows, rescale_rows
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
from leanrec.settings import check_at_least, check_settings, setting
from leanrec.types import CSR, Float32Array, Int64Array

__all__ = ["LightGCN", "LightGCNModel"]


@dataclasses.dataclass(frozen=True)
class LightGCN(GraphTraining):
    """Scores u · v with (u, v) = mean over layers k of Aᵏ (u₀, v₀), where only u₀ and v₀ are trained.

    A is the adjacency matrix normalized by degrees. The convolution is linear and symmetric, so that it is its own
    gradient and a step costs two convolutions and matrix products. Embeddings are initialized with singular vectors. In
    each step a share of the edges of its users is removed from the graph and predicted with a softmax against negatives
    that all users of the step share.

    By default u₀ = 0 and layer 0 is left out: the embedding of a user, of the fit or new, is computed from the history.
    The paper's model is ``learn_user_embeddings=True, include_layer_0=True, mask_ratio=0``.

    When to use: sparse logs where embeddings are to be learned, without torch.

    Cost: a step O(2 n_layers · E · D + batch_size · n_negatives · D), with ``learn_user_embeddings`` twice the convolutions, an
    epoch U / batch_size steps; memory ``fit_bytes``; a query O(L · D + N · D); the model 8 N · D bytes, with
    ``learn_user_embeddings`` 4 U · D more.
    """

    epochs: int = setting(100)
    n_layers: int = setting(2, at_least=0, doc="Number of graph convolutions.")
    learn_user_embeddings: bool = setting(
        False, doc="Train user embeddings; False = users are the convolution of their items."
    )
    include_layer_0: bool = setting(
        False, doc="Whether layer 0, the trained embeddings, is part of the mean of the layers."
    )
    mask_ratio: float = setting(
        0.6,
        between=(0, 0.95),
        doc=(
            "Share of the edges of a step's users that are removed from the graph and predicted; 0 = all are predicted, "
            "with the full graph."
        ),
    )
    temperature: float = setting(0.06, above=0, doc="Divisor of the scores; smaller values weight hard negatives more.")
    length_exponent: float = setting(
        0.25,
        between=(0, 1),
        doc=(
            "Exponent of the length of a history by which the loss of its user is divided: 0 = every interaction has the "
            "same weight, 1 = every user has."
        ),
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
        doc="Exponent of the norm of an item embedding in its score: 1 = dot product, 0 = cosine.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        # Without layer 0, a convolution of item embeddings alone reaches items only after two layers.
        check_at_least("n_layers", self.n_layers, 2 - self.learn_user_embeddings - self.include_layer_0)

    def history_exponent(self) -> float:
        """``alpha``, as in the normalization of the graph."""
        return self.alpha

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The graph; tables of embeddings, their moments, layers and gradients; a block of scores."""
        U, N, E, D = shape.users, shape.items, shape.events, self.embedding_dim
        negatives = min(self.n_negatives, N)
        tables = 4 * D * (U + N) * 14
        start = singular_vectors_bytes(U, N, min(D, U, N)) + 32 * E if self.n_init_iter else 0
        step = contrastive_bytes(U, N, E, negatives, D) + 40 * E
        return bipartite_graph_bytes(U, N, E) + 40 * E + tables + max(start, step) + 2**24

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "LightGCNModel":
        """Train the embeddings. The result depends on ``run.seed``; training ends early when the time is over."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"LightGCN with {self.embedding_dim} dimensions",
            "Lower embedding_dim or raise the limit.",
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            arrays = self.init_embeddings(X, run.rng())
            if not self.learn_user_embeddings:
                del arrays["users"]
            state = _TrainingState(self, X, build_user_item_graph(X, self.alpha), arrays)
            if X.nnz:
                self.train(arrays, state.batches, run)
            return state.build_model()

    def layer_weights(self) -> Float32Array:
        """(n_layers + 1,) weight of each layer in the mean."""
        shares = np.ones(self.n_layers + 1, np.float32)
        shares[0] = self.include_layer_0
        return np.asarray(shares / max(1, shares.sum()), dtype=np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class _TrainingState:
    """State of a fit that every step needs."""

    settings: LightGCN
    X: CSR
    graph: BipartiteGraph
    arrays: Mapping[str, Float32Array]

    def batches(self, rng: np.random.Generator) -> Iterator[Step]:
        U, N = self.X.shape
        for users in self.settings.sample_batches(U, rng):
            negatives = self.settings.sample_negatives(N, rng)
            targets, masked = self.X[users], None
            if self.settings.mask_ratio:
                targets, masked = sample_masked_edges(self.X, users, self.settings.mask_ratio, rng)
            yield functools.partial(self.gradients, users, targets, masked, negatives)

    def gradients(
        self, users: Int64Array, targets: CSR, masked: Int64Array | None, negatives: Int64Array
    ) -> tuple[float, Mapping[str, Float32Array]]:
        """The mean loss of the targets (b, N) of some users, and its gradients by all parameters."""
        settings = self.settings
        graph = self.graph if masked is None else self.graph.without_edges(masked)
        loss, d_users, d_items = edge_softmax(
            BipartiteEdges.from_matrix(targets),
            *self._forward(graph),
            users,
            negatives,
            temperature=settings.temperature,
            length_exponent=settings.length_exponent,
            norm_exponent=settings.norm_exponent,
        )
        return loss, self._backward(graph, d_users, d_items)

    def _forward(self, graph: BipartiteGraph, shares: Float32Array | None = None) -> tuple[Float32Array, Float32Array]:
        shares = self.settings.layer_weights() if shares is None else shares
        if "users" in self.arrays:
            return graph.sum_layers(self.arrays["users"], self.arrays["items"], shares)
        return graph.sum_layers_from_columns(self.arrays["items"], shares)

    def _backward(
        self, graph: BipartiteGraph, d_users: Float32Array, d_items: Float32Array
    ) -> Mapping[str, Float32Array]:
        shares = self.settings.layer_weights()
        if "users" in self.arrays:
            d_users, d_items = graph.sum_layers(d_users, d_items, shares)
            return {"users": d_users, "items": d_items}
        return {"items": graph.sum_layers_from_columns_backward(d_users, d_items, shares)}

    def build_model(self) -> "LightGCNModel":
        """The convolved embeddings, and the vectors that a history sums."""
        settings, graph, shares = self.settings, self.graph, self.settings.layer_weights()
        users, items = self._forward(graph)
        # Layers 1 … K of a user are sums over layers 0 … K − 1 of the items; without layers an item is the sum of its users.
        convolved = self._forward(graph, shares[1:])[1] if settings.n_layers else graph.propagate_to_columns(users)
        sources = convolved * inverse_power(weighted_degrees(self.X)[1], 0.5)[:, None].astype(np.float32)
        if settings.learn_user_embeddings:
            sources = sources @ fit_fold_in_map(graph.propagate_to_rows(convolved), users)
        unit, lengths = normalize_rows(items)
        kept = users if settings.learn_user_embeddings else users[:0]
        return LightGCNModel(settings, kept, rescale_rows(unit, lengths, settings.norm_exponent, 1.0), sources)


@dataclasses.dataclass(frozen=True, eq=False)
class LightGCNModel(GraphVectors):
    """A fitted `LightGCN`. Without ``learn_user_embeddings`` it has no user embeddings."""

    settings: LightGCN
