"""The parallel recurrence equals a sequential loop."""

import pytest
import torch
from torch import Tensor

from leanrec.nn.recurrence import linear_recurrence


def step_by_step(x: Tensor, decay: Tensor) -> Tensor:
    h, states = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = decay * h + x[:, t]
        states.append(h)
    return torch.stack(states, 1)


def draw(length: int, *, dtype: torch.dtype = torch.complex128) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(length)
    x = torch.randn(3, length, 5, dtype=dtype, generator=rng)
    angle, size = torch.rand(5, generator=rng) * 6, 0.8 + 0.19 * torch.rand(5, generator=rng)
    decay = torch.polar(size, angle) if dtype.is_complex else size
    return x.requires_grad_(), decay.to(dtype).requires_grad_()


@pytest.mark.parametrize("length", [1, 2, 3, 8, 13, 64, 201])
@pytest.mark.parametrize("dtype", [torch.complex128, torch.float64])
def test_states_and_gradients_equal_a_sequential_loop(length: int, dtype: torch.dtype) -> None:
    x, decay = draw(length, dtype=dtype)
    fast, slow = linear_recurrence(x, decay), step_by_step(x, decay)
    torch.testing.assert_close(fast, slow)
    weight = torch.randn(slow.shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    found = torch.autograd.grad((fast * weight).sum().real, (x, decay))
    expected = torch.autograd.grad((slow * weight).sum().real, (x, decay))
    torch.testing.assert_close(found, expected)


def test_gradients_agree_with_differences() -> None:
    assert torch.autograd.gradcheck(linear_recurrence, draw(6))


def test_inputs_are_not_modified() -> None:
    x, decay = draw(7)
    before = x.detach().clone()
    linear_recurrence(x, decay)
    torch.testing.assert_close(x.detach(), before)
