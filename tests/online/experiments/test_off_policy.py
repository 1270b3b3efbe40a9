"""Off-policy estimates: equal to references, with intervals that cover, and refused where the log has no support."""

import dataclasses
import math

import numpy as np
import pytest

from leanrec.errors import DataError, SettingError
from leanrec.online.experiments import LoggedDecisions, estimate_value

METHODS = ("ips", "snips", "dr", "sndr")
REWARDS = np.array([[0.1, 0.5, 0.3], [0.6, 0.2, 0.4]])  # by context and action
LOGGING = np.array([[0.5, 0.2, 0.3], [0.2, 0.2, 0.6]])
TARGET = np.array([[0.2, 0.7, 0.1], [0.5, 0.4, 0.1]])
PREDICTED = np.array([[0.2, 0.4, 0.4], [0.4, 0.3, 0.2]])  # a wrong model of the rewards
VALUE = float((REWARDS * TARGET).sum(axis=1).mean())


def log_bandit(n, seed=0):
    rng = np.random.default_rng(seed)
    contexts = rng.integers(0, 2, n)
    actions = (rng.random(n)[:, None] > LOGGING.cumsum(axis=1)[contexts]).sum(axis=1)
    return LoggedDecisions(
        rewards=(rng.random(n) < REWARDS[contexts, actions]).astype(float),
        propensities=LOGGING[contexts, actions],
        targets=TARGET[contexts, actions],
        predicted=PREDICTED[contexts, actions],
        target_predicted=(PREDICTED * TARGET).sum(axis=1)[contexts],
    )


def estimate_slowly(log, method):
    """Value and error by the definitions, one decision after the other."""
    n = len(log.rewards)
    is_doubly_robust, is_normalized = method in {"dr", "sndr"}, method in {"snips", "sndr"}
    weights, rests, bases = [], [], []
    for at in range(n):
        weights.append(log.targets[at] / log.propensities[at])
        rests.append(log.rewards[at] - (log.predicted[at] if is_doubly_robust else 0))
        bases.append(log.target_predicted[at] if is_doubly_robust else 0)
    divisor = sum(weights) if is_normalized else n
    value = sum(bases) / n + sum(w * r for w, r in zip(weights, rests, strict=True)) / divisor
    center = (value - sum(bases) / n) if is_normalized else 0
    terms = [b + n / divisor * w * (r - center) for w, r, b in zip(weights, rests, bases, strict=True)]
    mean = sum(terms) / n
    return value, math.sqrt(sum((term - mean) ** 2 for term in terms) / (n - 1) / n)


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("ips", 0.43075285905758764),
        ("snips", 0.4723164130470729),
        ("dr", 0.4170863694133394),
        ("sndr", 0.41032453387536627),
    ],
)
def test_estimates_are_those_of_obp(method, value):
    # Of obp 0.5.7 for the same numbers.
    rng = np.random.RandomState(7)
    logging, target, predicted = rng.dirichlet(np.ones(4) * 2, 60), rng.dirichlet(np.ones(4) * 2, 60), rng.rand(60, 4)
    actions = np.array([rng.choice(4, p=each) for each in logging])
    rewards, rows = rng.binomial(1, 0.3 + 0.1 * actions), np.arange(60)
    log = LoggedDecisions(
        rewards,
        logging[rows, actions],
        target[rows, actions],
        predicted=predicted[rows, actions],
        target_predicted=(target * predicted).sum(axis=1),
    )
    assert estimate_value(log, method, min_effective_n=5).value == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_estimates_are_those_of_the_definitions(method):
    log = log_bandit(300)
    found = estimate_value(log, method)
    value, error = estimate_slowly(log, method)
    assert found.value == pytest.approx(value, rel=1e-9)
    assert (found.high - found.value) / 1.959963984540054 == pytest.approx(error, rel=1e-6)
    assert found.high - found.value == pytest.approx(found.value - found.low)
    weights = log.targets / log.propensities
    assert found.effective_n == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert (found.n, found.logged) == (300, log.rewards.mean())


@pytest.mark.parametrize("method", METHODS)
def test_intervals_hold_the_value_of_a_known_bandit(method):
    found = [estimate_value(log_bandit(400, seed), method) for seed in range(1000, 1600)]
    n_covered = sum(each.low <= VALUE <= each.high for each in found)
    assert 0.93 <= n_covered / 600 <= 0.97
    mean = np.mean([each.value for each in found])
    error = np.std([each.value for each in found]) / math.sqrt(600)
    assert abs(mean - VALUE) < 4 * error


def test_decisions_of_one_user_are_no_independent_evidence():
    log = log_bandit(500)
    repeated = {name: np.repeat(getattr(log, name), 4) for name in ("rewards", "propensities", "targets")}
    once = estimate_value(log)
    by_user = estimate_value(LoggedDecisions(**repeated, users=np.repeat(np.arange(500), 4)))
    alone = estimate_value(LoggedDecisions(**repeated))
    assert by_user.value == pytest.approx(once.value)
    assert (by_user.low, by_user.high) == pytest.approx((once.low, once.high))
    assert alone.high - alone.low == pytest.approx((once.high - once.low) / 2, rel=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_a_second_estimate_is_the_first_and_the_arguments_stay(method):
    log = log_bandit(200)
    given = [np.array(each) for each in (log.rewards, log.propensities, log.targets)]
    before = [each.copy() for each in given]
    for each in given:
        each.flags.writeable = False
    again = dataclasses.replace(log, rewards=given[0], propensities=given[1], targets=given[2])
    assert estimate_value(again, method) == estimate_value(again, method) == estimate_value(log, method)
    for each, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(each, copy)


def test_the_target_that_is_the_logging_policy_earns_what_was_logged():
    log = log_bandit(200)
    same = dataclasses.replace(log, targets=log.propensities)
    assert estimate_value(same, "ips").value == pytest.approx(log.rewards.mean())
    assert estimate_value(same, "snips").effective_n == pytest.approx(200)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"propensities": np.ones(200)}, "All are 1: it always does the same"),
        ({"propensities": np.full(200, np.nan)}, "200 of 200 are missing"),
        ({"propensities": np.zeros(200)}, "above 0 and at most 1"),
        ({"propensities": np.full(200, 1.5)}, "above 0 and at most 1"),
        ({"targets": np.zeros(200)}, "No support: the target does nothing of what was logged"),
        ({"targets": np.full(200, -0.1)}, "targets must be probabilities"),
        ({"propensities": np.r_[1.0, np.full(199, 0.5)]}, "No support: for 1 of 200 decisions logging had no choice"),
        ({"propensities": np.full(200, 0.001)}, "the propensities are not those of the policy"),
        ({"rewards": np.zeros(200)}, "All 200 are 0, so nothing is known of their variance"),
        ({"rewards": np.full(199, 1.0)}, r"must have the shape \(199,\)"),
        ({"rewards": np.zeros(0)}, "must have|There must be"),
    ],
)
def test_logs_that_tell_nothing_of_the_target_are_refused(changes, message):
    with pytest.raises(DataError, match=message):
        estimate_value(dataclasses.replace(log_bandit(200), **changes))


def test_a_target_that_does_what_logging_never_did_is_refused():
    # Logging draws only two of three actions; the target takes the third in 40 % of the cases.
    rng = np.random.default_rng(0)
    first = rng.random(2000) < 0.5
    log = LoggedDecisions(rng.random(2000) < 0.3, np.full(2000, 0.5), np.where(first, 0.4, 0.2))
    with pytest.raises(DataError, match=r"No support: .* the target does \d+% of the time what logging never did"):
        estimate_value(log)


def test_too_little_evidence_is_refused():
    log = log_bandit(40)
    with pytest.raises(DataError, match=r"tells as much as \d+\.\d"):
        estimate_value(log, min_effective_n=41)
    with pytest.raises(DataError, match="dr needs predicted"):
        estimate_value(dataclasses.replace(log, predicted=None), "dr", min_effective_n=1)
    with pytest.raises(SettingError, match="method must be one of"):
        estimate_value(log, "replay")
