"""Training of a sequential model with its items in codes, by the uncompressed model as its teacher.

Codes that were made of a fitted table lose what the layers rely on. So layers, positions and codebooks are trained on for a short
while, such that the softmax over the items comes near that of the uncompressed model (Hinton, Vinyals & Dean, "Distilling the
Knowledge in a Neural Network", 2015), which says more about each state than the one item that came next.
"""

import dataclasses
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from leanrec.compression.tuned_items import make_items
from leanrec.compression.vectors.codec import VectorCodes
from leanrec.data.dataset import Dataset
from leanrec.models.sequential.core.models import ITEM_TABLE, SequentialModel
from leanrec.models.sequential.core.networks.base import SequentialNetwork
from leanrec.models.sequential.core.settings import SequentialSettings
from leanrec.models.sequential.core.training import NextItemObjective, to_tensors
from leanrec.nn.activation_checkpointing import checkpoint_blocks
from leanrec.nn.arrays import to_arrays
from leanrec.run import Run
from leanrec.training.histories import PackedHistories, PaddedBatch
from leanrec.training.losses import soft_cross_entropy
from leanrec.training.negative_sampling import NegativeSampler
from leanrec.training.trainer import limit_torch_threads, train

__all__ = ["tune_encoder"]

# Share of the observed next items in the soft targets; the rest is the teacher's.
_OBSERVED = 0.1
# Largest share of activations that are set to zero: the teacher has none, and short training leaves no time to overfit.
_DROPOUT = 0.1


def tune_encoder(
    model: SequentialModel, codes: Any, data: Dataset, *, epochs: int, run: Run = Run()
) -> tuple[SequentialModel, VectorCodes]:
    """Layers and codes that were trained together, with the model as the teacher.

    Cost: an epoch about twice one of the fit. Memory: that of the fit, with codes and codebooks for the item table; scalar
    codes take as much as the table.

    Args:
        model: a fitted model; its table is that of the teacher.
        codes: of its items: scalar or product codes.
        data: what it was fitted on.
        epochs: passes over the data.
        run: seed, threads, device and time.

    Returns:
        the model with the trained layers and without rows in its item table; the codes.
    """
    dropout = min(model.settings.dropout, _DROPOUT)
    settings = dataclasses.replace(model.settings, epochs=epochs, patience=0, schedule="linear", dropout=dropout)
    vectors = model.embed_items()
    histories = PackedHistories.from_dataset(data)
    counts = np.bincount(histories.items, minlength=len(vectors))
    with torch.random.fork_rng(devices=[]), limit_torch_threads(run):
        torch.manual_seed(run.seed)
        teacher = _build_network(model, settings, nn.Embedding.from_pretrained(torch.from_numpy(np.array(vectors))))  # type: ignore[no-untyped-call]
        student = _build_network(model, settings, make_items(codes, vectors))
        if settings.activation_checkpointing:
            checkpoint_blocks(student)
        objective = _TeacherObjective(
            settings,
            histories,
            NegativeSampler.from_counts("uniform", counts),
            teacher.eval().requires_grad_(requires_grad=False),
        )
        train(student, objective, settings, run, name="Compression", data=(data,))
        items: Any = student.items
        tuned = items.take_codes()
        student.items = nn.Embedding.from_pretrained(torch.empty(0, vectors.shape[1]))  # type: ignore[no-untyped-call]
        weights = to_arrays(student)
    return dataclasses.replace(model, weights=weights), tuned


def _build_network(model: SequentialModel, settings: SequentialSettings, items: nn.Module) -> SequentialNetwork:
    """The network of a fitted model with another item table."""
    network = settings.build_network(1)
    # Copies, for arrays that are mapped from a file are read-only.
    layers = {name: torch.from_numpy(np.array(array)) for name, array in model.weights.items() if name != ITEM_TABLE}
    network.load_state_dict({**layers, ITEM_TABLE: network.items.weight.detach()})
    network.items = cast(nn.Embedding, items)
    return network


@dataclasses.dataclass(frozen=True, eq=False)
class _TeacherObjective(NextItemObjective):
    """The cross-entropy between the softmax of a teacher and that of the network, over all items or over a sample."""

    teacher: SequentialNetwork

    def loss(self, network: nn.Module, batch: PaddedBatch, rng: np.random.Generator) -> Tensor:
        """The mean over the targets of a batch, which are where the network learns."""
        student = cast(SequentialNetwork, network)
        device = next(student.parameters()).device
        teacher = self.teacher.to(device)
        items, lengths, targets = student.training_inputs(*to_tensors(batch, student), rng)
        is_target = targets >= 0
        targets = targets[is_target]
        with torch.no_grad():
            soft_states = teacher(items, lengths)[is_target]
        states = student(items, lengths)[is_target]
        if self.settings.loss == "cross_entropy":
            table, soft_table = student.items.weight, teacher.items.weight
        else:
            drawn = self.sampler.sample((self.settings.n_negatives,), rng).to(device)
            rows, places = torch.cat([targets, drawn]).unique(return_inverse=True)  # type: ignore[no-untyped-call]
            table, soft_table, targets = student.items(rows), teacher.items(rows), places[: len(targets)]
        return soft_cross_entropy(states, table, targets, soft_states, soft_table, observed=_OBSERVED)
