"""Aggregation over a knowledge graph: what a node is tied to, seen through the relation that ties it."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.nn.dropout import dropout
from leanrec.types import Int32Array

__all__ = ["RelationLayers"]


class RelationLayers(nn.Module):
    """x_v ← mean over the links (r, w) of v of e_r ⊙ x_w, layer after layer (Wang et al., WWW 2021, eq. 8 and 10).

    A layer costs O(pairs · D + links · D): the product of a relation and a node is made once, however many nodes it
    reaches.
    """

    def __init__(self, indptr: np.ndarray, relation: Int32Array, node: Int32Array, layers: int) -> None:
        """Links of node v are ``indptr[v]:indptr[v + 1]`` of ``relation`` and ``node``, in both directions."""
        super().__init__()
        self.layers = layers if len(node) else 0
        key = relation.astype(np.int64) * (len(indptr) - 1) + node
        pairs, place = np.unique(key, return_inverse=True)
        # The graph follows from the data, so it does not belong into checkpoints.
        for name, array in (
            ("pair_relation", pairs // max(1, len(indptr) - 1)),
            ("pair_node", pairs % max(1, len(indptr) - 1)),
            ("place", place),
            ("starts", indptr[:-1]),
        ):
            self.register_buffer(name, torch.from_numpy(array.astype(np.int64)), persistent=False)
        self.pair_relation: Tensor
        self.pair_node: Tensor
        self.place: Tensor
        self.starts: Tensor

    def forward(self, nodes: Tensor, relations: Tensor, drop: float = 0.0) -> tuple[Tensor, Tensor]:
        """What a node is and all that reaches it: Σ over all layers; and the same without the last one. (M, D) each."""
        total, before = nodes, nodes
        x = nodes
        for _ in range(self.layers):
            before = total
            passed = F.embedding(self.pair_node, x) * F.embedding(self.pair_relation, relations)
            x = dropout(F.embedding_bag(self.place, passed, self.starts, mode="mean"), drop, self.training)
            total = total + x
        return total, before
