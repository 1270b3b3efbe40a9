"""A linear recurrence over a sequence in parallel: log₂ L steps instead of L."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["recurrence"]


def recurrence(x: Tensor, decay: Tensor) -> Tensor:
    """States h_t = decay · h_{t−1} + x_t of x (B, L, H), from h_{−1} = 0; ``decay`` (H,), both complex or both real.

    Because the decay is the same at every step, doubling gives all states: after step s each is the sum over the
    latest 2^s inputs (Hillis & Steele 1986; Blelloch 1990). O(B · L · H · log L) operations; the step back is the same
    recurrence from the end, so nothing but the states is kept for it.
    """
    states: Tensor = _Recurrence.apply(x, decay)
    return states


def _scan(x: Tensor, decay: Tensor, *, back: bool) -> Tensor:
    h, step, power = x.clone(), 1, decay
    while step < h.shape[1]:
        earlier, later = h[:, :-step], h[:, step:]
        # The right side is whole before anything is written.
        if back:
            earlier += later * power
        else:
            later += earlier * power
        step, power = 2 * step, power * power
    return h


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, decay: Tensor) -> Tensor:
        states = _scan(x, decay, back=False)
        ctx.save_for_backward(states, decay)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        states, decay = ctx.saved_tensors
        d_x = _scan(grads[0], decay.conj(), back=True)
        d_decay = (d_x[:, 1:] * states[:, :-1].conj()).sum((0, 1))
        return d_x, d_decay
