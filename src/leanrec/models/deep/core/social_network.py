"""Training on histories and links between users: user vectors are propagated over the links."""

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.models.deep.core.history_training import HistoryQueries, ItemTables, init_bias, pool_histories
from leanrec.models.deep.core.settings import HistorySettings
from leanrec.nn.dropout import dropout
from leanrec.types import CSR

__all__ = ["SocialNetwork", "influence_matrices"]


def influence_matrices(links: CSR, n_layers: int) -> list[CSR]:
    """(U, U) for each hop: the share of each user that many links away in what reaches a user, without the user itself.

    Rows sum to one, to less if paths lead back, or to zero.
    """
    total = np.asarray(links.sum(axis=1)).ravel()
    row_total = np.repeat(total, np.diff(links.indptr))
    step = sp.csr_array((links.data / np.maximum(row_total, 1e-12), links.indices, links.indptr), shape=links.shape)
    hops, reach = [], step
    for hop in range(n_layers):
        reach = step if hop == 0 else sp.csr_array(reach @ step)
        without_self = sp.csr_array(reach - sp.diags_array(reach.diagonal()))
        without_self.eliminate_zeros()
        hops.append(without_self.astype(np.float32))
    return hops


class SocialNetwork(nn.Module):
    """User vectors from histories, propagated over the links between users; ``hops`` are ``influence_matrices``."""

    def __init__(self, settings: HistorySettings, histories: CSR, hops: list[CSR], counts: np.ndarray) -> None:
        super().__init__()
        self.settings, self.histories, self.hops = settings, histories, hops
        self.vectors = nn.Embedding(len(counts), settings.embedding_dim)
        nn.init.normal_(self.vectors.weight, std=0.1)
        # Weight of each dimension: of the user's own vector, then of those one hop away, two hops away …
        self.gates = nn.Parameter(torch.ones(1 + len(hops), settings.embedding_dim))
        self.bias = nn.Parameter(torch.from_numpy(init_bias(counts)))

    def item_tables(self) -> ItemTables:
        """The current item vectors."""
        return ItemTables(self.vectors.weight, self.vectors.weight, self.bias)

    def encode_queries(self, queries: HistoryQueries, items: ItemTables) -> Tensor:
        """(P, D) user vectors with those of the friends."""
        own = pool_histories(queries, self.settings.pooling_exponent) * self.gates[0]
        users, position = torch.unique_consecutive(queries.users, return_inverse=True)
        social = F.embedding(position, self._propagate(users.cpu().numpy(), items.inputs))
        if self.training and self.settings.node_dropout and self.hops:
            own = own * (torch.rand(len(own), 1, device=own.device) >= self.settings.node_dropout)
        return dropout(own + social, self.settings.dropout, self.training)

    def _propagate(self, users: np.ndarray, inputs: Tensor) -> Tensor:
        """(B, D) sums over the hops; vectors are computed only for the users that reach ``users``."""
        rows = [hop[users] for hop in self.hops]
        out = inputs.new_zeros(len(users), inputs.shape[1])
        sources = np.unique(np.concatenate([np.zeros(0, np.int64), *(row.indices for row in rows)])).astype(np.int64)
        if not len(sources):
            return out
        vectors = self._pool_users(sources, inputs)
        for row, gate in zip(rows, self.gates[1:], strict=True):
            positions = np.searchsorted(sources, row.indices)
            out = out + gate * _sum_rows(vectors, row.indptr, positions, row.data)
        return out

    def _pool_users(self, users: np.ndarray, inputs: Tensor) -> Tensor:
        histories = self.histories[users]
        lengths = np.diff(histories.indptr)
        scale = np.maximum(lengths, 1.0) ** -self.settings.pooling_exponent
        return _sum_rows(inputs, histories.indptr, histories.indices, np.repeat(scale, lengths))

    def export_arrays(self) -> dict[str, Tensor]:
        """The arrays of the fitted model."""
        vectors = self.vectors.weight
        return {
            "items": torch.cat([vectors, self.bias[:, None]], 1),
            "own_gate": self.gates[0],
            "social": self._propagate(np.arange(self.histories.shape[0]), vectors),
        }


def _sum_rows(table: Tensor, indptr: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> Tensor:
    """(B, D) product of a CSR matrix and the table."""
    device = table.device
    return F.embedding_bag(
        torch.from_numpy(rows.astype(np.int64)).to(device),
        table,
        torch.from_numpy(indptr[:-1].astype(np.int64)).to(device),
        mode="sum",
        per_sample_weights=torch.from_numpy(weights.astype(np.float32)).to(device),
    )
