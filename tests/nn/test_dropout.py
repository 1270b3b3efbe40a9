"""Dropout: share of dropped elements, mean, and gradients."""

import pytest
import torch

from leanrec.nn.dropout import dropout


@pytest.mark.parametrize("p", [0.01, 0.25, 0.5, 0.9])
def test_share_of_elements_is_dropped_and_the_mean_is_kept(p: float) -> None:
    torch.manual_seed(0)
    out = dropout(torch.ones(300, 401), p, training=True)
    share = round(256 * p) / 256
    assert float((out == 0).float().mean()) == pytest.approx(share, abs=0.01)
    assert float(out.mean()) == pytest.approx(1, abs=0.01 / (1 - p))


def test_gradients_pass_through_kept_elements() -> None:
    x = torch.ones(7, 13, requires_grad=True)
    out = dropout(x, 0.5, training=True)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_no_dropout_at_inference() -> None:
    x = torch.randn(5, 5)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0, training=True) is x


def test_elements_are_dropped_independently() -> None:
    torch.manual_seed(1)
    kept = (dropout(torch.ones(2000, 16), 0.5, training=True) > 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(16)
    assert float(correlation.abs().max()) < 0.12


def test_result_depends_on_torch_s_seed() -> None:
    draws = []
    for _ in range(2):
        torch.manual_seed(5)
        draws.append(dropout(torch.ones(50), 0.3, training=True))
    assert torch.equal(*draws)
