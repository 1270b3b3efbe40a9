"""Draws follow their probabilities; the hardest are those of highest score."""

import numpy as np
import pytest
import torch

from leanrec.training.negative_sampling import NegativeSampler, select_hardest

COUNTS = np.array([0, 1, 5, 50, 500])


@pytest.mark.parametrize(("how", "power"), [("uniform", 0.75), ("popularity", 0.75), ("popularity", 1.0)])
def test_items_are_sampled_by_their_probability(how: str, power: float) -> None:
    draw = NegativeSampler.from_counts(how, COUNTS, power)
    weight = np.ones(5) if how == "uniform" else (COUNTS + 1.0) ** power
    p = weight / weight.sum()
    np.testing.assert_allclose(draw.log_p.numpy(), np.log(p), rtol=1e-5)
    n = 40_000
    found = np.bincount(draw.sample((n // 2, 2), np.random.default_rng(0)).numpy().ravel(), minlength=5)
    assert (abs(found - n * p) <= 4 * np.sqrt(n * p * (1 - p)) + 1).all()


def test_same_seed_samples_the_same_items() -> None:
    draw = NegativeSampler.from_counts("popularity", COUNTS)
    assert torch.equal(draw.sample((9,), np.random.default_rng(1)), draw.sample((9,), np.random.default_rng(1)))


def test_only_item_is_always_sampled() -> None:
    assert not NegativeSampler.from_counts("uniform", np.array([7])).sample((100,), np.random.default_rng(0)).any()


def test_hardest_candidates_have_the_highest_scores() -> None:
    g = torch.Generator().manual_seed(0)
    hidden, table = torch.randn(6, 4, generator=g), torch.randn(30, 4, generator=g)
    targets, drawn = torch.randint(30, (6,), generator=g), torch.randint(30, (6, 12), generator=g)
    drawn[:, 0] = targets
    found = select_hardest(hidden, table, targets, drawn, 3)
    for t in range(6):
        others = [(float(hidden[t] @ table[i]), int(i)) for i in drawn[t] if i != targets[t]]
        assert sorted(found[t].tolist()) == sorted(i for _, i in sorted(others, reverse=True)[:3])
    assert select_hardest(hidden, table, targets, drawn, 99).shape == (6, 12)
