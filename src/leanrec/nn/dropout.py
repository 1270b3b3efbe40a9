"""Dropout that is fast on CPUs."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["dropout"]


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Set a share ``p`` of the elements to zero in training, and scale the others to keep the mean.

    On a CPU ``p`` is rounded to a multiple of 1/256, because one random byte decides each element and torch generates
    eight at once. This takes a fifth of the time of ``F.dropout``, which was a third of a training step of a small
    Transformer.
    """
    if not training or p == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p, training)
    dropped: Tensor = _Dropout.apply(x, min(255, max(1, round(256 * p))))
    return dropped


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: int) -> Tensor:
        n = x.numel()
        words = torch.empty((n + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        ctx.mask = words.view(torch.uint8)[:n].view(x.shape) < threshold
        ctx.scale = 256 / (256 - threshold)
        return x.masked_fill(ctx.mask, 0).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0].masked_fill(ctx.mask, 0).mul_(ctx.scale), None
