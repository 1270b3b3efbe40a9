"""Simulated canaries: good ones go on, and bad ones are ended by the guard of what is bad."""

import canaries
import numpy as np
import pytest
from canaries import Badness


def run_many(badness: Badness, n_lists: int, runs: int = 5) -> list[str]:
    return [canaries.run_canary(np.random.default_rng(seed), n_lists, badness)[0] for seed in range(runs)]


def test_canaries_that_are_equal_go_on() -> None:
    assert run_many(Badness(), 1_000) == [""] * 5


@pytest.mark.parametrize(
    ("badness", "guard"),
    [
        (Badness(failures=0.2), "failures"),
        (Badness(seconds=3.0), "latency"),
        (Badness(clicks=0.0), "reward"),
    ],
)
def test_bad_canaries_are_ended_by_their_guard(badness: Badness, guard: str) -> None:
    assert run_many(badness, 3_000, runs=3) == [guard] * 3


def test_seconds_of_lists_are_those_of_their_users_and_bursts() -> None:
    users = np.arange(10_000) % 50
    seconds = np.log(canaries.simulate_seconds(np.random.default_rng(1), users))
    of_users = np.array([seconds[users == user].mean() for user in range(50)])
    of_blocks = seconds.reshape(100, 100).mean(axis=1)
    assert of_users.std() == pytest.approx(0.5, abs=0.15)
    assert of_blocks.std() == pytest.approx(0.7, abs=0.2)
