"""Training settings that every model trained by gradient descent shares."""

import dataclasses
from typing import ClassVar

from leanrec.settings import check_settings, setting

__all__ = ["TrainingSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """Base class of the settings of gradient-trained models."""

    # Whether the item table can be sharded over workers (``run.distributed.shard_items``).
    shardable: ClassVar[bool] = False

    epochs: int = setting(20, at_least=1, doc="Maximum number of passes over the training data.")
    batch_size: int = setting(
        1024, at_least=1, doc="Examples per step; the model defines what an example is (a user, a pair, an item)."
    )
    learning_rate: float = setting(
        1e-3,
        above=0,
        search="0.0001..0.01:log",
        doc="Peak learning rate; it rises during ``warmup`` and decays along ``schedule``.",
    )
    schedule: str = setting(
        "cosine",
        one_of=("cosine", "linear", "constant"),
        doc='Decay to 1 % of the peak at the last epoch, "cosine" or "linear", or "constant".',
    )
    warmup: float = setting(
        0.05, between=(0, 1), doc="Share of all steps over which the learning rate rises from zero."
    )
    weight_decay: float = setting(
        0.0, at_least=0, doc="Decoupled weight decay (AdamW): a step shrinks weights by learning rate · weight decay."
    )
    max_grad_norm: float = setting(
        0.0, at_least=0, doc="Gradients with a larger norm are scaled down to this norm; 0 = no clipping."
    )
    gradient_accumulation: int = setting(
        1, at_least=1, doc="Number of batches whose gradients are accumulated for one step."
    )
    precision: str = setting(
        "float32",
        one_of=("float32", "bfloat16"),
        doc='"float32", or "bfloat16" for matrix products of the forward pass; weights stay float32.',
    )
    patience: int = setting(
        0,
        at_least=0,
        doc="Epochs without a better validation score after which training stops; 0 = no early stopping.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
