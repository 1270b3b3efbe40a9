"""Training over links between users: what an item says of somebody who touched it, and how much of it friends pass on."""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import Cases
from leanrec.models.deep.core.history_training import Asked, Items, Learnt, damped, fit_leave_one_out, popularity
from leanrec.models.deep.core.settings import ByHistory
from leanrec.nn.dropout import dropout
from leanrec.protocols import Embedder
from leanrec.run import Run
from leanrec.types import CSR, Int64Array

__all__ = ["fit_social", "influence"]


def influence(friends: CSR, layers: int) -> list[CSR]:
    """(U, U) for each hop: the share that somebody so many links away has in what reaches a user; nobody reaches themselves.

    Rows sum to one, or to less where ways lead back, or to nothing.
    """
    total = np.asarray(friends.sum(axis=1)).ravel()
    each = np.repeat(total, np.diff(friends.indptr))
    step = sp.csr_array((friends.data / np.maximum(each, 1e-12), friends.indices, friends.indptr), shape=friends.shape)
    hops, reach = [], step
    for hop in range(layers):
        reach = step if hop == 0 else sp.csr_array(reach @ step)
        without = sp.csr_array(reach - sp.diags_array(reach.diagonal()))
        without.eliminate_zeros()
        hops.append(without.astype(np.float32))
    return hops


def fit_social(
    settings: ByHistory,
    data: Dataset,
    friends: CSR,
    run: Run,
    valid: Cases | None,
    model: Callable[[Learnt], Embedder],
) -> Learnt:
    """Train on the histories of ``data`` and on ``friends`` (U, U); the arrays that answers are made of.

    ``model`` makes something that answers of them, to judge an epoch by.
    """

    def network(used: Dataset, counts: Int64Array) -> nn.Module:
        return _Network(settings, used.interactions, influence(friends, settings.layers), counts)

    return fit_leave_one_out(settings, data, network, run, valid, model)


class _Network(nn.Module):
    def __init__(self, settings: ByHistory, histories: CSR, hops: list[CSR], counts: np.ndarray) -> None:
        super().__init__()
        self.settings, self.histories, self.hops = settings, histories, hops
        self.vectors = nn.Embedding(len(counts), settings.width)
        nn.init.normal_(self.vectors.weight, std=0.1)
        # How much of each cell of a taste counts: of one's own first, then of those one hop away, two hops away.
        self.gates = nn.Parameter(torch.ones(1 + len(hops), settings.width))
        self.bias = nn.Parameter(torch.from_numpy(popularity(counts)))

    def items(self) -> Items:
        return Items(self.vectors.weight, self.vectors.weight, self.bias)

    def ask(self, asked: Asked, items: Items) -> Tensor:
        own = damped(asked, self.settings.damping) * self.gates[0]
        users, place = torch.unique_consecutive(asked.users, return_inverse=True)
        friends = F.embedding(place, self._from_friends(users.cpu().numpy(), items.touched))
        if self.training and self.settings.hide and self.hops:
            own = own * (torch.rand(len(own), 1, device=own.device) >= self.settings.hide)
        return dropout(own + friends, self.settings.dropout, self.training)

    def _from_friends(self, users: np.ndarray, touched: Tensor) -> Tensor:
        """(B, D) what friends pass on: the tastes of those who reach these users, and of nobody else, are made."""
        rows = [hop[users] for hop in self.hops]
        out = touched.new_zeros(len(users), touched.shape[1])
        asked = np.unique(np.concatenate([np.zeros(0, np.int64), *(row.indices for row in rows)])).astype(np.int64)
        if not len(asked):
            return out
        tastes = self._tastes(asked, touched)
        for row, gate in zip(rows, self.gates[1:], strict=True):
            places = np.searchsorted(asked, row.indices)
            out = out + gate * _sum_rows(tastes, row.indptr, places, row.data)
        return out

    def _tastes(self, users: np.ndarray, touched: Tensor) -> Tensor:
        histories = self.histories[users]
        lengths = np.diff(histories.indptr)
        scale = np.maximum(lengths, 1.0) ** -self.settings.damping
        return _sum_rows(touched, histories.indptr, histories.indices, np.repeat(scale, lengths))

    def answers(self) -> dict[str, Tensor]:
        vectors = self.vectors.weight
        return {
            "items": torch.cat([vectors, self.bias[:, None]], 1),
            "own": self.gates[0],
            "friends": self._from_friends(np.arange(self.histories.shape[0]), vectors),
        }


def _sum_rows(table: Tensor, indptr: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> Tensor:
    """(B, D) weighted sums of rows of a table: a sparse matrix times the table."""
    device = table.device
    return F.embedding_bag(
        torch.from_numpy(rows.astype(np.int64)).to(device),
        table,
        torch.from_numpy(indptr[:-1].astype(np.int64)).to(device),
        mode="sum",
        per_sample_weights=torch.from_numpy(weights.astype(np.float32)).to(device),
    )
