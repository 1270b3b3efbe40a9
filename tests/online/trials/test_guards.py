"""Guards of a trial: a bad version is found soon, an equal one almost never, at every look."""

import math

import numpy as np
import pytest

from leanrec.errors import SettingError
from leanrec.online.trials.guards import GuardedComparison, RateTest, SlowdownTest, TrialGuards


def test_the_gain_of_the_bets_is_the_product_over_the_observations() -> None:
    for seed in range(20):
        rng, test = np.random.default_rng(seed), RateTest(1e-3)
        wealth, highest = np.ones(3), 1.0
        for happened in (rng.random(100) < 0.3).tolist():
            test.add(happened, 0.1)
            wealth *= 1 + np.array([0.02, 0.1, 0.5]) / 0.1 * (happened - 0.1)
            highest = max(highest, wealth.mean())
            assert test.is_exceeded == (highest > 1e3)


def test_a_rate_that_is_allowed_alarms_no_more_often_than_stated() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(300):
        test = RateTest(0.05)
        for happened in (rng.random(400) < 0.05).tolist():
            test.add(happened, 0.05)
        alarms += test.is_exceeded
    assert alarms <= 0.05 * 300


def test_three_errors_in_a_row_are_enough() -> None:
    test = RateTest(1e-2)
    for _ in range(3):
        test.add(happened=True, allowed=0.01)
    assert test.is_exceeded
    assert (test.n, test.n_happened) == (3, 3)


def _compare_seconds(seed: int, slowdown: float = 1.0, slow_share: float = 1.0, share: float = 0.2) -> SlowdownTest:
    """Lists of both versions, while the load trebles all times now and then. A share of those of one version is slower."""
    rng, test = np.random.default_rng(seed), SlowdownTest(1.1, 0.01)
    load = np.repeat(rng.choice([1.0, 3.0], 100), 50)
    for seconds, busy in zip(rng.lognormal(-7, 0.4, len(load)).tolist(), load.tolist(), strict=True):
        is_candidate = rng.random() < share
        is_slower = is_candidate and rng.random() < slow_share
        test.add(is_candidate, seconds * busy * (slowdown if is_slower else 1.0))
    return test


def test_an_equal_version_is_not_slow_when_the_load_changes() -> None:
    found = [_compare_seconds(seed, share=share).explain() for seed in range(15) for share in (0.05, 0.5)]
    assert sum(each is not None for each in found) <= 1


def test_one_quick_list_of_the_current_version_is_compared_once() -> None:
    test = SlowdownTest(1.1, 0.01)
    test.add(is_candidate=False, seconds=1e-6)
    for _ in range(40):
        test.add(is_candidate=True, seconds=1e-3)
    assert (test.typical.n, test.typical.n_happened) == (1, 1)
    assert test.explain() is None


def test_lists_are_compared_in_pairs_whichever_comes_first() -> None:
    test = SlowdownTest(1.1, 0.01)
    for _ in range(30):
        test.add(is_candidate=True, seconds=2e-3)
        test.add(is_candidate=False, seconds=1e-3)
    assert (test.typical.n, test.typical.n_happened) == (30, 30)


def test_a_slow_version_is_found() -> None:
    assert all(
        "as long as one of the current version" in (_compare_seconds(seed, 1.5).explain() or "") for seed in range(5)
    )


def test_a_version_with_slow_lists_now_and_then_is_found() -> None:
    for seed in range(5):
        assert "the slowest of 200 lists" in (_compare_seconds(seed, 10.0, 0.1).explain() or "")


def _run_rewards(loss: float, seed: int, guards: TrialGuards = TrialGuards()) -> GuardedComparison:  # noqa: B008
    rng, comparison = np.random.default_rng(seed), GuardedComparison(guards)
    for user in range(1500):
        is_candidate = bool(rng.random() < 0.5)
        comparison.add_user(user, is_candidate=is_candidate)
        for _ in range(rng.poisson(2.0 * (1 - loss * is_candidate))):
            comparison.add_reward(user)
            if comparison.verdict is not None:
                return comparison
    return comparison


def test_users_who_act_less_end_a_trial() -> None:
    for seed in range(5):
        verdict = _run_rewards(0.3, seed).verdict
        assert verdict is not None
        assert verdict.guard == "reward"
        assert "positive events a user" in verdict.reason


def test_equal_versions_are_not_aborted() -> None:
    assert sum(_run_rewards(0.0, seed).verdict is not None for seed in range(15)) <= 1


def test_a_ratio_that_cannot_be_stands_before_a_verdict() -> None:
    comparison = GuardedComparison(TrialGuards())
    for user in range(500):
        comparison.add_user(user, is_candidate=user % 4 == 0)
    assert comparison.verdict is not None
    assert comparison.verdict.guard == "sample ratio"
    assert math.isclose(comparison.ratio.counts[0], 375, rel_tol=0.5)


def test_lists_that_fail_are_no_times() -> None:
    comparison = GuardedComparison(TrialGuards())
    for _ in range(250):
        comparison.add_list(1.0, is_candidate=False)
    for _ in range(3):
        comparison.add_list(9.0, is_candidate=True, has_failed=True)
    assert comparison.verdict is not None
    assert comparison.verdict.guard == "failures"
    assert not comparison.slowdown.seconds[1]


def test_more_processes_share_the_level() -> None:
    one, four = GuardedComparison(TrialGuards()), GuardedComparison(TrialGuards(), n_processes=4)
    assert math.isclose(one.failures.alpha, 4 * four.failures.alpha)
    assert four.rewards.level > one.rewards.level


@pytest.mark.parametrize("setting", [{"max_failures": 0.0}, {"max_slowdown": 0.5}, {"level": 1.0}])
def test_limits_are_checked(setting: dict[str, float]) -> None:
    with pytest.raises(SettingError):
        TrialGuards(**setting)
