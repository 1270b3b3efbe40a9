"""Parallel scan of a linear recurrence in log₂ L steps."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["linear_recurrence"]


def linear_recurrence(x: Tensor, decay: Tensor) -> Tensor:
    """States h_t = decay · h_{t−1} + x_t of inputs x (B, L, H) with h_{−1} = 0.

    ``decay`` (H,) is complex if x is, else real, and the same at every step. So the states follow by doubling: after
    step s each is the sum over the latest 2^s inputs (Hillis & Steele 1986; Blelloch 1990). O(B · L · H · log L)
    operations. The backward pass is the same recurrence in reverse and keeps the states only.
    """
    states: Tensor = _Recurrence.apply(x, decay)
    return states


def _scan_states(x: Tensor, decay: Tensor, *, reverse: bool) -> Tensor:
    h, step, power = x.clone(), 1, decay
    while step < h.shape[1]:
        earlier, later = h[:, :-step], h[:, step:]
        # The product is a temporary, so the overlapping update in place is safe.
        if reverse:
            earlier += later * power
        else:
            later += earlier * power
        step, power = 2 * step, power * power
    return h


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, decay: Tensor) -> Tensor:
        states = _scan_states(x, decay, reverse=False)
        ctx.save_for_backward(states, decay)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        states, decay = ctx.saved_tensors
        d_x = _scan_states(grads[0], decay.conj(), reverse=True)
        d_decay = (d_x[:, 1:] * states[:, :-1].conj()).sum((0, 1))
        return d_x, d_decay
