"""The quality factor holds a percentile of latency on a simulated server, takes nothing that lasts for normal, and recovers."""

import collections
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from leanrec.errors import SettingError
from leanrec.pipeline.responses import RUNGS
from leanrec.serving.load.quality import LoadLimits, QualityFactor

# Seconds of a list on each rung: 50 full lists a second, 100 without reasons, 250 from the cache, 500 popular ones.
COSTS = {"full": 0.02, "no_reasons": 0.01, "cached": 0.004, "popular": 0.002}
REFUSAL = 0.0005
LIMITS = LoadLimits(latency_target_ms=250, max_in_flight=64)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclasses.dataclass
class Answers:
    """What became of the requests, in the order of their answers.

    Attributes:
        arrived: seconds.
        latency: seconds; infinite for a refusal.
        rung: of the list, or "refused".
    """

    arrived: np.ndarray
    latency: np.ndarray
    rung: np.ndarray

    def between(self, start: float, end: float) -> "Answers":
        kept = (self.arrived >= start) & (self.arrived < end)
        return Answers(self.arrived[kept], self.latency[kept], self.rung[kept])

    def share(self, *rungs: str) -> float:
        return float(np.isin(self.rung, rungs).mean())


def arrive(*phases: tuple[float, float], seed: int = 0) -> np.ndarray:
    """Times of arrival of phases of so many seconds with so many requests a second, at random."""
    rng, start, times = np.random.default_rng(seed), 0.0, []
    for seconds, rate in phases:
        times.append(start + np.sort(rng.random(int(seconds * rate)) * seconds))
        start += seconds
    return np.concatenate(times)


def serve(
    arrivals: np.ndarray,
    limits: LoadLimits = LIMITS,
    cost: Callable[[str, float], float] = lambda rung, _: COSTS[rung],
) -> Answers:
    """A server with one processor and a queue, whose refusals take time too."""
    clock = Clock()
    quality, start = QualityFactor(limits, clock), clock.now
    queue: collections.deque[float] = collections.deque()
    answers: list[tuple[float, float, str]] = []
    position = 0
    while position < len(arrivals) or queue:
        if not queue:
            clock.now = max(clock.now, start + arrivals[position])
        while position < len(arrivals) and start + arrivals[position] <= clock.now:
            if len(queue) < limits.max_in_flight:
                queue.append(float(arrivals[position]))
            else:
                quality.add_refusal()
                clock.now += REFUSAL
                answers.append((float(arrivals[position]), float("inf"), "refused"))
            position += 1
        arrived, rung = queue.popleft(), quality.choose_rung()
        clock.now += cost(rung, clock.now - start)
        quality.add_answer(clock.now - start - arrived)
        answers.append((arrived, clock.now - start - arrived, rung))
    columns = zip(*answers, strict=True)
    return Answers(*(np.array(list(each)) for each in columns))


def test_a_quiet_server_makes_full_lists() -> None:
    answers = serve(arrive((60, 25)))
    assert answers.share("full") == 1
    assert np.quantile(answers.latency, 0.99) < 0.25


def test_a_mild_overload_that_lasts_is_held_at_the_target() -> None:
    answers = serve(arrive((600, 60))).between(5, 600)  # 1.2 times what full lists allow
    assert answers.share("refused") < 0.005
    assert answers.share("full", "no_reasons") > 0.95
    assert answers.share("full") > 0.4
    # Ten minutes later the latency is not higher than after one.
    for start in range(0, 600, 60):
        part = answers.between(start, start + 60)
        assert np.quantile(part.latency, 0.97) <= 0.25 * 1.2
        assert part.latency.max() < 0.8


@pytest.mark.parametrize("normal", [5, 25])
def test_after_a_burst_all_is_normal_within_five_seconds(normal: int) -> None:
    burst = 250 if normal == 25 else 450
    answers = serve(arrive((20, normal), (30, burst), (30, normal)))
    assert answers.between(0, 20).share("full") == 1
    during = answers.between(22, 50)
    in_time = during.latency <= 0.5
    assert in_time.sum() / 28 >= 0.85 * 50  # goodput, of the peak with full lists
    after = answers.between(55, 80)
    assert after.share("full") == 1
    assert np.quantile(after.latency, 0.99) < 0.25


def test_a_load_beyond_every_rung_is_refused_and_the_rest_is_in_time() -> None:
    answers = serve(arrive((30, 1_000))).between(5, 30)
    assert 0.3 < answers.share("refused") < 0.9
    kept = answers.latency[np.isfinite(answers.latency)]
    assert np.quantile(kept, 0.99) <= 0.5
    assert len(kept) / 25 >= 250


def test_a_slow_dependency_is_left_out_while_it_is_slow() -> None:
    def cost(rung: str, now: float) -> float:
        is_slow = 20 <= now < 60 and rung in {"full", "no_reasons"}
        return 0.4 if is_slow else COSTS[rung]

    answers = serve(arrive((100, 20)), cost=cost)
    assert answers.between(25, 60).share("cached", "popular") > 0.75
    assert answers.between(0, 19).share("full") == 1
    assert answers.between(67, 100).share("full") == 1


class TestLaw:
    def test_what_takes_too_long_for_ever_is_never_normal(self) -> None:
        clock = Clock()
        quality = QualityFactor(LIMITS, clock)
        seen = []
        for _ in range(300):  # lists that fail after ten seconds, one every two seconds
            clock.now += 2
            quality.add_answer(10.0, is_list=False)
            seen.append(quality.choose_rung())
        assert set(seen[15:]) == {"popular"}
        assert quality.value == 0

    def test_refusals_do_not_count_as_fast(self) -> None:
        clock = Clock()
        quality = QualityFactor(LIMITS, clock)
        for _ in range(5):
            quality.add_refusal()
        assert quality.value == pytest.approx(1 - 5 * 0.099)

    def test_quick_errors_count_for_nothing(self) -> None:
        clock = Clock()
        quality = QualityFactor(LIMITS, clock)
        quality.add_refusal()
        for _ in range(1_000):
            clock.now += 0.001
            quality.add_answer(0.001, is_list=False)
        assert quality.value == pytest.approx(0.901)

    @pytest.mark.parametrize(("percent", "is_held"), [(0.5, True), (2.0, False)])
    def test_it_rests_where_the_percentile_is_in_time(self, percent: float, is_held: bool) -> None:
        clock = Clock()
        quality, rng = QualityFactor(LIMITS, clock), np.random.default_rng(0)
        values = []
        for is_slow in rng.random(40_000) < percent / 100:  # 1,000 a second
            clock.now += 0.001
            quality.add_answer(0.3 if is_slow else 0.01)
            values.append(quality.value)
        usual = float(np.mean(values[10_000:]))
        assert usual > 0.9 if is_held else usual < 0.1

    def test_it_changes_by_steps(self) -> None:
        clock = Clock()
        quality = QualityFactor(LIMITS, clock)
        rungs = []
        for _ in range(1_000):  # five seconds of refusals
            clock.now += 0.005
            quality.add_refusal()
            rungs.append(quality.choose_rung())
        changes = [at for at in range(1, 1_000) if rungs[at] != rungs[at - 1]]
        assert [rungs[at] for at in changes] == ["no_reasons", "cached", "popular"]
        assert min(np.diff(changes)) * 0.005 >= 0.5 - 1e-9

    def test_a_better_rung_needs_more_than_the_threshold(self) -> None:
        clock = Clock()
        quality = QualityFactor(LIMITS, clock)
        for _ in range(3):
            quality.add_refusal()
        assert quality.choose_rung() == "no_reasons"
        clock.now += 0.3
        quality.add_answer(0.01)
        clock.now += 0.3
        assert 0.75 < quality.value < 0.85
        assert quality.choose_rung() == "no_reasons"
        clock.now += 0.3
        quality.add_answer(0.01)
        assert quality.choose_rung() == "full"

    def test_after_a_pause_it_starts_again(self) -> None:
        clock = Clock()
        quality = QualityFactor(LIMITS, clock)
        for _ in range(100):
            clock.now += 0.1
            quality.add_refusal()
            quality.choose_rung()
        assert quality.choose_rung() == RUNGS[-1]
        clock.now += 4.1
        assert quality.choose_rung() == "full"
        assert quality.value == 1


def test_the_target_that_nobody_has_set_follows_what_a_list_costs() -> None:
    slow, fixed = QualityFactor(LoadLimits()), QualityFactor(LoadLimits(latency_target_ms=250))
    for quality in (slow, fixed):
        quality.add_answer(0.3)
        quality.note_cost(0.001)
        quality.add_answer(0.3)
        assert quality.value == pytest.approx(1 - 2 * 0.099)
        quality.note_cost(0.3)
        quality.add_answer(1.1)
    assert slow.value > 1 - 2 * 0.099
    assert fixed.value == pytest.approx(1 - 3 * 0.099)


def test_limits_are_checked() -> None:
    with pytest.raises(SettingError, match="latency_target_ms must be"):
        LoadLimits(latency_target_ms=0)
    with pytest.raises(SettingError, match="max_in_flight must be"):
        LoadLimits(max_in_flight=0)
    with pytest.raises(SettingError, match="percentile must be"):
        LoadLimits(percentile=100)
