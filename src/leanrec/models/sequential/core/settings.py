"""Settings and network protocol that all sequential models share."""

import dataclasses
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from torch import Tensor, nn

from leanrec.data.dataset import DatasetShape
from leanrec.errors import SettingError
from leanrec.features.pipeline import TEXT_FEATURES
from leanrec.models.sequential.core.item_content import CONTENT_DIMENSIONS
from leanrec.models.sequential.core.spectral_init import spectral_bytes
from leanrec.settings import setting
from leanrec.training import losses
from leanrec.training.config import TrainingSettings

__all__ = ["SequentialNetwork", "SequentialSettings", "TrainingInputs", "check_heads"]

_LOSSES = ("cross_entropy", "sampled_softmax", "bce", "gbce", "bpr")
# Losses that compare each target with negatives of its own; the others share negatives within a batch.
_PER_TARGET_LOSSES = frozenset({"bce", "gbce", "bpr"})
# Floats that a Transformer block keeps per position and embedding dimension, with slack for torch's own buffers.
_FLOATS_PER_BLOCK = 24
# Memory that torch takes with its first step: its code and the workspace of matrix products.
_TORCH_BYTES = 240 * 2**20
# What sharded training does not support: these need the vectors of all items at once.
_SHARDED_CHOICES = {
    "loss": tuple(loss for loss in _LOSSES if loss != "cross_entropy"),
    "init": ("random",),
    "content": ("none",),
}


class SequentialNetwork(Protocol):
    """A network over histories, an ``nn.Module``."""

    items: nn.Embedding

    def __call__(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) hidden states, one after each item; ``items`` (B, L) is −1 past the ``lengths`` (B,)."""
        ...


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SequentialSettings(TrainingSettings):
    """Settings of every sequential model. ``batch_size`` counts items, padding included."""

    READS: ClassVar[frozenset[str]] = frozenset({"history", "order", "content"})
    shardable: ClassVar[bool] = True

    batch_size: int = 2048
    learning_rate: float = setting(2e-3, search="0.0002..0.02:log")
    embedding_dim: int = setting(64, at_least=1, search="16,32,64,128", doc="D, dimension of the embeddings.")
    max_length: int = setting(200, at_least=1, doc="Number of latest items of a history that are used.")
    dropout: float = setting(
        0.2, between=(0, 0.99), search="0..0.6", doc="Share of activations that are set to zero in training."
    )
    loss: str = setting(
        "cross_entropy",
        one_of=_LOSSES,
        doc='"cross_entropy" over all items; "sampled_softmax" over ``n_negatives`` shared by the batch, with logQ '
        'correction; "bce", "gbce" or "bpr" against ``n_negatives`` per target.',
    )
    n_negatives: int = setting(256, at_least=1, doc="Number of sampled negatives.")
    sampler: str = setting(
        "uniform",
        one_of=("uniform", "popularity", "batch"),
        doc='Distribution of the negatives: "uniform" (required by "gbce"), "popularity", or "batch", the other targets '
        "of the batch (sampled_softmax only).",
    )
    hard_negative_factor: int = setting(
        1,
        at_least=1,
        doc='"bce" and "bpr": sample this many candidates per negative and keep those with the highest scores.',
    )
    init: str = setting(
        "spectral",
        one_of=("spectral", "random"),
        doc='Initial item vectors: "spectral", from the co-occurrence of items in histories, or "random".',
    )
    content: str = setting(
        "none",
        one_of=("none", *TEXT_FEATURES),
        doc='"none", or the feature of text columns of the item table: "tfidf", "hashing", "nmf", "lda" or "embedding". '
        "Then an item vector is learned as an id embedding plus a projection of the item's content, and the model "
        "accepts new items.",
    )
    activation_checkpointing: bool = setting(
        False,
        doc="Keep only the inputs of each block and recompute the rest in the backward pass: a third more time, and "
        "memory for longer histories, larger batches or deeper models.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hard_negative_factor > 1 and self.loss not in _PER_TARGET_LOSSES:
            raise SettingError(
                "hard_negative_factor must be 1 unless the loss is bce or bpr. "
                f"Got hard_negative_factor={self.hard_negative_factor}, loss={self.loss!r}."
            )
        if self.sampler == "batch" and self.loss != "sampled_softmax":
            raise SettingError(
                "sampler must be 'uniform' or 'popularity' unless the loss is sampled_softmax. "
                f"Got sampler='batch', loss={self.loss!r}."
            )
        if self.loss == "gbce" and (self.sampler != "uniform" or self.hard_negative_factor > 1):
            raise SettingError(
                "gbce corrects for uniform sampling, so sampler must be 'uniform' and hard_negative_factor must be 1. "
                f"Got sampler={self.sampler!r}, hard_negative_factor={self.hard_negative_factor}."
            )

    def build_network(self, n_items: int) -> nn.Module:
        """A ``SequentialNetwork`` with fresh weights. Every model implements it."""
        raise NotImplementedError

    def training_inputs(self, items: Tensor, lengths: Tensor, rng: np.random.Generator) -> TrainingInputs:  # noqa: ARG002 - for models that sample
        """Inputs and targets from windows (B, L + 1) of histories: at each position, the next item."""
        return TrainingInputs(items[:, :-1], lengths - 1, items[:, 1:])

    def inference_inputs(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Network inputs for whole histories (B, L); the state at the last position is the query vector."""
        return items, lengths

    def check_sharded(self) -> None:
        """Raise SettingError for settings that need the vectors of all items at once."""
        for name, allowed in _SHARDED_CHOICES.items():
            if getattr(self, name) not in allowed:
                raise SettingError(
                    f"With sharded items {name} must be {' or '.join(map(repr, allowed))}. "
                    f"Got {name}={getattr(self, name)!r}."
                )

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Weights with gradients, two moments and two copies; the activations of a batch; the histories."""
        table = 4 * shape.items * self.embedding_dim
        positions = max(self.batch_size, self.max_length)
        n_layers = getattr(self, "n_layers", 2)
        # A checkpointed block keeps its input, and one block at a time is expanded.
        kept = n_layers + _FLOATS_PER_BLOCK if self.activation_checkpointing else n_layers * _FLOATS_PER_BLOCK
        activations = 4 * positions * self.embedding_dim * (_FLOATS_PER_BLOCK + kept)
        n_candidates = positions if self.sampler == "batch" else self.n_negatives * self.hard_negative_factor
        per_candidate = 2 * self.embedding_dim if self.loss in _PER_TARGET_LOSSES else 4
        if self.loss == "cross_entropy":
            scores = losses.logits_bytes(shape.items, self.embedding_dim)
        else:
            scores = 4 * positions * n_candidates * per_candidate
        content = 0 if self.content == "none" else 3 * table + 16 * shape.items * CONTENT_DIMENSIONS
        init = spectral_bytes(shape.items, shape.events, self.embedding_dim) if self.init == "spectral" else 0
        layers = 300 * (n_layers + 1) * self.embedding_dim**2
        return init + 10 * table + content + layers + activations + scores + 64 * shape.events + _TORCH_BYTES


def check_heads(embedding_dim: int, n_heads: int) -> None:
    """Raise SettingError unless ``n_heads`` divides ``embedding_dim``."""
    if embedding_dim % n_heads:
        raise SettingError(
            f"embedding_dim must be a multiple of n_heads. Got embedding_dim={embedding_dim}, n_heads={n_heads}."
        )
