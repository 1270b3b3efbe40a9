"""What every network of a sequential model has: an item table, inputs for training and inputs for whole histories."""

from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

__all__ = ["SequentialNetwork", "TrainingInputs"]


class TrainingInputs(NamedTuple):
    """Inputs and targets of one training step.

    Attributes:
        items: (B, L) inputs of the network, −1 past the end.
        lengths: (B,).
        targets: (B, L) the item to predict at each position, −1 for none.
    """

    items: Tensor
    lengths: Tensor
    targets: Tensor


class SequentialNetwork(nn.Module):
    """A network over histories: (B, L) items, −1 past the ``lengths`` (B,), to (B, L, D) states, one after each item."""

    items: nn.Embedding

    def training_inputs(self, items: Tensor, lengths: Tensor, rng: np.random.Generator) -> TrainingInputs:  # noqa: ARG002 - for networks that sample
        """Inputs and targets from windows (B, L + 1) of histories: at each position, the next item."""
        return TrainingInputs(items[:, :-1], lengths - 1, items[:, 1:])

    def inference_inputs(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs for whole histories (B, L); the state at the last position is the query vector."""
        return items, lengths
