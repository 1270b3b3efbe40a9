"""Training to predict each item of a history from the rest.

Training then matches inference: the history does not contain the answer. Users have no vectors of their own, and a new
user with the same history gets the same scores.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.kernels.csr import concat_ranges
from leanrec.models.deep.core.settings import HistorySettings
from leanrec.protocols import Embedder
from leanrec.run import Run
from leanrec.training.early_stopping import hold_out, mean_ndcg_of_embedder
from leanrec.training.losses import sampled_softmax
from leanrec.training.negative_sampling import NegativeSampler
from leanrec.training.trainer import limit_torch_threads, train
from leanrec.types import CSR, Float32Array, Int64Array

__all__ = [
    "HistoryNetwork",
    "HistoryObjective",
    "HistoryQueries",
    "ItemTables",
    "LearnedArrays",
    "fit_histories",
    "init_bias",
    "pool_histories",
]

LearnedArrays = dict[str, Float32Array]


class ItemTables(NamedTuple):
    """Item vectors of one step.

    Attributes:
        inputs: (N, D) vectors of items in a history.
        outputs: (N, D) vectors of items to score.
        bias: (N,) of items to score.
    """

    inputs: Tensor
    outputs: Tensor
    bias: Tensor


class HistoryQueries(NamedTuple):
    """P queries, one per target item.

    Attributes:
        users: (P,) rows of users.
        sums: (P, D) sum of ``inputs`` over the user's other items.
        counts: (P,) number of those items; 0 if the user has the target only.
    """

    users: Tensor
    sums: Tensor
    counts: Tensor


class HistoryNetwork(Protocol):
    """A network over histories, an ``nn.Module``."""

    def item_tables(self) -> ItemTables:
        """The current item vectors."""
        ...

    def encode_queries(self, queries: HistoryQueries, items: ItemTables) -> Tensor:
        """(P, D) query vectors, to be multiplied with ``items.outputs``."""
        ...

    def export_arrays(self) -> Mapping[str, Tensor]:
        """The arrays of the fitted model, in eval mode."""
        ...


def fit_histories(
    settings: HistorySettings,
    data: Dataset,
    build_network: Callable[[Dataset, Int64Array], nn.Module],
    run: Run,
    valid: EvaluationSet | None,
    build_model: Callable[[LearnedArrays], Embedder],
) -> LearnedArrays:
    """Train a network on the histories of ``data``, and return the arrays of the fitted model.

    Args:
        settings: of the training.
        data: training data.
        build_network: builds a ``HistoryNetwork`` from the data and the number of users of each item (N,).
        run: seed, threads and limits.
        valid: validation data. If None, with ``patience`` the latest item of 5 % of the users is held out.
        build_model: builds a fitted model from the arrays, for validation.
    """
    if settings.patience and valid is None:
        data, valid = hold_out(data, run.rng())
    counts = np.bincount(data.interactions.indices, minlength=len(data.items)).astype(np.int64)
    objective = HistoryObjective(
        data.interactions,
        NegativeSampler.from_counts(settings.sampler, counts),
        min(settings.n_negatives, 4 * len(data.items)),
        settings.batch_size,
    )
    with torch.random.fork_rng(devices=[]), limit_torch_threads(run):
        torch.manual_seed(run.seed)
        network = build_network(data, counts)
        score = None if valid is None else lambda: mean_ndcg_of_embedder(build_model(_export_arrays(network)), valid)
        train(network, objective, settings, run, score=score, name=type(settings).__name__, data=(data, valid))
        return _export_arrays(network)


@torch.no_grad()
def _export_arrays(network: nn.Module) -> LearnedArrays:
    was_training = network.training
    network.eval()
    arrays = cast(HistoryNetwork, network).export_arrays()
    network.train(was_training)
    return {name: value.detach().to("cpu", copy=True).numpy() for name, value in arrays.items()}


def init_bias(counts: Int64Array) -> Float32Array:
    """(N,) initial item biases: the log popularity, which matters with few epochs."""
    return np.asarray(np.log(counts + 0.5) - np.log(counts.mean() + 0.5), dtype=np.float32)


def pool_histories(queries: HistoryQueries, exponent: float) -> Tensor:
    """(P, D) sums over the histories, divided by length ** exponent."""
    return queries.sums / queries.counts.clamp(min=1)[:, None] ** exponent


@dataclasses.dataclass(frozen=True, eq=False)
class HistoryObjective:
    """Each item of a history is predicted from the others, by softmax against negatives shared by a step.

    A batch is a set of users with all their items. Cost: a step O(P · (D + S) + S · D) for P items of the users of a
    batch, plus the cost of the item tables.

    Attributes:
        histories: (U, N), whose values are ignored.
        sampler: of the negatives.
        n_negatives: S.
        batch_size: P, approximately.
    """

    histories: CSR
    sampler: NegativeSampler
    n_negatives: int
    batch_size: int

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        """Users in random order, in batches of about ``batch_size`` items."""
        counts = np.diff(self.histories.indptr)
        order = rng.permutation(np.flatnonzero(counts))
        ends = np.cumsum(counts[order])
        batch = (ends - counts[order]) // self.batch_size
        return np.split(order, np.flatnonzero(np.diff(batch)) + 1) if len(order) else []

    def loss(self, network: nn.Module, batch: Int64Array, rng: np.random.Generator) -> Tensor:
        """Mean loss over the items of the users in ``batch``."""
        net = cast(HistoryNetwork, network)
        items = net.item_tables()
        device = items.bias.device
        starts, stops = (self.histories.indptr[rows].astype(np.int64) for rows in (batch, batch + 1))
        lengths = stops - starts
        columns = self.histories.indices[concat_ranges(starts, lengths)].astype(np.int64)
        targets = torch.from_numpy(columns).to(device)
        offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)[:-1]])).to(device)
        owner = torch.from_numpy(np.repeat(np.arange(len(batch)), lengths)).to(device)
        sums = F.embedding_bag(targets, items.inputs, offsets, mode="sum")
        others = F.embedding(owner, sums) - F.embedding(targets, items.inputs)
        counts = torch.from_numpy(np.repeat(lengths - 1, lengths)).to(device)
        users = torch.from_numpy(np.repeat(batch, lengths)).to(device)
        queries = net.encode_queries(HistoryQueries(users, others, counts), items)
        return self._sampled_loss(queries, items, targets, rng)

    def _sampled_loss(self, queries: Tensor, items: ItemTables, targets: Tensor, rng: np.random.Generator) -> Tensor:
        negatives = self.sampler.sample((self.n_negatives,), rng).to(targets.device)
        # The bias is one more dimension, in which every query is 1.
        hidden = torch.cat([queries, queries.new_ones(len(queries), 1)], 1)
        table = torch.cat([items.outputs, items.bias[:, None]], 1)
        log_q = (self.sampler.log_p + np.log(self.n_negatives)).to(targets.device)
        return sampled_softmax(hidden, table, targets, negatives, log_q)
