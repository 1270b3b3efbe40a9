"""The settings of models that rank by features: DeepFM and its kin."""

import dataclasses

import numpy as np
from torch import Tensor

from leanrec.data.dataset import Dataset, Shape
from leanrec.errors import SettingError
from leanrec.features.pipeline import TEXT_FEATURES
from leanrec.nn.fields import FieldNetwork, Fields
from leanrec.settings import check_at_least, check_between, check_one_of
from leanrec.training.config import Training
from leanrec.types import Float32Array

__all__ = ["ByFields"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByFields(Training):
    """Settings of every model that ranks by features.

    Attributes:
        width: of the vector of each field.
        hidden: widths of the layers of the perceptron.
        dropout: share of its units that a step leaves out.
        batch_norm: scale each of its layers by the batch.
        negatives: untouched items for each positive event.
        length: so many of the latest items of a history are pooled.
        forget: share of the codes (user, item, hour …) that training makes unknown, so that new ones have an answer.
        l2: half the factor on the sum of the squares of all embedding tables, in the loss; tables with sparse gradients
            (200,000 rows and more) are left out.
        columns: of the item table that are used; () = all that can be.
        text: what a column of text gives: "tfidf", "hashing", "nmf", "lda" or "embedding".
    """

    epochs: int = 10
    batch: int = 4096
    width: int = 16
    hidden: tuple[int, ...] = (128, 64)
    dropout: float = 0.0
    batch_norm: bool = True
    negatives: int = 4
    length: int = 50
    forget: float = 0.1
    l2: float = 0.0
    columns: tuple[str, ...] = ()
    text: str = "tfidf"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("width", self.width, 1)
        if not self.hidden:
            raise SettingError("hidden must name at least one width, such as (128, 64). Got none.")
        for wide in self.hidden:
            check_at_least("hidden", wide, 1)
        check_between("dropout", self.dropout, 0, 0.99)
        check_at_least("negatives", self.negatives, 1)
        check_at_least("length", self.length, 1)
        check_between("forget", self.forget, 0, 0.99)
        check_at_least("l2", self.l2, 0)
        check_one_of("text", self.text, TEXT_FEATURES)

    def network(self, sides: tuple[Fields, ...], tasks: int) -> FieldNetwork:
        """Fresh weights for rows of these fields. Every model brings its own."""
        raise NotImplementedError

    def tasks(self, data: Dataset) -> tuple[str, ...]:
        """What is foretold of a pair; one thing, unless the model says more: that a user touches an item."""
        del data
        return ("positive",)

    def task_weights(self, tasks: int) -> Float32Array:
        """(T,) what the loss of each task weighs in training on events."""
        return np.ones(tasks, np.float32)

    def combined(self, logits: Tensor) -> Tensor:
        """(R, T) logits to (R,) scores."""
        return logits[:, 0]

    def fit_bytes(self, shape: Shape) -> int:
        """Tables of users, items and histories, 4 kB of content an item and a user, and what a step needs."""
        return self.bytes_for(shape.users + 2 * shape.items) + 4096 * (shape.items + shape.users) + 96 * shape.events

    def bytes_for(self, values: int) -> int:
        """Tables of so many rows with gradients, two moments and three copies; the layers of a batch, forth and back."""
        cells = 24 * (self.width + 1) + 4 * sum(self.hidden)
        return 32 * values * (self.width + 1) + 4 * self.batch * 4 * cells + 2**26
