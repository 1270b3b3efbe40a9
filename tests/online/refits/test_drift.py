"""Drift: falls of the response rate are noticed, steady streams and young lists are not taken for one."""

from pathlib import Path

import numpy as np
import pytest

from leanrec.events import SQLiteEventStore
from leanrec.events.records import ServedList
from leanrec.events.user_events import UserEvent
from leanrec.online.refits.drift import find_fall, page_hinkley, read_responses

# Streams of 3,000 values of one rate and 6,000 of another, and where PageHinkley of river 0.26.1 notices the fall
# (min_instances=30, alpha=1, mode="down"): seed, rates, allowance, threshold, position.
RIVER = [
    (0, 0.3, 0.2, 0.005, 10.0, 2459),
    (0, 0.3, 0.2, 0.02, 25.0, 3176),
    (1, 0.05, 0.03, 0.005, 10.0, 3455),
    (1, 0.05, 0.03, 0.02, 25.0, None),
    (2, 0.5, 0.45, 0.005, 10.0, 405),
    (2, 0.5, 0.45, 0.02, 25.0, 4493),
]


def draw(seed: int, *spans: tuple[float, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.random(n) < rate for rate, n in spans])


@pytest.mark.parametrize(("seed", "before", "after", "allowance", "threshold", "position"), RIVER)
def test_positions_are_those_of_river(
    seed: int, before: float, after: float, allowance: float, threshold: float, position: int | None
) -> None:
    values = draw(seed, (before, 3_000), (after, 6_000)).astype(np.float64)
    assert page_hinkley(values, allowance, threshold) == position


def test_no_alarm_comes_before_its_values() -> None:
    values = np.concatenate([np.ones(50), np.zeros(10)])
    late = page_hinkley(values, 0.0, 1.0, min_values=58)
    early = page_hinkley(values, 0.0, 1.0)
    assert early is not None
    assert early < 57 == late
    assert page_hinkley(np.zeros(0), 0.1, 1.0) is None


def test_a_fall_is_noticed_and_a_rise_is_none() -> None:
    found = [find_fall(draw(seed, (0.05, 30_000), (0.04, 30_000))) for seed in range(10)]
    assert sum(each is not None and 30_000 < each < 50_000 for each in found) >= 9
    assert [find_fall(draw(seed, (0.05, 30_000), (0.06, 30_000))) for seed in range(5)] == [None] * 5


def test_steady_streams_raise_few_alarms() -> None:
    """One in a million lists, over all streams together."""
    assert sum(find_fall(draw(seed, (0.05, 200_000))) is not None for seed in range(10)) <= 2


@pytest.mark.parametrize("stream", [np.zeros(0, np.bool_), draw(0, (0.5, 1_000)), np.zeros(5_000, np.bool_)])
def test_without_lists_or_responses_there_is_no_drift(stream: np.ndarray) -> None:
    assert find_fall(stream) is None


def test_responses_are_read_by_version_and_young_lists_wait(tmp_path: Path) -> None:
    start = 1_600_000_000.0
    with SQLiteEventStore(tmp_path / "events.db") as log:
        for at in range(8):
            version = "old" if at < 2 else "new"
            log.append_served(ServedList(f"r{at}", start + 600 * at, "u", (1, 2), (0.5, 0.4), version=version))
        log.append(
            [
                UserEvent("a", "u", 1, "click", start + 5, 1.0, request="r0"),
                UserEvent("b", "u", 1, "click", start + 1_205, 1.0, request="r2"),
                UserEvent("c", "u", 2, "click", start + 1_206, 1.0, request="r2"),
                UserEvent("d", "u", 2, "skip", start + 1_805, 0.0, request="r3"),
                UserEvent("e", "u", 2, "click", start + 1_806, 1.0),
            ]
        )
        found = read_responses(log, "new")
        assert found.responded.tolist() == [True, False, False]
        assert found.n_waiting == 3
        assert found.rate == pytest.approx(1 / 3)
        assert len(read_responses(log, "none").responded) == 0
