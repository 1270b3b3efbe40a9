"""Every item of a history is asked for, given the others: training for models that answer from what somebody touched.

So a model is trained on exactly what it is asked later: a history that does not hold the answer. Nobody has a vector
of their own, and somebody new with the same history gets the same answer.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.kernels.sparse import concat_ranges
from leanrec.models.deep.core.settings import HistorySettings
from leanrec.protocols import Embedder
from leanrec.run import Run
from leanrec.training.early_stopping import hold_out, mean_ndcg
from leanrec.training.losses import sampled_softmax
from leanrec.training.negative_sampling import NegativeSampler
from leanrec.training.trainer import limit_torch_threads, train
from leanrec.types import CSR, Float32Array, Int64Array

__all__ = ["HistoryQueries", "ItemTables", "LearnedArrays", "HistoryObjective", "HistoryNetwork", "normalize_sums", "fit_histories", "popularity_bias"]

LearnedArrays = dict[str, Float32Array]


class ItemTables(NamedTuple):
    """What a network makes of the items for one step.

    Attributes:
        touched: (N, D) what an item says of somebody who touched it.
        offered: (N, D) what it is when it may be shown.
        bias: (N,).
    """

    touched: Tensor
    offered: Tensor
    bias: Tensor


class HistoryQueries(NamedTuple):
    """P questions.

    Attributes:
        users: (P,) rows of users.
        sums: (P, D) sum of ``touched`` over the items of the user, without the one that is asked for.
        counts: (P,) how many these are; 0 for somebody who touched one item only.
    """

    users: Tensor
    sums: Tensor
    counts: Tensor


class HistoryNetwork(Protocol):
    """A network over histories, an ``nn.Module``."""

    def answers(self) -> Mapping[str, Tensor]:
        """The arrays that answers are made of, as they are in evaluation."""
        ...

    def items(self) -> ItemTables:
        """The items as they are now."""
        ...

    def ask(self, asked: HistoryQueries, items: ItemTables) -> Tensor:
        """(P, D) what is compared with ``offered``."""
        ...


def fit_histories(
    settings: HistorySettings,
    data: Dataset,
    network: Callable[[Dataset, Int64Array], nn.Module],
    run: Run,
    valid: EvaluationSet | None,
    model: Callable[[LearnedArrays], Embedder],
) -> LearnedArrays:
    """Train a network on the histories of ``data``; the arrays that answers are made of.

    Args:
        settings: of the training.
        data: what is learnt from.
        network: makes a ``HistoryNetwork`` of the data and the number of users of each item (N,).
        run: its seed, threads and limits.
        valid: what an epoch is judged by; None = with ``patience``, the latest item of a few users, else nothing.
        model: makes something that answers of the arrays, to judge an epoch by.
    """
    if settings.patience and valid is None:
        data, valid = hold_out(data, run.rng())
    counts = np.bincount(data.interactions.indices, minlength=len(data.items)).astype(np.int64)
    objective = HistoryObjective(
        data.interactions, NegativeSampler.by(settings.sampler, counts), min(settings.n_negatives, 4 * len(data.items)), settings.batch_size
    )
    with torch.random.fork_rng(devices=[]), limit_torch_threads(run):
        torch.manual_seed(run.seed)
        net = network(data, counts)
        judge = None if valid is None else functools.partial(_judge, net, model, valid)
        train(net, objective, settings, run, score=judge, name=type(settings).__name__, of=(data, valid))
        return _learnt(net)


def _judge(network: nn.Module, model: Callable[[LearnedArrays], Embedder], valid: EvaluationSet) -> float:
    fitted = model(_learnt(network))
    return mean_ndcg(fitted.embed_queries(valid.queries), fitted.embed_items(), valid)


@torch.no_grad()
def _learnt(network: nn.Module) -> LearnedArrays:
    training = network.training
    network.eval()
    arrays = cast(HistoryNetwork, network).answers()
    network.train(training)
    return {name: value.detach().to("cpu", copy=True).numpy() for name, value in arrays.items()}


def popularity_bias(counts: Int64Array) -> Float32Array:
    """(N,) where the bias of an item begins, which matters for few epochs: the logarithm of how often it was touched."""
    return np.asarray(np.log(counts + 0.5) - np.log(counts.mean() + 0.5), dtype=np.float32)


def normalize_sums(asked: HistoryQueries, damping: float) -> Tensor:
    """(P, D) the sum over a history, divided as it is long."""
    return asked.sums / asked.counts.clamp(min=1)[:, None] ** damping


@dataclasses.dataclass(frozen=True, eq=False)
class HistoryObjective:
    """An objective: batches of users, each with all their items; softmax against negatives that a step shares.

    Cost: a step O(P · (D + S) + S · D) for P items of the users of a batch, and what the network makes of the items.

    Attributes:
        histories: (U, N) entries are what was touched; their values do not count.
        draw: where negatives come from.
        negatives: S.
        batch: P, about.
    """

    histories: CSR
    draw: NegativeSampler
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
        loo = cast(HistoryNetwork, network)
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
        queries = loo.ask(HistoryQueries(users, others, counts), items)
        return self._compare(queries, items, targets, rng)

    def _compare(self, queries: Tensor, items: ItemTables, targets: Tensor, rng: np.random.Generator) -> Tensor:
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
    return matrix.indices[concat_ranges(starts, lengths)].astype(np.int64), lengths
