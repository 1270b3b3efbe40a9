"""Sample ratio checks: right values, false alarms at every look, and ratios that are found."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaln

from leanrec.errors import DataError, SettingError
from leanrec.online.experiments import SampleRatioMonitor, check_sample_ratio


def add_users(arms, shares=(0.5, 0.5)):
    monitor = SampleRatioMonitor(shares)
    for arm in arms:
        monitor.add(arm)
    return monitor


def test_the_fixed_check_is_the_chi_square_test():
    assert check_sample_ratio([5300, 4700], [0.5, 0.5]) == pytest.approx(stats.chisquare([5300, 4700]).pvalue)
    expected = stats.chisquare([95, 40, 65], [100, 50, 50]).pvalue
    assert check_sample_ratio([95, 40, 65], [0.5, 0.25, 0.25]) == pytest.approx(expected)
    assert check_sample_ratio([0, 0], [0.5, 0.5]) == 1.0


def test_the_sequential_p_value_is_one_over_the_largest_bayes_factor():
    rng = np.random.default_rng(3)
    shares = np.array([0.5, 0.3, 0.2])
    arms = rng.choice(3, 400, p=[0.4, 0.3, 0.3])
    prior, largest = 1000 * shares, 1.0
    for n in range(1, 401):
        counts = np.bincount(arms[:n], minlength=3)
        log_factor = gammaln(1000) - gammaln(1000 + n) + np.sum(gammaln(prior + counts) - gammaln(prior))
        largest = max(largest, math.exp(log_factor - counts @ np.log(shares)))
    monitor = add_users(arms.tolist(), shares.tolist())
    assert monitor.p_value == pytest.approx(1 / largest, rel=1e-8)
    assert monitor.counts == np.bincount(arms).tolist()
    assert largest > 1


def test_right_ratios_raise_few_alarms_though_every_user_is_a_look():
    n_sequential = n_fixed = 0
    for seed in range(60):
        arms = np.random.default_rng(seed).integers(0, 2, 1500)
        n_sequential += add_users(arms.tolist()).p_value <= 0.05
        counts = np.cumsum(arms)
        n = np.arange(1, 1501)
        n_fixed += np.any(stats.chi2.sf((2 * counts - n) ** 2 / n, 1) <= 0.05)
    assert n_sequential <= 6
    assert n_fixed >= 20  # a check for one look raises far too many


def test_wrong_ratios_are_found():
    n_found = 0
    for seed in range(10):
        arms = (np.random.default_rng(seed).random(8500) < 0.47).astype(int)
        n_found += add_users(arms.tolist()).is_mismatch
    assert n_found >= 8
    assert not add_users([0, 1] * 4000).is_mismatch


def test_shares_and_arms_that_mean_nothing_are_refused():
    for shares in ([1.0], [0.5, 0.6], [0.0, 1.0]):
        with pytest.raises(SettingError, match="shares must be"):
            SampleRatioMonitor(shares)
    with pytest.raises(SettingError, match="counts must have 2"):
        check_sample_ratio([1, 2, 3], [0.5, 0.5])
    with pytest.raises(DataError, match="An arm must be a number from 0 to 1"):
        add_users([2])
