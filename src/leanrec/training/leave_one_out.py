"""Every item of a history is asked for, given the others: training for models that answer from what somebody touched.

So a model is trained on exactly what it is asked later: a history that does not hold the answer. Nobody has a vector
of their own, and somebody new with the same history gets the same answer.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.training.losses import sampled_softmax
from leanrec.training.negatives import Draw
from leanrec.types import CSR, Int64Array

__all__ = ["Asked", "Items", "LeaveOneOut", "LeaveOneOutNetwork"]


class Items(NamedTuple):
    """What a network makes of the items for one step.

    Attributes:
        touched: (N, D) what an item says of somebody who touched it.
        offered: (N, D) what it is when it may be shown.
        bias: (N,).
    """

    touched: Tensor
    offered: Tensor
    bias: Tensor


class Asked(NamedTuple):
    """P questions.

    Attributes:
        users: (P,) rows of users.
        sums: (P, D) sum of ``touched`` over the items of the user, without the one that is asked for.
        counts: (P,) how many these are; 0 for somebody who touched one item only.
    """

    users: Tensor
    sums: Tensor
    counts: Tensor


class LeaveOneOutNetwork(Protocol):
    """A network over histories, an ``nn.Module``."""

    def items(self) -> Items:
        """The items as they are now."""
        ...

    def ask(self, asked: Asked, items: Items) -> Tensor:
        """(P, D) what is compared with ``offered``."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """An objective: batches of users, each with all their items; softmax against negatives that a step shares.

    Cost: a step O(P · (D + S) + S · D) for P items of the users of a batch, and what the network makes of the items.

    Attributes:
        histories: (U, N) entries are what was touched; their values do not count.
        draw: where negatives come from.
        negatives: S.
        batch: P, about.
    """

    histories: CSR
    draw: Draw
    negatives: int
    batch: int

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        """Users in random order, cut where their items reach ``batch``."""
        counts = np.diff(self.histories.indptr)
        order = rng.permutation(np.flatnonzero(counts))
        ends = np.cumsum(counts[order])
        number = (ends - counts[order]) // self.batch
        return np.split(order, np.flatnonzero(np.diff(number)) + 1) if len(order) else []

    def loss(self, network: nn.Module, batch: Int64Array, rng: np.random.Generator) -> Tensor:
        """Mean over the items of the users in ``batch``."""
        loo = cast(LeaveOneOutNetwork, network)
        items = loo.items()
        device = items.bias.device
        columns, lengths = _rows(self.histories, batch)
        targets = torch.from_numpy(columns).to(device)
        starts = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)[:-1]])).to(device)
        owner = torch.from_numpy(np.repeat(np.arange(len(batch)), lengths)).to(device)
        sums = F.embedding_bag(targets, items.touched, starts, mode="sum")
        others = F.embedding(owner, sums) - F.embedding(targets, items.touched)
        counts = torch.from_numpy(np.repeat(lengths - 1, lengths)).to(device)
        users = torch.from_numpy(np.repeat(batch, lengths)).to(device)
        queries = loo.ask(Asked(users, others, counts), items)
        return self._compare(queries, items, targets, rng)

    def _compare(self, queries: Tensor, items: Items, targets: Tensor, rng: np.random.Generator) -> Tensor:
        negatives = self.draw.items((self.negatives,), rng).to(targets.device)
        # The bias travels as one more cell, which every query multiplies by one.
        hidden = torch.cat([queries, queries.new_ones(len(queries), 1)], 1)
        table = torch.cat([items.offered, items.bias[:, None]], 1)
        log_q = (self.draw.log_p + np.log(self.negatives)).to(targets.device)
        return sampled_softmax(hidden, table, targets, negatives, log_q)


def _rows(matrix: CSR, rows: NDArray[Any]) -> tuple[Int64Array, Int64Array]:
    """The columns of the given rows, end to end, and how many each has."""
    starts, stops = matrix.indptr[rows].astype(np.int64), matrix.indptr[rows + 1].astype(np.int64)
    lengths = stops - starts
    ends = np.cumsum(lengths)
    places = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
    return matrix.indices[places].astype(np.int64), lengths
