"""Relational message passing over a knowledge graph."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.nn.dropout import dropout
from leanrec.types import Int32Array

__all__ = ["RelationLayers"]


class RelationLayers(nn.Module):
    """x_v ← mean over the links (r, w) of v of e_r ⊙ x_w in each layer, as in KGIN (Wang et al., WWW 2021).

    A layer costs O(pairs · D + links · D): each product of a relation and a node is computed once, however many nodes it
    is sent to.
    """

    def __init__(self, indptr: np.ndarray, relation: Int32Array, node: Int32Array, n_layers: int) -> None:
        """The links of node v are ``indptr[v]:indptr[v + 1]`` of ``relation`` and ``node``; each link is given in both directions."""
        super().__init__()
        self.n_layers = n_layers if len(node) else 0
        key = relation.astype(np.int64) * (len(indptr) - 1) + node
        pairs, position = np.unique(key, return_inverse=True)
        # The graph is part of the data, so checkpoints leave it out.
        for name, array in (
            ("pair_relation", pairs // max(1, len(indptr) - 1)),
            ("pair_node", pairs % max(1, len(indptr) - 1)),
            ("position", position),
            ("starts", indptr[:-1]),
        ):
            self.register_buffer(name, torch.from_numpy(array.astype(np.int64)), persistent=False)
        self.pair_relation: Tensor
        self.pair_node: Tensor
        self.position: Tensor
        self.starts: Tensor

    def forward(self, nodes: Tensor, relations: Tensor, dropout_rate: float = 0.0) -> tuple[Tensor, Tensor]:
        """(M, D) sums of the node states over all layers, and over all but the last."""
        total, previous = nodes, nodes
        x = nodes
        for _ in range(self.n_layers):
            previous = total
            messages = F.embedding(self.pair_node, x) * F.embedding(self.pair_relation, relations)
            x = dropout(F.embedding_bag(self.position, messages, self.starts, mode="mean"), dropout_rate, self.training)
            total = total + x
        return total, previous
