"""Statistics of experiments on simulations of known truth: false alarms, coverage, power, and propensities.

    python benchmarks/experiments.py [--runs 1000] [--events 5000] [--seed 1]

Everything is looked at after every event, as a dashboard does. Users of two arms come again and again, with very different
activity, and their rewards are clicks or heavy-tailed amounts of money. In an A/A run there is no difference, so every verdict is false.
"Fixed" is the usual interval of 95 % looked at after every event. Power is the number of users until a click rate of 5.5 % beside
5 % is found; a fixed test with 80 % power has 62,462. Off-policy estimates are of a bandit of known value, and the lists of the
explorer are compared with their propensities by χ². The exit code is 1 if a goal is missed.
"""

import argparse
import collections
import math
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats

from leanrec.data import Simulation
from leanrec.models import Popularity
from leanrec.online.experiments import (
    BoundedDifference,
    LoggedDecisions,
    RewardDifference,
    SampleRatioMonitor,
    estimate_value,
    predict_rewards,
)
from leanrec.pipeline import Pipeline

N_FIXED = 62_462  # users of both arms, for 80 % power at 5 % against 5.5 %
LEVEL = 0.95
_Z = float(stats.norm.ppf((1 + LEVEL) / 2))


def simulate_visits(rng: np.random.Generator, n_events: int, *, is_money: bool) -> Iterator[tuple[int, bool, float]]:
    """(user, is treated, reward) of visits, half of them of new users, without a difference between the arms."""
    treated, activity = rng.random(n_events) < 0.5, rng.gamma(0.5, 0.4, n_events)
    amounts = rng.lognormal(0, 1.5, n_events) if is_money else np.ones(n_events)
    for event, (chance, other) in enumerate(rng.random((n_events, 2)).tolist()):
        user = event // 2 if event % 2 == 0 else int(other * (event // 2 + 1))
        yield user, bool(treated[user]), float(amounts[event]) if chance < activity[user] else 0.0


def find_false_alarms(rng: np.random.Generator, n_events: int, *, is_money: bool) -> tuple[bool, bool]:
    """Whether an A/A run ever has a verdict: by the sequential interval, and by the fixed one."""
    difference = RewardDifference(LEVEL)
    mixture = difference.tightest_at / (2 * math.log(1 / 0.05) + math.log1p(2 * math.log(1 / 0.05)))
    is_found = is_found_by_fixed = False
    for user, is_treated, reward in simulate_visits(rng, n_events, is_money=is_money):
        difference.add_user(user, is_treated)
        if reward:
            difference.add_reward(user, reward)
        look = difference.find_interval()
        if math.isfinite(look.low):
            n = sum(look.users)
            errors = math.sqrt((1 + mixture / n) * (math.log1p(n / mixture) + 2 * math.log(1 / 0.05)))
            error = (look.high - look.value) / errors
            is_found |= look.excludes_zero
            is_found_by_fixed |= abs(look.value) > _Z * error
    return is_found, is_found_by_fixed


def misses_bounded(rng: np.random.Generator, n_users: int, share: float) -> bool:
    """Whether the interval of a bounded reward ever misses a difference of 0.1."""
    difference, is_missed = BoundedDifference(share, LEVEL), False
    for user, (arm, chance) in enumerate(rng.random((n_users, 2)).tolist()):
        difference.add(arm < share, float(chance < (0.3 if arm < share else 0.2)))
        if user % 50 == 49:  # a look reads all users
            look = difference.find_interval()
            is_missed |= not look.low <= 0.1 <= look.high
    return is_missed


def count_users_until_found(rng: np.random.Generator, most: int = 400_000) -> int:
    """Users until 5.5 % is told from 5 %, with a look after every user."""
    difference = RewardDifference(LEVEL, tightest_at=N_FIXED)
    for user, (arm, chance) in enumerate(rng.random((most, 2)).tolist()):
        difference.add_user(user, is_treated=arm < 0.5)
        if chance < (0.055 if arm < 0.5 else 0.05):
            difference.add_reward(user, 1.0)
            if difference.find_interval().low > 0:
                return user + 1
    return most


def count_users_until_mismatch(rng: np.random.Generator, chance: float, most: int) -> int | None:
    """Users until a sample ratio is found to be wrong; None = never."""
    monitor = SampleRatioMonitor((0.5, 0.5))
    for user, is_first in enumerate((rng.random(most) < chance).tolist()):
        monitor.add(int(is_first))
        if monitor.is_mismatch:
            return user + 1
    return None


def find_covered(rng: np.random.Generator, n: int = 500) -> dict[str, bool]:
    """Whether the interval of each estimate holds the value of the target policy."""
    rewards = np.array([[0.1, 0.5, 0.3], [0.6, 0.2, 0.4]])
    logging = np.array([[0.5, 0.2, 0.3], [0.2, 0.2, 0.6]])
    target = np.array([[0.2, 0.7, 0.1], [0.5, 0.4, 0.1]])
    predicted = np.array([[0.2, 0.4, 0.4], [0.4, 0.3, 0.2]])
    contexts = rng.integers(0, 2, n)
    actions = (rng.random(n)[:, None] > logging.cumsum(axis=1)[contexts, :2]).sum(axis=1)
    log = LoggedDecisions(
        (rng.random(n) < rewards[contexts, actions]).astype(float),
        logging[contexts, actions],
        target[contexts, actions],
        predicted=predicted[contexts, actions],
        target_predicted=(predicted * target).sum(axis=1)[contexts],
    )
    value = float((rewards * target).sum(axis=1).mean())
    found = {method: estimate_value(log, method) for method in ("ips", "snips", "dr", "sndr")}
    return {method: each.low <= value <= each.high for method, each in found.items()}


def find_modeled(rng: np.random.Generator, n_users: int = 60, n_each: int = 8) -> tuple[bool, float]:
    """Whether the doubly robust interval with cross-fitted predictions holds the value, and its width by that of IPS."""
    of_place, of_item = np.array([1.0, 0.8, 0.6, 0.5]), np.array([0.95, 0.2, 0.6, 0.9, 0.3, 0.85, 0.5, 0.1])
    kind, users = rng.integers(0, 2, n_users), np.repeat(np.arange(n_users), n_each)
    places, shown = (rng.integers(0, n, len(users)).astype(np.int32) for n in (len(of_place), len(of_item)))
    wanted = (places + 4 * kind[users]).astype(np.int32)
    rewards = (rng.random(len(users)) < of_place[places] * of_item[shown]).astype(float)
    predicted = predict_rewards(rewards, users, places, shown, wanted)
    propensities = np.full(len(users), 1 / len(of_item))
    log = LoggedDecisions(rewards, propensities, (shown == wanted).astype(float), users, *predicted)
    dr, ips = (estimate_value(log, method) for method in ("dr", "ips"))
    value = float(np.mean(of_place * (of_item[:4] + of_item[4:]) / 2))
    return dr.low <= value <= dr.high, (dr.high - dr.low) / (ips.high - ips.low)


def compare_propensities(n_lists: int, n: int = 5) -> float:
    """Smallest p-value, over the places of a list, of the χ² test that items are shown with their propensities."""
    data = Simulation(users=50, items=30, events=600).dataset()
    pipeline = Pipeline.fit(Popularity(), data)
    user = data.users.ids[0]
    shown = [collections.Counter[object]() for _ in range(n)]
    told: list[dict[object, float]] = [{} for _ in range(n)]
    for _ in range(n_lists):
        made = pipeline.recommend(user, n=n, explore=0.5, reasons=False, trace=True)  # traced lists are not cached
        for place, (item, propensity) in enumerate(zip(made.items, made.propensities or (), strict=True)):
            shown[place][item.id] += 1
            told[place][item.id] = propensity or 0.0
    smallest = min(
        float(stats.chisquare([shown[at][item] for item in told[at]], [n_lists * p for p in told[at].values()]).pvalue)
        for at in range(n)
    )
    return min(1.0, n * smallest)


class Results:
    """Rows of a table with goals."""

    def __init__(self) -> None:
        self.n_missed = 0
        print("| what | figure | goal | |\n|---|---|---|---|")

    def add(self, what: str, figure: str, goal: str = "", *, is_met: bool = True) -> None:
        """Print a row."""
        self.n_missed += not is_met
        print(f"| {what} | {figure} | {goal} | {('met' if is_met else 'MISSED') if goal else ''} |", flush=True)

    def add_rate(self, what: str, count: int, runs: int, most: float = 0.05) -> None:
        """Print a rate that must not be above a limit, as far as so many runs tell."""
        is_met = float(stats.binomtest(count, runs, most, "greater").pvalue) > 0.01
        self.add(what, f"{count / runs:.4f} of {runs:,}", f"≤ {most:g}", is_met=is_met)


def measure_false_alarms(
    results: Results, rngs: Callable[[], Iterator[np.random.Generator]], runs: int, events: int
) -> None:
    """A/A runs of all tests."""
    for is_money, what in ((False, "clicks"), (True, "money")):
        found = [find_false_alarms(rng, events, is_money=is_money) for rng in rngs()]
        results.add_rate(f"A/A, {what}, {events:,} events: false verdicts", sum(each[0] for each in found), runs)
        results.add(f"the same by the fixed interval ({what})", f"{sum(each[1] for each in found) / runs:.1%}")
    for share in (0.5, 0.1):
        n_missed = sum(misses_bounded(rng, events, share) for rng in rngs())
        results.add_rate(f"bounded interval, share {share:g}: ever misses the difference", n_missed, runs)
    n_alarms = sum(count_users_until_mismatch(rng, 0.5, events) is not None for rng in rngs())
    results.add_rate("sample ratio of 50:50: false alarms", n_alarms, runs, 0.001)


def main() -> int:
    """Print the table; 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="Runs of each simulation.")
    parser.add_argument("--events", type=int, default=5000, help="Events of an A/A run.")
    parser.add_argument("--seed", type=int, default=1, help="Seed of the simulations.")
    args = parser.parse_args()

    def rngs(part: int = 1) -> Iterator[np.random.Generator]:
        seeds = np.random.SeedSequence(args.seed).spawn(max(1, args.runs // part))
        return map(np.random.default_rng, seeds)

    start, results = time.perf_counter(), Results()
    measure_false_alarms(results, rngs, args.runs, args.events)
    users = [count_users_until_found(rng) for rng in rngs(20)]
    ratio = float(np.mean(users)) / N_FIXED
    results.add("users until 5 % → 5.5 % is found, of a fixed test", f"{ratio:.2f} ×", "≤ 1.7 ×", is_met=ratio <= 1.7)
    found = [count_users_until_mismatch(rng, 0.53, 6000) for rng in rngs(5)]
    share = np.mean([each is not None for each in found])
    results.add("53:47 found within 6,000 users", f"{share:.0%}", "≥ 50%", is_met=bool(share >= 0.5))
    covered = [find_covered(rng) for rng in rngs()]
    for method in covered[0]:
        n_covered = sum(each[method] for each in covered)
        low, high = stats.binomtest(n_covered, args.runs).proportion_ci(0.99)
        is_met = bool(low <= 0.97 and high >= 0.93)
        results.add(
            f"{method}: intervals that hold the value", f"{n_covered / args.runs:.1%}", "93 to 97%", is_met=is_met
        )
    modeled = [find_modeled(rng) for rng in rngs()]
    n_covered = sum(is_covered for is_covered, _ in modeled)
    low, high = stats.binomtest(n_covered, args.runs).proportion_ci(0.99)
    what = "dr with predicted rewards: intervals that hold the value"
    is_met = bool(low <= 0.97 and high >= 0.93)
    results.add(what, f"{n_covered / args.runs:.1%}", "93 to 97%", is_met=is_met)
    width = float(np.mean([ratio for _, ratio in modeled]))
    results.add("its width, of that of ips", f"{width:.2f} ×", "< 1 ×", is_met=width < 1)
    p_value = compare_propensities(20 * args.runs)
    results.add(
        f"propensities of {100 * args.runs:,} places: p-value", f"{p_value:.3f}", "> 0.001", is_met=p_value > 0.001
    )
    print(f"\n{time.perf_counter() - start:.0f} s")
    return int(results.n_missed > 0)


if __name__ == "__main__":
    sys.exit(main())
