"""UltraGCN: a loss that approximates the limit of infinitely many graph convolutions.

Mao, Zhu, Xiao, Lu, Wang & He, "UltraGCN: Ultra Simplification of Graph Convolutional Networks for Recommendation",
CIKM 2021.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.finiteness import require_finite
from leanrec.kernels.graph.propagation import BipartiteEdges, BipartiteGraph, bipartite_graph_bytes
from leanrec.kernels.graph.spectral import (
    inverse_power,
    scale_rows_and_columns,
    singular_vectors_bytes,
    weighted_degrees,
)
from leanrec.kernels.sgd.contrastive import LossGradients, contrastive_bytes, sampled_logistic
from leanrec.kernels.similarity.top_similar import top_similar, top_similar_bytes
from leanrec.kernels.weighting import weight_interactions
from leanrec.models.graph.core.training import GraphTraining, GraphVectors, Step, fit_fold_in_map
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int64Array

__all__ = ["UltraGCN", "UltraGCNModel"]


@dataclasses.dataclass(frozen=True)
class UltraGCN(GraphTraining):
    """Scores u · v, trained with a binary cross-entropy whose weights are the limit of LightGCN's layers.

    With β = √(d_u + 1) / (d_u √(d_i + 1)), an interaction has weight β, and so does each of its shared negatives, times
    ``negative_weight`` over their number. The ``n_neighbors`` most similar items of an item are further positives, with
    weight ω · ``item_item_weight`` / √d_u; without the √d_u, as in the paper, long histories have too much weight. The
    unweighted cross-entropy that the paper adds is left out. The weights are a sparse matrix computed before training.

    When to use: as `LightGCN`, without convolutions in training.

    Cost: fit O(Σ_u L_u²) for the neighbors, then a step O(batch_size · (L · n_neighbors + n_negatives) · D);
    memory ``fit_bytes``; a query O(L · D + N · D); the model 4 D (U + 2 N) bytes.
    """

    COST: ClassVar[str] = "minutes"

    epochs: int = setting(50)
    batch_size: int = setting(4096)
    learning_rate: float = setting(0.001, search="0.0001..0.01:log")
    n_negatives: int = setting(1024)
    negative_weight: float = setting(10.0, above=0, doc="Total weight of the negatives of an interaction.")
    n_neighbors: int = setting(
        20,
        at_least=0,
        search="2..80:log",
        doc="Number of similar items of each item, by common users; 0 = none.",
    )
    item_item_weight: float = setting(1.0, at_least=0, doc="Weight of the similar items of an interaction.")
    l2: float = setting(
        0.0,
        at_least=0,
        doc="L2 penalty on all embeddings, ½ · l2 · |v|², in the sum of the losses of all users.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The weights of interactions and of their neighbors; tables of embeddings; a block of scores."""
        U, N, E, D = shape.users, shape.items, shape.events, self.embedding_dim
        edges = E * (1 + min(self.n_neighbors, N))
        tables = 4 * D * (U + N) * 13
        start = singular_vectors_bytes(U, N, min(D, U, N)) + 32 * E if self.n_init_iter else 0
        blocks = contrastive_bytes(U, N, edges, min(self.n_negatives, N), D) + bipartite_graph_bytes(U, N, edges)
        lists = top_similar_bytes(N, N, self.n_neighbors, Run().n_threads())
        return bipartite_graph_bytes(U, N, E) + 40 * E + 40 * edges + tables + max(start, blocks, lists) + 2**24

    @require_finite
    def fit(self, data: Dataset, run: Run = Run()) -> "UltraGCNModel":
        """Train the embeddings. The result depends on ``run.seed``; training ends early when the time is over."""
        run.require_memory(
            self.fit_bytes(data.shape),
            f"UltraGCN with {self.embedding_dim} dimensions",
            f"Lower embedding_dim{' or n_neighbors' if self.n_neighbors else ''}, or raise the limit.",
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            of_users, of_items = weighted_degrees(X)
            arrays = self.init_embeddings(X, run.rng())
            if X.nnz:
                state = _TrainingState(self, self._compute_targets(X, of_users, of_items), of_users, of_items, arrays)
                self.train(arrays, state.batches, run)
            return self._build_model(X, of_users, of_items, arrays)

    def _compute_targets(self, X: CSR, of_users: np.ndarray, of_items: np.ndarray) -> CSR:
        """(U, N) weights of the positives: β for interactions, ω / √d_u for their neighbors."""
        left = np.sqrt(of_users + 1) * inverse_power(of_users, 1.0)
        interactions = scale_rows_and_columns(X, left, inverse_power(of_items + 1, 0.5))
        if not (self.n_neighbors and self.item_item_weight):
            return interactions
        near = sp.csr_array(X @ self._find_neighbors(X)).astype(np.float32)
        near.data *= np.float32(self.item_item_weight) * np.repeat(inverse_power(of_users, 0.5), np.diff(near.indptr))
        targets: CSR = sp.csr_array(interactions + near)
        return targets

    def _find_neighbors(self, X: CSR) -> CSR:
        """(N, N) ω of the nearest neighbors of each item: G_ij / (g_i − G_ii) · √(g_i / g_j) with G = XᵀX, g its row sums.

        G_ij / √(g_i g_j) orders the neighbors of i equally, and is a product of columns of X divided by √g.
        """
        g = X.T @ np.asarray(X.sum(axis=1)).reshape(-1)
        similar = top_similar(
            scale_rows_and_columns(X, np.ones(X.shape[0]), inverse_power(g, 0.5)), self.n_neighbors, "dot"
        )
        diagonal = np.bincount(X.indices, weights=X.data.astype(np.float64) ** 2, minlength=X.shape[1])
        return scale_rows_and_columns(similar, g * inverse_power(np.maximum(g - diagonal, 0), 1.0), np.ones(X.shape[1]))

    def _build_model(
        self, X: CSR, of_users: np.ndarray, of_items: np.ndarray, arrays: Mapping[str, Float32Array]
    ) -> "UltraGCNModel":
        """The fitted model. In the limit a user is Σ β · items, which, mapped to the trained embeddings, embeds new users."""
        # An item without interactions was only ever a negative: its vector has no information about a user.
        by_item = np.where(of_items > 0, inverse_power(of_items + 1, 0.5), 0)
        sources = arrays["items"] * by_item[:, None].astype(np.float32)
        folded = BipartiteGraph.from_matrix(
            scale_rows_and_columns(X, inverse_power(of_users, 0.5), by_item)
        ).propagate_to_rows(arrays["items"])
        return UltraGCNModel(self, arrays["users"], arrays["items"], sources @ fit_fold_in_map(folded, arrays["users"]))


@dataclasses.dataclass(frozen=True, eq=False)
class _TrainingState:
    """State of a fit that every step needs."""

    settings: UltraGCN
    targets: CSR
    of_users: np.ndarray
    of_items: np.ndarray
    arrays: Mapping[str, Float32Array]

    def batches(self, rng: np.random.Generator) -> Iterator[Step]:
        U, N = self.targets.shape
        for users in self.settings.sample_batches(U, rng):
            yield functools.partial(self.gradients, users, self.settings.sample_negatives(N, rng))

    def gradients(self, users: Int64Array, negatives: Int64Array) -> tuple[float, Mapping[str, Float32Array]]:
        """The mean loss over the users of a step, and its gradients by all embeddings."""
        part = self.targets[users]
        weight = self.settings.negative_weight / len(negatives)
        active = self.of_users[users] > 0
        found = sampled_logistic(
            BipartiteEdges.from_matrix(part),
            self.arrays["users"][users],
            self.arrays["items"],
            negatives,
            positive_weights=part.data,
            row_weights=(active * np.sqrt(self.of_users[users] + 1)).astype(np.float32),
            negative_weights=(weight * inverse_power(self.of_items[negatives] + 1, 0.5)).astype(np.float32),
        )
        return self._add_l2(users, found)

    def _add_l2(self, users: Int64Array, found: LossGradients) -> tuple[float, Mapping[str, Float32Array]]:
        """Average over the users of the step, and add the L2 penalty of their embeddings and of their share of all items."""
        of_users, of_items = self.arrays["users"], self.arrays["items"]
        l2, mean = np.float32(self.settings.l2), np.float32(1 / max(1, len(users)))
        rows, share = of_users[users], np.float32(len(users) / max(1, len(of_users)))
        d_users = np.zeros_like(of_users)
        d_users[users] = mean * (found.rows + l2 * rows)
        d_items = mean * (found.columns + l2 * share * of_items)
        squares = float(np.vdot(rows, rows)) + float(share) * float(np.vdot(of_items, of_items))
        return (found.loss + float(l2) / 2 * squares) * float(mean), {"users": d_users, "items": d_items}


@dataclasses.dataclass(frozen=True, eq=False)
class UltraGCNModel(GraphVectors):
    """A fitted `UltraGCN`."""

    settings: UltraGCN

    def similarity_vectors(self) -> Float32Array:
        """(N, D) item vectors; 0 for an item without interactions."""
        return np.where(self.sources.any(axis=1, keepdims=True), self.items, np.float32(0))
