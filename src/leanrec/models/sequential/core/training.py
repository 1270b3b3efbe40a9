"""Training of sequential models: next-item losses over windows of histories.

A model brings a network from items (B, L) to hidden states (B, L, D). The score of the next item is the dot product
of the state with the item's vector, and the loss compares the target with all items or with sampled negatives.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.models.sequential.core.content_training import add_content, take_content
from leanrec.models.sequential.core.item_content import fit_features
from leanrec.models.sequential.core.models import SequentialContentModel, SequentialModel
from leanrec.models.sequential.core.networks.base import SequentialNetwork
from leanrec.models.sequential.core.settings import SequentialSettings
from leanrec.models.sequential.core.spectral_init import spectral_vectors
from leanrec.nn.activation_checkpointing import checkpoint_blocks
from leanrec.run import Run
from leanrec.training import losses
from leanrec.training.early_stopping import hold_out, mean_ndcg
from leanrec.training.histories import PackedHistories, PaddedBatch, batch_by_length, pad_histories
from leanrec.training.negative_sampling import NegativeSampler, select_hardest
from leanrec.training.sharded_embedding import (
    ShardedEmbedding,
    build_sharded,
    gather_arrays,
    gather_step_rows,
    mean_ndcg_sharded,
    shape_per_worker,
)
from leanrec.training.trainer import limit_torch_threads, train
from leanrec.types import Float32Array, Int64Array

__all__ = ["NextItemObjective", "fit_sequential", "to_tensors"]

# Cells of one padded batch in validation.
_BATCH_CELLS = 16_384


@dataclasses.dataclass(frozen=True, eq=False)
class NextItemObjective:
    """Batches of windows of similar length, and the loss over the targets at their positions.

    Attributes:
        settings: of the fit.
        histories: of the users.
        sampler: draws the negatives of the losses that need some.
    """

    settings: SequentialSettings
    histories: PackedHistories
    sampler: NegativeSampler

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        """Windows of histories, cut anew in each epoch."""
        length = self.settings.max_length + 1
        shift = rng.integers(0, length - 1, len(self.histories)) if length > 2 else 0
        starts, ends = self.histories.windows(length, shift)
        # A window of one item has no next item.
        starts, ends = starts[ends - starts > 1], ends[ends - starts > 1]
        groups = batch_by_length(ends - starts - 1, self.settings.batch_size, rng)
        return _WindowBatches(self.histories, starts, ends, groups)

    def loss(self, network: nn.Module, batch: PaddedBatch, rng: np.random.Generator) -> Tensor:
        """The chosen loss, mean over the targets of a batch."""
        items, lengths, targets = cast(SequentialNetwork, network).training_inputs(*to_tensors(batch, network), rng)
        is_target = targets >= 0
        with parametrize.cached():  # item vectors with content are computed once per step
            states = network(items, lengths)
            table = _item_table(network)
        return self._loss(states[is_target], table, targets[is_target], rng)

    def _loss(
        self, states: Tensor, table: Tensor | ShardedEmbedding, targets: Tensor, rng: np.random.Generator
    ) -> Tensor:
        """The chosen loss over states (T, D) and their targets (T,)."""
        settings, n, log_p = self.settings, self.settings.n_negatives, self.sampler.log_p
        if settings.loss == "cross_entropy" and isinstance(table, Tensor):
            return losses.cross_entropy(states, table, targets)
        if settings.loss == "sampled_softmax":
            if settings.sampler == "batch":
                negatives, log_q = targets, log_p + np.log(len(targets))
            else:
                negatives, log_q = self.sampler.sample((n,), rng), log_p + np.log(n)
            negatives, log_q = negatives.to(targets.device), log_q.to(targets.device)
            table, log_q, targets, negatives = gather_step_rows(table, log_q, targets, negatives)
            return losses.sampled_softmax(states, table, targets, negatives, log_q)
        candidates = self.sampler.sample((len(targets), n * settings.hard_negative_factor), rng).to(targets.device)
        table, _, targets, negatives = gather_step_rows(table, log_p, targets, candidates)
        if settings.hard_negative_factor > 1:
            negatives = select_hardest(states, table, targets, negatives, n)
        if settings.loss == "gbce":
            rate = min(1.0, n / max(1, len(log_p) - 1))
            return losses.gbce(states, table, targets, negatives, sampling_rate=rate)
        return (losses.bce if settings.loss == "bce" else losses.bpr)(states, table, targets, negatives)


@dataclasses.dataclass(frozen=True, eq=False)
class _WindowBatches(Sequence[PaddedBatch]):
    """Batches of windows, padded when they are accessed."""

    histories: PackedHistories
    starts: Int64Array
    ends: Int64Array
    groups: list[Int64Array]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, i: int) -> PaddedBatch:  # type: ignore[override]  # slices are not supported
        return pad_histories(self.histories, self.starts[self.groups[i]], self.ends[self.groups[i]])


def fit_sequential(
    settings: SequentialSettings, data: Dataset, run: Run, valid: EvaluationSet | None = None
) -> SequentialModel:
    """Train the network of ``settings`` on the histories of ``data``.

    With ``patience`` the validation score is NDCG@10 on ``valid``; if that is None, on the latest item of 5 % of the
    users, which is then left out of training.
    """
    name = type(settings).__name__
    if run.distributed.shard_items:
        settings.check_sharded()
    run.require_memory(
        settings.fit_bytes(shape_per_worker(data.shape, run)),
        f"{name} with embedding_dim={settings.embedding_dim}",
        "Lower embedding_dim or batch_size, or raise the limit.",
    )
    if settings.patience and valid is None:
        data, valid = hold_out(data, run.rng())
    features = None if settings.content == "none" else fit_features(data, settings.content, run)
    histories = PackedHistories.from_dataset(data)
    counts = np.bincount(histories.items, minlength=len(data.items))
    if settings.sampler == "batch":
        # The targets of a batch are distributed as the events are.
        sampler = NegativeSampler.from_counts("popularity", counts, power=1.0)
    else:
        sampler = NegativeSampler.from_counts(settings.sampler, counts)
    with torch.random.fork_rng(devices=[]), limit_torch_threads(run):
        torch.manual_seed(run.seed)
        network = build_sharded(settings.build_network, len(data.items), run)
        table = cast(nn.Embedding, network.items)
        if settings.init == "spectral":
            vectors = spectral_vectors(histories, len(data.items), settings.embedding_dim, run.rng())
            with torch.no_grad():
                table.weight.copy_(torch.from_numpy(vectors))
        if features is not None and data.item_table is not None:
            add_content(table, features, data.item_table)
        if settings.activation_checkpointing:
            checkpoint_blocks(network)
        score = None if valid is None else functools.partial(_validate, network, settings, valid)
        objective = NextItemObjective(settings, histories, sampler)
        train(network, objective, settings, run, score=score, name=name, data=(data, valid))
        content = None if features is None else take_content(table, features)
    weights = gather_arrays(network)
    return SequentialModel(settings, weights) if content is None else SequentialContentModel(settings, weights, content)


def _validate(network: nn.Module, settings: SequentialSettings, valid: EvaluationSet) -> float:
    states = _encode_histories(network, PackedHistories.from_queries(valid.queries, settings.max_length))
    table = _item_table(network)
    if isinstance(table, ShardedEmbedding):
        return mean_ndcg_sharded(states, table, valid)
    return mean_ndcg(states, table.detach().cpu().numpy(), valid)


def _encode_histories(network: nn.Module, histories: PackedHistories) -> Float32Array:
    """(B, D) hidden state after each whole history; zeros for an empty one."""
    out = np.zeros((len(histories), cast(nn.Embedding, network.items).embedding_dim), np.float32)
    lengths = histories.lengths
    nonempty = np.flatnonzero(lengths)
    order = nonempty[np.argsort(lengths[nonempty], kind="stable")]
    while len(order):
        # The longest history of a batch sets its width, and so how many fit.
        block = order[-max(1, _BATCH_CELLS // int(lengths[order[-1]])) :]
        order = order[: -len(block)]
        batch = pad_histories(histories, histories.bounds[block], histories.bounds[block + 1])
        with torch.inference_mode():
            items, ends = cast(SequentialNetwork, network).inference_inputs(*to_tensors(batch, network))
            out[block] = network(items, ends)[torch.arange(len(block)), ends - 1].float().cpu().numpy()
    return out


def to_tensors(batch: PaddedBatch, network: nn.Module) -> tuple[Tensor, Tensor]:
    """Items and lengths on the device of the network."""
    device = next(network.parameters()).device
    return torch.from_numpy(batch.items).to(device), torch.from_numpy(batch.lengths).to(device)


def _item_table(network: nn.Module) -> Tensor | ShardedEmbedding:
    """The item vectors (N, D), or the module that holds them in shards."""
    return network.items if isinstance(network.items, ShardedEmbedding) else cast(nn.Embedding, network.items).weight
