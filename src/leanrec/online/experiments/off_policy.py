"""Off-policy estimates: what another policy would have earned, from the log of one that draws (Dudík and others 2014).

IPS weights each logged reward by target probability / propensity. SNIPS divides by the sum of the weights (Swaminathan and
Joachims 2015), and DR adds a model of the rewards, which need not be right. None of them can tell anything of what logging never
did, so the estimates are refused where the target does that.
"""

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from leanrec.errors import DataError
from leanrec.settings import check_at_least, check_between, check_one_of

__all__ = ["LoggedDecisions", "Method", "PolicyValue", "estimate_value"]

Method = Literal["ips", "snips", "dr", "sndr"]
Float64Array = NDArray[np.float64]

# The mean weight is 1 where logging may do all that the target does. So many standard errors from it are no chance.
_MAX_DEVIATION = 4.0


@dataclasses.dataclass(frozen=True, eq=False)
class LoggedDecisions:
    """n decisions of a logging policy: what they earned, and how probable they were and would be.

    A decision is one draw, such as the item at one rank of a list. The arrays are copied when they are not float64, and never
    changed.

    Attributes:
        rewards: (n,) reward of each decision, such as 1 for a click.
        propensities: (n,) probability with which logging drew what it drew.
        targets: (n,) probability with which the target policy draws the same.
        users: (n,) key of the user of each decision; decisions of one user are no independent evidence. None: each
            decision counts as a user of its own.
        predicted: (n,) predicted reward of what was drawn, by a model that has not seen these rewards; for DR.
        target_predicted: (n,) mean predicted reward of what the target policy draws, for DR.

    Raises DataError for arrays of other lengths and for numbers that are no probabilities.
    """

    rewards: Float64Array
    propensities: Float64Array
    targets: Float64Array
    users: NDArray[np.generic] | None = None
    predicted: Float64Array | None = None
    target_predicted: Float64Array | None = None

    def __post_init__(self) -> None:
        n = len(self.rewards)
        for field in dataclasses.fields(self):
            given = getattr(self, field.name)
            if given is None:
                continue
            values = np.asarray(given) if field.name == "users" else np.asarray(given, np.float64)
            n_missing = 0 if field.name == "users" else np.count_nonzero(~np.isfinite(values))
            if n_missing:
                raise DataError(
                    f"{field.name} must be finite numbers. {n_missing} of {n} are missing. Leave those out."
                )
            if values.shape != (n,):
                raise DataError(f"{field.name} must have the shape ({n},), as rewards has. Got {values.shape}.")
            object.__setattr__(self, field.name, values)
        if not n:
            raise DataError("There must be logged decisions. Got none.")
        if np.any((self.propensities <= 0) | (self.propensities > 1)):
            raise DataError(
                "propensities must be the probabilities with which the logged actions were drawn, above 0 and at most 1. Some are "
                "not, so they are not those of the policy that made the log."
            )
        if np.all(self.propensities == 1):
            raise DataError(
                "propensities must be those of a policy that draws. All are 1: it always does the same, so its log tells nothing of "
                "another policy. Serve with exploration first."
            )
        if np.any((self.targets < 0) | (self.targets > 1)):
            raise DataError("targets must be probabilities from 0 to 1. Some are not.")

    @property
    def weights(self) -> Float64Array:
        """(n,) target probability / propensity."""
        weights: Float64Array = self.targets / self.propensities
        return weights


@dataclasses.dataclass(frozen=True)
class PolicyValue:
    """Estimated mean reward of a decision of the target policy.

    Attributes:
        method: "ips", "snips", "dr" or "sndr".
        value: the estimate.
        low: lower end of the confidence interval.
        high: upper end of the confidence interval.
        logged: mean reward of the decisions in the log.
        n: number of decisions in the log.
        effective_n: number of decisions of the target itself that would tell as much: (Σ weights)² / Σ weights².
    """

    method: str
    value: float
    low: float
    high: float
    logged: float
    n: int
    effective_n: float


def estimate_value(
    decisions: LoggedDecisions, method: Method = "snips", *, level: float = 0.95, min_effective_n: float = 30.0
) -> PolicyValue:
    """Mean reward that the target policy would have earned for the same requests.

    The interval is that of the normal distribution, by user; it holds for one look at a log of fixed size. O(n log n).

    Args:
        decisions: the log.
        method: "ips" is unbiased, and wide where weights are large. "snips" is narrower, with a bias that vanishes as 1/n.
            "dr" and "sndr" are the same with a model of the rewards, and need ``predicted`` and ``target_predicted``.
        level: probability that the interval holds the value.
        min_effective_n: the smallest ``effective_n`` for which there is an estimate.

    Raises DataError if the log has no support for the target, that is, if the target does what logging never or hardly ever did,
    and if all rewards are equal, because then nothing is known of their variance.
    """
    check_one_of("method", method, ("ips", "snips", "dr", "sndr"))
    check_between("level", level, 0.5, 1 - 1e-9)
    check_at_least("min_effective_n", min_effective_n, 1)
    if decisions.rewards.min() == decisions.rewards.max():
        raise DataError(
            f"Some rewards must differ from others. All {len(decisions.rewards)} are {decisions.rewards[0]:g}, so nothing is known of "
            "their variance. Log more; an event is a reward of a list only if it names its request."
        )
    weights = decisions.weights
    effective_n = _check_support(decisions, weights, min_effective_n)
    base, residuals = np.zeros_like(weights), decisions.rewards
    if method in {"dr", "sndr"}:
        if decisions.predicted is None or decisions.target_predicted is None:
            raise DataError(
                f"{method} needs predicted and target_predicted, the rewards by a model. Use snips without."
            )
        base, residuals = decisions.target_predicted, decisions.rewards - decisions.predicted
    if method in {"ips", "dr"}:
        terms = base + weights * residuals
        value = float(terms.mean())
        influence = terms - value
    else:
        ratio = float(weights @ residuals / weights.sum())
        value = float(base.mean()) + ratio
        influence = base - base.mean() + weights * (residuals - ratio) / weights.mean()
    half = float(stats.norm.ppf((1 + level) / 2)) * _find_error(influence, decisions.users)
    logged = float(decisions.rewards.mean())
    return PolicyValue(method, value, value - half, value + half, logged, len(weights), effective_n)


def _find_error(influence: Float64Array, users: NDArray[np.generic] | None) -> float:
    """Standard error of a mean, from what each decision adds to it, by user."""
    n = len(influence)
    if users is not None:
        _, codes = np.unique(users, return_inverse=True)
        influence = np.bincount(codes, influence).astype(np.float64, copy=False)
    groups = len(influence)
    if groups < 2:
        return float("inf")
    return float(np.sqrt(groups / (groups - 1) * np.sum(influence**2)) / n)


def _check_support(decisions: LoggedDecisions, weights: Float64Array, min_effective_n: float) -> float:
    """The effective number of decisions. Raises DataError if the target does what logging never did."""
    n_fixed = np.count_nonzero((decisions.propensities == 1) & (decisions.targets < 1))
    if n_fixed:
        raise DataError(
            f"No support: for {n_fixed} of {len(weights)} decisions logging had no choice (propensity 1), and the target may do "
            "something else. Leave decisions without a choice out, for both policies."
        )
    total = float(weights.sum())
    if total == 0:
        raise DataError("No support: the target does nothing of what was logged. Log more, or with more exploration.")
    effective_n = total**2 / float(weights @ weights)
    mean = float(weights.mean())
    error = _find_error(weights - mean, decisions.users)
    if abs(mean - 1) > _MAX_DEVIATION * max(error, 1e-9):
        cause = (
            f"the target does {1 - mean:.0%} of the time what logging never did"
            if mean < 1
            else "the propensities are not those of the policy that made the log"
        )
        raise DataError(f"No support: the mean weight must be about 1. It is {mean:.3f}, so {cause}.")
    if effective_n < min_effective_n:
        raise DataError(
            f"No support: the log must tell as much of the target as {min_effective_n:g} decisions of its own. It tells as much "
            f"as {effective_n:.1f}. Log more, or with more exploration."
        )
    return effective_n
