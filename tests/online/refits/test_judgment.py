"""Judgment of a refit: intervals over users and over items, and what speaks against a proposal."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.evaluation.bootstrap import PerQueryMetrics
from leanrec.online.refits.judgment import Judgment, judge_refit


def judge(difference: np.ndarray, items: np.ndarray, is_known: np.ndarray | None = None) -> Judgment:
    """Users who took one item each, of values 0.2 for the served version."""
    n = len(difference)
    truth = sp.csr_array((np.ones(n, np.float32), items.astype(np.int32), np.arange(n + 1)), shape=(n, 500))
    served, refit = np.full(n, 0.2), 0.2 + difference
    known = np.zeros(n, np.bool_) if is_known is None else is_known
    return judge_refit(
        PerQueryMetrics({"ndcg@10": served}, "same"), PerQueryMetrics({"ndcg@10": refit}, "same"), truth, known
    )


def test_a_difference_spread_over_items_is_a_win() -> None:
    rng = np.random.default_rng(0)
    found = judge(rng.normal(0.05, 0.1, 300), rng.integers(0, 100, 300))
    assert found.doubt is None
    assert (found.n_users, found.known_high) == (300, None)
    assert found.refit - found.served == pytest.approx(found.difference)
    assert found.low < found.difference < found.high
    assert "ndcg@10" in str(found)
    assert "300 users" in str(found)
    assert found.to_dict()["difference"] == found.difference


@pytest.mark.parametrize("n_pushed", [1, 2, 3])
def test_a_win_by_few_items_is_none(n_pushed: int) -> None:
    rng = np.random.default_rng(1)
    difference = np.concatenate([np.full(600, 0.6), rng.normal(-0.02, 0.05, 300)])
    items = np.concatenate([np.arange(600) % n_pushed, rng.integers(100, 400, 300)])
    found = judge(difference, items)
    assert found.low > 0.3
    assert "few items alone" in str(found.doubt)


def test_a_loss_of_the_known_users_is_no_win() -> None:
    """Invented users spread their events over many items."""
    rng = np.random.default_rng(2)
    difference = np.concatenate([np.full(600, 0.5), rng.normal(-0.03, 0.05, 300)])
    found = judge(difference, rng.integers(0, 300, 900), np.arange(900) >= 600)
    assert found.low > 0
    assert found.low_by_item > 0
    assert "worse for the users whom" in str(found.doubt)


def test_chance_is_no_win_and_equal_versions_neither() -> None:
    rng = np.random.default_rng(3)
    assert "not above 0" in str(judge(rng.normal(0.002, 0.2, 300), rng.integers(0, 100, 300)).doubt)
    assert "not above 0" in str(judge(np.zeros(50), np.arange(50)).doubt)


def test_users_without_a_value_and_users_of_several_items_count_once() -> None:
    truth = sp.csr_array(np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]], np.float32))
    served = PerQueryMetrics({"ndcg@10": np.array([0.1, 0.3, np.nan])}, "same")
    refit = PerQueryMetrics({"ndcg@10": np.array([0.3, 0.2, np.nan])}, "same")
    found = judge_refit(served, refit, truth, np.array([True, True, True]))
    assert (found.n_users, found.n_items) == (2, 3)
    assert found.difference == pytest.approx(0.05)
