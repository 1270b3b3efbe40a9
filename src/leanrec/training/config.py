"""The settings that every model trained by gradients has, under the same names."""

import dataclasses
from typing import ClassVar

from leanrec.settings import check_at_least, check_between, check_one_of, check_positive

__all__ = ["Training"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How a model is trained. A model's settings extend these, so that each is set by its own name.

    Attributes:
        epochs: most passes over the training data.
        batch: examples in a step; what an example is, the model says (a user, a pair, a token).
        learning_rate: the highest; it rises over ``warmup`` and falls along ``schedule``.
        schedule: "cosine" or "linear" to a hundredth at the last epoch, or "constant".
        warmup: share of all steps over which the learning rate rises from zero.
        weight_decay: decoupled, per step and in units of the learning rate (AdamW).
        clip: the gradient is scaled down to this norm; 0 = as it is.
        accumulate: batches whose gradients make one step.
        precision: "float32", or "bfloat16" for the products of a forward pass (weights stay in float32).
        patience: epochs without a better score on held-out events after which training stops; 0 = never look.
    """

    # Whether Run.shard can deal its items over workers.
    shardable: ClassVar[bool] = False

    epochs: int = 20
    batch: int = 1024
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.0
    clip: float = 0.0
    accumulate: int = 1
    precision: str = "float32"
    patience: int = 0

    def __post_init__(self) -> None:
        check_at_least("epochs", self.epochs, 1)
        check_at_least("batch", self.batch, 1)
        check_positive("learning_rate", self.learning_rate)
        check_one_of("schedule", self.schedule, ("cosine", "linear", "constant"))
        check_between("warmup", self.warmup, 0, 1)
        check_at_least("weight_decay", self.weight_decay, 0)
        check_at_least("clip", self.clip, 0)
        check_at_least("accumulate", self.accumulate, 1)
        check_one_of("precision", self.precision, ("float32", "bfloat16"))
        check_at_least("patience", self.patience, 0)
