"""Negative sampling for models of histories: uniform, by popularity, or the hardest candidates.

Others draw their own: BPR in ``kernels.sgd.pairwise``, graph models in ``models.graph.core.training``, CTR models in
``models.ctr.core.training``.
"""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from leanrec.types import Int64Array

__all__ = ["NegativeSampler", "select_hardest"]


@dataclasses.dataclass(frozen=True, eq=False)
class NegativeSampler:
    """Samples items with replacement.

    Attributes:
        cumulative: (N,) float64 cumulative probabilities; the last is 1.
        log_p: (N,) float32 log-probabilities.
    """

    cumulative: NDArray[np.float64]
    log_p: Tensor

    @classmethod
    def from_counts(cls, distribution: str, counts: Int64Array, power: float = 0.75) -> "NegativeSampler":
        """A sampler from item frequencies.

        Args:
            distribution: "uniform", or "popularity", proportional to (count + 1) ** power.
            counts: (N,) number of interactions of each item.
            power: 0.75 as in word2vec.
        """
        weight = np.ones(len(counts)) if distribution == "uniform" else (counts + 1.0) ** power
        p = weight / weight.sum()
        cumulative = np.cumsum(p)
        cumulative[-1] = 1.0
        return cls(cumulative, torch.from_numpy(np.log(p).astype(np.float32)))

    def sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
        """Items of the given shape, int64. O(log N) each."""
        drawn = np.searchsorted(self.cumulative, rng.random(shape, dtype=np.float64), side="right")
        return torch.from_numpy(np.minimum(drawn, len(self.cumulative) - 1))


@torch.no_grad()
def select_hardest(hidden: Tensor, table: Tensor, targets: Tensor, candidates: Tensor, n: int) -> Tensor:
    """(T, n) the candidates (T, M) of each row with the highest scores; the target itself ranks last.

    Zhang et al., "Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling", SIGIR 2013. The larger
    M, the more the loss weighs the top of the ranking. With M close to N most selected items are false negatives,
    items that the user would like. O(T M D).
    """
    scores = torch.einsum("td,tmd->tm", hidden, F.embedding(candidates, table))
    scores = scores.masked_fill(candidates == targets[:, None], -torch.inf)
    return candidates.gather(1, scores.topk(min(n, candidates.shape[1]), dim=1).indices)
