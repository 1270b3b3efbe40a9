"""Where negatives come from: all items alike, by how often they occur, or the batch itself; and the hardest of a draw."""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from leanrec.types import Int64Array

__all__ = ["Draw", "hardest"]


@dataclasses.dataclass(frozen=True, eq=False)
class Draw:
    """Draws items with replacement.

    Attributes:
        cumulative: (N,) float64 running sum of the probabilities, the last is 1.
        log_p: (N,) float32 their logarithms.
    """

    cumulative: NDArray[np.float64]
    log_p: Tensor

    @classmethod
    def by(cls, how: str, counts: Int64Array, power: float = 0.75) -> "Draw":
        """Draw by ``how``: "uniform", or "popularity", in proportion to (count + 1) to the ``power`` (word2vec: .75)."""
        weight = np.ones(len(counts)) if how == "uniform" else (counts + 1.0) ** power
        p = weight / weight.sum()
        cumulative = np.cumsum(p)
        cumulative[-1] = 1.0
        return cls(cumulative, torch.from_numpy(np.log(p).astype(np.float32)))

    def items(self, shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
        """Items (shape) int64. O(log N) each."""
        drawn = np.searchsorted(self.cumulative, rng.random(shape, dtype=np.float64), side="right")
        return torch.from_numpy(np.minimum(drawn, len(self.cumulative) - 1))


@torch.no_grad()
def hardest(hidden: Tensor, table: Tensor, targets: Tensor, drawn: Tensor, count: int) -> Tensor:
    """(T, count) of each row's draws (T, M) the items that score highest, the target itself last of all.

    Zhang et al., "Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling", SIGIR 2013. The larger M,
    the more the loss looks at the top of the list; a draw may well be an item that the asker would like, so that M of all N
    items is too many. O(T M D).
    """
    scores = torch.einsum("td,tmd->tm", hidden, F.embedding(drawn, table))
    scores = scores.masked_fill(drawn == targets[:, None], -torch.inf)
    return drawn.gather(1, scores.topk(min(count, drawn.shape[1]), dim=1).indices)
