"""The settings of models that answer from the items of a history and are trained to find each of them by the others."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from leanrec.data.dataset import Shape
from leanrec.settings import check_at_least, check_between, check_one_of
from leanrec.training.config import Training

__all__ = ["ByHistory"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByHistory(Training):
    """A taste is the sum of the vectors of L items / L^damping. ``batch`` counts items of histories.

    Attributes:
        width: D, the length of a vector.
        layers: how many links away something may come from.
        negatives: S, items that the targets of a step are compared with.
        draw: where these come from, "uniform" or "popularity".
        dropout: share of the cells of a taste that a step leaves out.
        hide: share of what is known first hand that a step leaves out, so that what comes over links learns to stand alone.
        damping: power of the length of a history by which its sum is divided.
    """

    SPACE: ClassVar[Mapping[str, str]] = {"damping": "0..1"}

    epochs: int = 30
    batch: int = 1024
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    width: int = 64
    layers: int = 2
    negatives: int = 256
    draw: str = "uniform"
    dropout: float = 0.2
    hide: float = 0.1
    damping: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("width", self.width, 1)
        check_at_least("layers", self.layers, 0)
        check_at_least("negatives", self.negatives, 1)
        check_one_of("draw", self.draw, ("uniform", "popularity"))
        check_between("dropout", self.dropout, 0, 0.99)
        check_between("hide", self.hide, 0, 0.99)
        check_between("damping", self.damping, 0, 1)

    def fit_bytes(self, shape: Shape) -> int:
        """Weights with gradients, moments and copies; the cells of a batch; vectors of the users. Links come on top: see ``fit``."""
        longest = min(shape.items, max(1, shape.events))
        cells = 4 * (self.batch + longest) * (12 * self.width + 4 * self.negatives)
        tables = 4 * (self.width + 1) * (16 * shape.items + 3 * shape.users)
        return tables + cells + 64 * shape.events + 48 * 2**20
