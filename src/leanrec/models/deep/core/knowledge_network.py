"""Training on histories and a knowledge graph: vectors of nodes, relations and intents."""

import numpy as np
import torch
from torch import Tensor, nn

from leanrec.features.knowledge import KnowledgeGraph
from leanrec.models.deep.core.history_training import HistoryQueries, ItemTables, init_bias, pool_histories
from leanrec.models.deep.core.settings import HistorySettings
from leanrec.nn.dropout import dropout
from leanrec.nn.relation_layers import RelationLayers

__all__ = ["KnowledgeNetwork"]


class KnowledgeNetwork(nn.Module):
    """Nodes are items, then entities. Items without interactions have no vector of their own, and share one bias."""

    def __init__(self, settings: HistorySettings, n_intents: int, graph: KnowledgeGraph, counts: np.ndarray) -> None:
        super().__init__()
        self.settings = settings
        self.n_items = len(counts)
        neighbors = graph.items.append(graph.entities)
        node = np.where(neighbors.node >= 0, neighbors.node, self.n_items - 1 - neighbors.node)
        self.layers = RelationLayers(neighbors.indptr, neighbors.relation, node.astype(np.int32), settings.n_layers)
        n_nodes, n_relations, width = len(neighbors.indptr) - 1, 2 * graph.n_relations, settings.embedding_dim
        self.nodes = nn.Embedding(n_nodes, width)
        nn.init.normal_(self.nodes.weight, std=0.1)
        self.relations = nn.Parameter(1 + 0.1 * torch.randn(n_relations, width))
        self.mix = nn.Parameter(0.1 * torch.randn(n_intents if n_relations and settings.n_layers else 0, n_relations))
        unknown = np.float32(np.log(0.5) - np.log(counts.mean() + 0.5))
        self.bias = nn.Parameter(torch.from_numpy(np.append(init_bias(counts), unknown)))
        is_active = counts > 0
        has_vector = np.concatenate([is_active, np.ones(n_nodes - self.n_items, np.bool_)])
        bias_row = np.where(is_active, np.arange(self.n_items), self.n_items)
        self.register_buffer("has_vector", torch.from_numpy(has_vector.astype(np.float32)[:, None]), persistent=False)
        self.register_buffer("bias_row", torch.from_numpy(bias_row), persistent=False)
        self.has_vector: Tensor
        self.bias_row: Tensor

    def item_tables(self) -> ItemTables:
        """The current item vectors."""
        vectors = self._propagate()[0][: self.n_items]
        return ItemTables(vectors, vectors, self.bias[self.bias_row])

    def _propagate(self) -> tuple[Tensor, Tensor]:
        """Sums of the node states over all layers, and over all but the last."""
        own = self.nodes.weight * self.has_vector
        if self.training and self.settings.node_dropout:
            keep = torch.rand(len(own), 1, device=own.device) >= self.settings.node_dropout
            own = own * keep / (1 - self.settings.node_dropout)
        sums: tuple[Tensor, Tensor] = self.layers(own, self.relations, self.settings.dropout)
        return sums

    def encode_queries(self, queries: HistoryQueries, items: ItemTables) -> Tensor:  # noqa: ARG002 - the sums suffice
        """(P, D) gated user vectors."""
        pooled = pool_histories(queries, self.settings.pooling_exponent)
        user = dropout(pooled, self.settings.dropout, self.training)
        intents = self._intents()
        if not len(intents):
            return user
        attention = torch.softmax(user @ intents.T / self.settings.embedding_dim**0.5, 1)
        return user * (attention @ intents)

    def _intents(self) -> Tensor:
        """(K, D) intents, each a mix of the relations."""
        return torch.softmax(self.mix, 1) @ self.relations if len(self.mix) else self.relations[:0]

    def export_arrays(self) -> dict[str, Tensor]:
        """The arrays of the fitted model."""
        vectors, messages = self._propagate()
        bias = self.bias[self.bias_row][:, None]
        n = self.n_items
        return {
            "items": torch.cat([vectors[:n], bias], 1),
            "item_messages": messages[:n],
            "entity_messages": messages[n:],
            "relations": self.relations,
            "intents": self._intents(),
            "unknown_bias": self.bias[-1:],
        }
