"""Settings that all CTR models share."""

import dataclasses
from typing import ClassVar

import numpy as np
from torch import Tensor

from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import SettingError
from leanrec.features.pipeline import TEXT_FEATURES
from leanrec.nn.fields import FieldNetwork, FieldSizes
from leanrec.settings import setting
from leanrec.training.config import TrainingSettings
from leanrec.types import Float32Array

__all__ = ["CTRSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CTRSettings(TrainingSettings):
    """Settings of every click-through-rate model. ``batch_size`` counts examples, positive and negative."""

    READS: ClassVar[frozenset[str]] = frozenset({"history", "content", "users", "times", "context"})

    epochs: int = 10
    batch_size: int = 4096
    embedding_dim: int = setting(
        16, at_least=1, search="4,8,16,32", doc="D, dimension of the embeddings of the fields."
    )
    hidden_sizes: tuple[int, ...] = setting((128, 64), at_least=1, doc="Sizes of the hidden layers of the MLP.")
    dropout: float = setting(
        0.0, between=(0, 0.99), search="0..0.6", doc="Share of hidden units that are dropped in training."
    )
    batch_norm: bool = setting(True, doc="Batch normalization after each hidden layer.")
    n_negatives: int = setting(4, at_least=1, doc="Items without interaction sampled per positive event.")
    max_length: int = setting(50, at_least=1, doc="Number of latest items of a history that are pooled.")
    id_dropout: float = setting(
        0.1,
        between=(0, 0.99),
        doc="Share of codes (user, item, hour …) replaced by the unknown code in training, so that unknown users and "
        "items get a trained vector.",
    )
    l2: float = setting(
        0.0,
        at_least=0,
        doc="L2 penalty on the embedding tables, as part of the loss; tables with sparse gradients (200,000 rows and "
        "more) are left out.",
    )
    columns: tuple[str, ...] = setting((), doc="Columns of the item table to use; () = all usable ones.")
    text: str = setting(
        "tfidf",
        one_of=TEXT_FEATURES,
        doc='Feature of text columns: "tfidf", "hashing", "nmf", "lda" or "embedding".',
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden_sizes:
            raise SettingError("hidden_sizes must have at least one size, such as (128, 64). Got none.")

    def build_network(self, sides: tuple[FieldSizes, ...], n_tasks: int) -> FieldNetwork:
        """A network with fresh weights for rows of these fields. Every model implements it."""
        raise NotImplementedError

    def task_names(self, data: Dataset) -> tuple[str, ...]:
        """What is predicted for a user-item pair: by default one task, a positive event."""
        del data
        return ("positive",)

    def task_weights(self, n_tasks: int) -> Float32Array:
        """(T,) weight of the loss of each task in training on events."""
        return np.ones(n_tasks, np.float32)

    def combine_logits(self, logits: Tensor) -> Tensor:
        """(R, T) logits to (R,) scores."""
        return logits[:, 0]

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Tables of users, items and histories, 4 kB of content per item and user, and the memory of a step."""
        tables = self.estimate_bytes(shape.users + 2 * shape.items)
        return tables + 4096 * (shape.items + shape.users) + 96 * shape.events

    def estimate_bytes(self, n_values: int) -> int:
        """Tables of ``n_values`` rows with gradients, two moments and three copies; activations of a batch, both ways."""
        cells = 24 * (self.embedding_dim + 1) + 4 * sum(self.hidden_sizes)
        return 32 * n_values * (self.embedding_dim + 1) + 4 * self.batch_size * 4 * cells + 2**26
