"""Where negatives come from: all items alike, by how often they occur, or the batch itself."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from leanrec.types import Int64Array

__all__ = ["Draw"]


@dataclasses.dataclass(frozen=True, eq=False)
class Draw:
    """Draws items with replacement.

    Attributes:
        cumulative: (N,) float64 running sum of the probabilities, the last is 1.
        log_p: (N,) float32 their logarithms.
    """

    cumulative: np.ndarray
    log_p: Tensor

    @classmethod
    def by(cls, how: str, counts: Int64Array, power: float = 0.75) -> "Draw":
        """"uniform", or "popularity": in proportion to (count + 1) to the ``power`` (word2vec's .75)."""
        weight = np.ones(len(counts)) if how == "uniform" else (counts + 1.0) ** power
        p = weight / weight.sum()
        cumulative = np.cumsum(p)
        cumulative[-1] = 1.0
        return cls(cumulative, torch.from_numpy(np.log(p).astype(np.float32)))

    def items(self, shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
        """Items (shape) int64. O(log N) each."""
        drawn = np.searchsorted(self.cumulative, rng.random(shape, dtype=np.float64), side="right")
        return torch.from_numpy(np.minimum(drawn, len(self.cumulative) - 1))
