"""Values and gradients of the losses against slow references."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from leanrec.training import logit_blocks, losses

T, N, D = 37, 23, 6


def made(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """States (T, D), a table (N, D) and targets (T,)."""
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(T, D, generator=g, dtype=dtype).requires_grad_()
    table = torch.randn(N, D, generator=g, dtype=dtype).requires_grad_()
    return hidden, table, torch.randint(N, (T,), generator=g)


def agree(found: Callable[..., Tensor], slow: Callable[..., Tensor], *inputs: Tensor, tolerance: float = 1e-9) -> None:
    """Assert equal values and gradients, also for a loss that is part of a sum."""
    values, gradients = [], []
    for loss in (found, slow):
        value = loss(*inputs)
        values.append(float(value.detach()))
        gradients.append(torch.autograd.grad(3 * value, inputs))
    assert values[0] == pytest.approx(values[1], rel=tolerance)
    for mine, slowly in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, slowly, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("block", [1, 4 * 2**20])
def test_cross_entropy_over_all_items(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One block, and three of at most 16 targets."""
    monkeypatch.setitem(logit_blocks._BLOCK_BYTES, "cpu", block)
    hidden, table, targets = made()
    agree(
        lambda h, w: losses.cross_entropy(h, w, targets), lambda h, w: F.cross_entropy(h @ w.T, targets), hidden, table
    )


@pytest.mark.parametrize("block", [1, 4 * 2**20])
def test_cross_entropy_with_a_bias_for_each_item(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(logit_blocks._BLOCK_BYTES, "cpu", block)
    hidden, table, targets = made(1)
    bias = torch.randn(N, dtype=torch.float64).requires_grad_()
    agree(
        lambda h, w, b: losses.cross_entropy(h, w, targets, b),
        lambda h, w, b: F.cross_entropy(h @ w.T + b, targets),
        hidden, table, bias,
    )  # fmt: skip


def test_cross_entropy_of_one_item_and_of_no_target() -> None:
    hidden, table, targets = made()
    one = losses.cross_entropy(hidden, table[:1], torch.zeros_like(targets))
    assert float(one.detach()) == pytest.approx(0, abs=1e-9)
    none = losses.cross_entropy(hidden[:0], table, targets[:0])
    none.backward()
    assert float(none.detach()) == 0
    assert not table.grad.any()


@pytest.mark.parametrize("block", [1, 4 * 2**20])
@pytest.mark.parametrize("observed", [0.0, 0.3, 1.0])
def test_soft_cross_entropy_to_another_model(observed: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(logit_blocks._BLOCK_BYTES, "cpu", block)
    hidden, table, targets = made()
    # The other model is wider.
    soft_hidden, soft_table = torch.randn(T, 9, dtype=torch.float64), torch.randn(N, 9, dtype=torch.float64)
    one_hot = F.one_hot(targets, N).double()
    expected = (1 - observed) * (soft_hidden @ soft_table.T).softmax(1) + observed * one_hot
    agree(
        lambda h, w: losses.soft_cross_entropy(h, w, targets, soft_hidden, soft_table, observed),
        lambda h, w: F.cross_entropy(h @ w.T, expected),
        hidden,
        table,
    )


def test_cross_entropy_survives_large_logits() -> None:
    hidden, table, targets = made(dtype=torch.float32)
    loss = losses.cross_entropy(1e4 * hidden, table, targets)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(hidden.grad).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "sampled_softmax", "bce", "bpr"])
def test_losses_under_bfloat16_stay_close(loss: str) -> None:
    hidden, table, targets = made(dtype=torch.float32)
    negatives = torch.arange(N) if loss == "sampled_softmax" else torch.randint(N, (T, 4))
    more = () if loss == "cross_entropy" else (negatives,)
    exact = getattr(losses, loss)(hidden, table, targets, *more)
    with torch.autocast("cpu", torch.bfloat16):
        # What a network gives under autocast is in bfloat16.
        rough = getattr(losses, loss)(hidden.to(torch.bfloat16), table, targets, *more)
    assert float(rough.detach()) == pytest.approx(float(exact.detach()), rel=0.03)
    rough.backward()
    assert torch.isfinite(hidden.grad).all()
    assert torch.isfinite(table.grad).all()


def test_sampled_softmax_with_all_items_is_the_full_one() -> None:
    hidden, table, targets = made(2)
    agree(
        lambda h, w: losses.sampled_softmax(h, w, targets, torch.arange(N)),
        lambda h, w: F.cross_entropy(h @ w.T, targets),
        hidden,
        table,
    )


def test_log_q_makes_the_sampled_sum_unbiased() -> None:
    """exp(loss) − 1 is Σ exp(score − target score) over the others; its mean over all pairs of samples is the full sum."""
    hidden, table, targets = made(3)
    hidden, table, targets = hidden.detach(), table.detach()[:7], targets % 7
    p = np.random.default_rng(0).dirichlet(np.ones(7))
    log_q = torch.from_numpy(np.log(2 * p))
    for t in range(5):
        full = torch.exp(F.cross_entropy(hidden[t : t + 1] @ table.T, targets[t : t + 1])) - 1
        mean = 0.0
        for i, j in np.ndindex(7, 7):
            drawn = torch.tensor([i, j])
            loss = losses.sampled_softmax(hidden[t : t + 1], table, targets[t : t + 1], drawn, log_q)
            mean += p[i] * p[j] * (float(torch.exp(loss)) - 1)
        assert mean == pytest.approx(float(full), rel=1e-6)


def test_sampled_softmax_where_only_the_target_was_drawn() -> None:
    hidden, table, targets = made(4)
    loss = losses.sampled_softmax(hidden[:1], table, targets[:1], targets[:1].repeat(3))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)
    assert torch.isfinite(table.grad).all()


def test_losses_against_negatives_of_each_target() -> None:
    hidden, table, targets = made(5)
    negatives = torch.randint(N, (T, 4), generator=torch.Generator().manual_seed(1))
    negatives[:5, 1] = targets[:5]

    def slowly(one: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        def loss(h: Tensor, w: Tensor) -> Tensor:
            each = []
            for t in range(T):
                others = negatives[t][negatives[t] != targets[t]]
                each.append(one(h[t] @ w[targets[t]], w[others] @ h[t]))
            return torch.stack(each).mean()

        return loss

    def bce(positive: Tensor, negative: Tensor) -> Tensor:
        return -torch.log(torch.sigmoid(positive)) - torch.log(1 - torch.sigmoid(negative)).sum()

    def gbce(positive: Tensor, negative: Tensor) -> Tensor:
        a = 4 / (N - 1)
        beta = a * (0.6 * (1 - 1 / a) + 1 / a)
        return -torch.log(torch.sigmoid(positive) ** beta) - torch.log(1 - torch.sigmoid(negative)).sum()

    def bpr(positive: Tensor, negative: Tensor) -> Tensor:
        return -torch.log(torch.sigmoid(positive - negative)).mean()

    agree(lambda h, w: losses.bce(h, w, targets, negatives), slowly(bce), hidden, table)
    share = 4 / (N - 1)
    agree(lambda h, w: losses.gbce(h, w, targets, negatives, sampling_rate=share, t=0.6), slowly(gbce), hidden, table)
    agree(lambda h, w: losses.bpr(h, w, targets, negatives), slowly(bpr), hidden, table)


@pytest.mark.parametrize("loss", ["bce", "bpr"])
def test_target_equal_to_all_its_negatives_has_no_loss(loss: str) -> None:
    hidden, table, targets = made(4)
    found = getattr(losses, loss)(hidden[:1], table, targets[:1], targets[:1, None].repeat(1, 3))
    found.backward()
    alone = F.softplus(-(hidden[0] @ table[targets[0]]).detach())
    assert float(found.detach()) == pytest.approx(float(alone) if loss == "bce" else 0)
    assert torch.isfinite(hidden.grad).all()
    assert torch.isfinite(table.grad).all()


def test_gbce_without_calibration_is_bce() -> None:
    hidden, table, targets = (each.detach() for each in made(6))
    negatives = torch.randint(N, (T, 4))
    plain = losses.bce(hidden, table, targets, negatives)
    assert float(losses.gbce(hidden, table, targets, negatives, sampling_rate=0.2, t=0)) == pytest.approx(float(plain))


def test_info_nce() -> None:
    first, _, _ = made(7)
    second = torch.randn(T, D, dtype=torch.float64).requires_grad_()

    def slow(a: Tensor, b: Tensor) -> Tensor:
        cosine = F.cosine_similarity(a[:, None], b[None], dim=2) / 0.3
        return F.cross_entropy(cosine, torch.arange(T))

    agree(lambda a, b: losses.info_nce(a, b, 0.3), slow, first, second)
    assert losses.info_nce(first, first, 0.01) < losses.info_nce(first, second, 0.01)


def test_alignment_and_uniformity() -> None:
    first, _, _ = made(8)
    second = torch.randn(T, D, dtype=torch.float64).requires_grad_()

    def align(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([(a[t] / a[t].norm() - b[t] / b[t].norm()).norm() ** 2 for t in range(T)]).mean()

    def uniform(a: Tensor) -> Tensor:
        return torch.pdist(F.normalize(a, dim=1)).square().mul(-2).exp().mean().log()

    agree(losses.alignment, align, first, second)
    agree(losses.uniformity, uniform, first)
    assert float(losses.uniformity(first.detach()[:1])) == 0
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert float(losses.uniformity(opposite)) == pytest.approx(-8)
    assert math.isclose(float(losses.uniformity(torch.ones(5, 3))), 0, abs_tol=1e-5)


def test_multinomial_in_blocks_equals_a_dense_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(logit_blocks._BLOCK_BYTES, "cpu", 0)  # blocks of 16 users
    rng = torch.Generator().manual_seed(0)
    hidden, table, bias = (
        torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True) for shape in ((40, 3), (5, 3), (5,))
    )
    dense = torch.rand(40, 5, generator=rng) < 0.4
    bounds = torch.cat([torch.zeros(1, dtype=torch.int64), dense.sum(1).cumsum(0)])
    loss = losses.multinomial(hidden, table, bias, dense.nonzero()[:, 1], bounds)
    fast = torch.autograd.grad(loss, (hidden, table, bias))
    slow_loss = -(torch.log_softmax(hidden @ table.T + bias, 1) * dense).sum() / dense.sum()
    slow = torch.autograd.grad(slow_loss, (hidden, table, bias))
    assert float(loss.detach()) == pytest.approx(float(slow_loss.detach()))
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b)


def test_second_backward_pass_is_refused() -> None:
    """Gradients are scaled in place, so a second pass would scale them twice."""
    hidden, table = torch.randn(5, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    loss = losses.cross_entropy(hidden, table, torch.arange(5))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace operation"):
        loss.backward()


def test_summed_losses_are_scaled_once_each() -> None:
    hidden, table = torch.randn(5, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    targets = torch.arange(5)
    parts = [losses.cross_entropy(hidden[i:j], table, targets[i:j]) for i, j in ((0, 2), (2, 5))]
    (0.4 * parts[0] + 0.6 * parts[1]).backward()
    made = hidden.grad, table.grad
    hidden.grad = table.grad = None
    F.cross_entropy(hidden @ table.T, targets).backward()
    for ours, slow in zip(made, (hidden.grad, table.grad), strict=True):
        assert ours is not None
        torch.testing.assert_close(ours, slow)
