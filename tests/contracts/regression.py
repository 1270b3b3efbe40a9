"""A small regression problem, and a training of it, for tests of the trainer."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.run import Run
from leanrec.training.config import TrainingSettings
from leanrec.training.trainer import TrainingHistory, train

X = torch.from_numpy(np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32))
Y = (X @ torch.tensor([[1.0], [-2.0], [0.5]])) + 0.3
ONE = Run(seed=4, threads=1)
HOW = TrainingSettings(epochs=6, learning_rate=0.03)


@dataclasses.dataclass
class Lines:
    """A regression in batches of 8 that uses both generators; ``before`` is called with every (epoch, step)."""

    size: int = 8
    noise: float = 0.1
    before: Callable[[int, int], None] = lambda epoch, step: None
    y: Tensor = dataclasses.field(default_factory=lambda: Y)
    epoch: int = -1
    step: int = 0

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        self.epoch, self.step = self.epoch + 1, 0
        order = torch.from_numpy(rng.permutation(64))
        return [(X[rows], self.y[rows]) for rows in order.split(self.size)]

    def loss(self, network: nn.Module, batch: Any, rng: np.random.Generator) -> Tensor:
        self.before(self.epoch, self.step)
        self.step += 1
        x, y = batch
        noise = torch.from_numpy(rng.normal(0, self.noise, x.shape).astype(np.float32)) if self.noise else 0
        return F.mse_loss(network(x + noise), y)


def fresh(dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(9)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(dropout), nn.ReLU(), nn.Linear(8, 1))


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@torch.no_grad()
def quality(network: nn.Module) -> float:
    return -float(F.mse_loss(network(X), Y))


def learn(
    settings: TrainingSettings = HOW,
    run: Run = ONE,
    objective: Any = None,
    *,
    scored: bool = False,
    dropout: float = 0.2,
) -> tuple[TrainingHistory, dict[str, Tensor]]:
    network = fresh(dropout)
    score = (lambda: quality(network)) if scored else None
    history = train(network, objective or Lines(), settings, run, score=score, name="Lines")
    return history, weights(network)


class TrainingAbortedError(Exception):
    """Raised in the middle of a training."""
