"""Settings that all sequential models share, and what a model must add to them."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import MissingExtraError, SettingError
from leanrec.features.pipeline import TEXT_FEATURES
from leanrec.finiteness import require_finite
from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.models.sequential.core.item_content import CONTENT_DIMENSIONS
from leanrec.models.sequential.core.spectral_init import spectral_bytes
from leanrec.run import Run
from leanrec.settings import setting
from leanrec.training.config import TrainingSettings
from leanrec.training.logit_blocks import logits_bytes
from leanrec.types import Float32Array, Int64Array

if TYPE_CHECKING:
    from leanrec.models.sequential.core.models import SequentialModel
    from leanrec.models.sequential.core.networks.base import SequentialNetwork

__all__ = ["SequentialSettings", "check_heads"]

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

    def build_network(self, n_items: int) -> "SequentialNetwork":
        """The network with fresh weights, for training with torch. Every model implements it."""
        raise NotImplementedError

    def weight_shapes(self, n_items: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of that network, by name. Every model implements it."""
        raise NotImplementedError

    def encode(self, layers: NamedLayers, x: Float32Array, bounds: Int64Array) -> Float32Array:
        """What the network gives after the last item of each history, computed without torch: (B, D). Every model implements it.

        Args:
            layers: the fitted weights.
            x: (T, D) vectors of the items of all histories, end to end; they may be overwritten.
            bounds: (B + 1,) where each history begins; each has 1 to ``max_length`` items.
        """
        raise NotImplementedError

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> "SequentialModel":
        """Train on the histories of ``data``.

        With ``patience`` the validation score is NDCG@10 on ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training. Raises MissingExtraError without torch.
        """
        try:
            from leanrec.models.sequential.core.training import fit_sequential  # noqa: PLC0415 - torch is optional
        except ImportError as error:
            name = type(self).__module__.rpartition(".")[2]
            raise MissingExtraError.from_import_error(f"The model {name!r}", error) or error from error
        return fit_sequential(self, data, run, valid)

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
            scores = logits_bytes(shape.items, self.embedding_dim)
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
