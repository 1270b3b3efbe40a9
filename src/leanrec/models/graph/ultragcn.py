"""UltraGCN: what endless passes over the graph would come to, as weights of a loss; nothing is passed on.

Mao, Zhu, Xiao, Lu, Wang & He, "UltraGCN: Ultra Simplification of Graph Convolutional Networks for Recommendation",
CIKM 2021.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping

import numpy as np
import scipy.sparse as sp

from leanrec.data.dataset import Dataset, DatasetShape
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
from leanrec.models.graph.core.training import GraphTraining, GraphVectors, Step, bridge
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.types import CSR, Float32Array, Int64Array

__all__ = ["UltraGCN", "UltraGCNModel"]


@dataclasses.dataclass(frozen=True)
class UltraGCN(GraphTraining):
    """Scores u · v, learnt by binary cross-entropy whose weights are the limit of LightGCN's layers.

    With β = √(d_u + 1) / (d_u √(d_i + 1)), an interaction counts β, and so does each of its shared negatives, times
    ``negative_weight`` over their number. An item's ``n_neighbors`` by users in common count ω · ``item_item_weight`` / √d_u as
    if they were touched too; the paper has no √d_u there, which weighs long histories down. These weights are a sparse matrix that is known before training, so a step is one pass over its rows.

    Cost: fit O(Σ_u L_u²) for the neighbours, then a step O(batch · (L · neighbours + negatives) · D); memory ``fit_bytes``; a
    query O(L · D + N · D); the model 4 D (U + 2 N) bytes.
    """

    epochs: int = setting(50)
    batch_size: int = setting(4096)
    learning_rate: float = setting(0.001, search="0.0001..0.01:log")
    n_negatives: int = setting(1024)
    negative_weight: float = setting(10.0, above=0, doc="What the negatives of an interaction weigh together.")
    n_neighbors: int = setting(
        20,
        at_least=0,
        search="2..80:log",
        doc="Items most like an item, by the users they share; 0 = none.",
    )
    item_item_weight: float = setting(1.0, at_least=0, doc="What an interaction's neighbours weigh beside it.")
    l2: float = setting(
        0.0,
        at_least=0,
        doc="Weight of half the squares of all vectors, in the sum of the losses of all users.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """The weights of interactions and of their neighbours; tables of vectors; a stretch of scores."""
        U, N, E, D = shape.users, shape.items, shape.events, self.embedding_dim
        edges = E * (1 + min(self.n_neighbors, N))
        tables = 4 * D * (U + N) * 13
        start = singular_vectors_bytes(U, N, min(D, U, N)) + 32 * E if self.n_init_iter else 0
        stretches = contrastive_bytes(U, N, edges, min(self.n_negatives, N), D) + bipartite_graph_bytes(U, N, edges)
        lists = top_similar_bytes(N, N, self.n_neighbors, Run().n_threads())
        return bipartite_graph_bytes(U, N, E) + 40 * E + 40 * edges + tables + max(start, stretches, lists) + 2**24

    def fit(self, data: Dataset, run: Run = Run()) -> "UltraGCNModel":
        """Learn the vectors. The result follows from ``run.seed``; an end of the time keeps what is there."""
        run.require_memory(
            self.fit_bytes(data.shape), f"UltraGCN of width {self.embedding_dim}", "Choose a smaller width or fewer neighbours."
        )
        with run.limit_threads():
            X = weight_interactions(data.interactions, self.weighting)
            of_users, of_items = weighted_degrees(X)
            arrays = self.start(X, run.rng())
            if X.nnz:
                work = _Work(self, self._targets(X, of_users, of_items), of_users, of_items, arrays)
                self.learn(arrays, work.batches, run)
            return self._model(X, of_users, of_items, arrays)

    def _targets(self, X: CSR, of_users: np.ndarray, of_items: np.ndarray) -> CSR:
        """(U, N): what counts as touched, and how much: interactions by β, neighbours of touched items by ω / √d_u."""
        left = np.sqrt(of_users + 1) * inverse_power(of_users, 1.0)
        touched = scale_rows_and_columns(X, left, inverse_power(of_items + 1, 0.5))
        if not (self.n_neighbors and self.item_item_weight):
            return touched
        near = sp.csr_array(X @ self._near(X)).astype(np.float32)
        near.data *= np.float32(self.item_item_weight) * np.repeat(inverse_power(of_users, 0.5), np.diff(near.indptr))
        targets: CSR = sp.csr_array(touched + near.astype(np.float32))
        targets.data = targets.data.astype(np.float32)
        return targets

    def _near(self, X: CSR) -> CSR:
        """(N, N) ω: the strongest neighbours of each item, G_ij / (g_i − G_ii) · √(g_i / g_j) with G = XᵀX, g its row sums.

        G_ij / √(g_i g_j) orders the neighbours of i alike, and is a product of columns of X divided by √g.
        """
        g = X.T @ np.asarray(X.sum(axis=1)).reshape(-1)
        even = top_similar(scale_rows_and_columns(X, np.ones(X.shape[0]), inverse_power(g, 0.5)), self.n_neighbors, "dot")
        own = np.bincount(X.indices, weights=X.data.astype(np.float64) ** 2, minlength=X.shape[1])
        return scale_rows_and_columns(even, g * inverse_power(np.maximum(g - own, 0), 1.0), np.ones(X.shape[1]))

    def _model(
        self, X: CSR, of_users: np.ndarray, of_items: np.ndarray, arrays: Mapping[str, Float32Array]
    ) -> "UltraGCNModel":
        """In the limit a user is Σ β · items: that, brought near to the learnt vectors, is the vector of a new user."""
        by_item = inverse_power(of_items + 1, 0.5)
        sources = arrays["items"] * by_item[:, None].astype(np.float32)
        folded = BipartiteGraph.of(scale_rows_and_columns(X, inverse_power(of_users, 0.5), by_item)).to_rows(arrays["items"])
        return UltraGCNModel(self, arrays["users"], arrays["items"], sources @ bridge(folded, arrays["users"]))


@dataclasses.dataclass(frozen=True, eq=False)
class _Work:
    """What every step of a fit needs."""

    settings: UltraGCN
    targets: CSR
    of_users: np.ndarray
    of_items: np.ndarray
    arrays: Mapping[str, Float32Array]

    def batches(self, rng: np.random.Generator) -> Iterator[Step]:
        U, N = self.targets.shape
        for users in self.settings.steps(U, rng):
            yield functools.partial(self.gradients, users, self.settings.drawn(N, rng))

    def gradients(self, users: Int64Array, negatives: Int64Array) -> tuple[float, Mapping[str, Float32Array]]:
        """The loss of some users over the number of them, and its gradients by all vectors."""
        part = self.targets[users]
        heavy = self.settings.negative_weight / len(negatives)
        active = self.of_users[users] > 0
        found = sampled_logistic(
            BipartiteEdges.of(part),
            self.arrays["users"][users],
            self.arrays["items"],
            negatives,
            positive=part.data,
            of_rows=(active * np.sqrt(self.of_users[users] + 1)).astype(np.float32),
            of_negatives=(heavy * inverse_power(self.of_items[negatives] + 1, 0.5)).astype(np.float32),
        )
        return self._shrunk(users, found)

    def _shrunk(self, users: Int64Array, found: LossGradients) -> tuple[float, Mapping[str, Float32Array]]:
        """The means over the users of the step, with the squares of their vectors and their share of those of all items."""
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
    """A fitted UltraGCN."""

    settings: UltraGCN
