"""Data-parallel training under ``torchrun``: every worker steps on its part of the batches with the mean gradient of all."""

import dataclasses
import os
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

__all__ = ["Workers"]

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Workers:
    """The processes that train together; one where nobody started more."""

    rank: int = 0
    count: int = 1

    @classmethod
    def now(cls) -> "Workers":
        """The workers that ``torchrun`` started, or this process alone."""
        if not dist.is_available():
            return cls()
        if not dist.is_initialized():
            if int(os.environ.get("WORLD_SIZE", "1")) == 1:
                return cls()
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is the worker that writes and speaks for all."""
        return self.rank == 0

    def deal(self, batches: Sequence[_T]) -> Sequence[_T]:
        """This worker's batches; all get equally many, the last few go to nobody where they do not."""
        each = len(batches) // self.count
        return batches if self.count == 1 else [batches[i * self.count + self.rank] for i in range(each)]

    def share(self, network: nn.Module) -> None:
        """Give every worker the weights of the first."""
        if self.count > 1:
            for value in network.state_dict().values():
                dist.broadcast(value, 0)

    def average(self, network: nn.Module) -> None:
        """Replace each gradient by its mean over the workers."""
        if self.count == 1:
            return
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad = parameter.grad.to_dense() if parameter.grad.is_sparse else parameter.grad
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.count

    def mean(self, value: float) -> float:
        """The mean of a number over the workers."""
        if self.count == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(total)
        return float(total) / self.count
