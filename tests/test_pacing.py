"""Pacing: a thread that is paced sleeps between the parts of its work, and other threads never do."""

import functools
import threading
import time

import pytest

from leanrec import pacing
from leanrec.pacing import SpareTimeWorker, paced_work, pause


class Clock:
    """A clock of the processor time of a thread, which a test moves, and the pauses that were made."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def thread_time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    return clock


def test_pauses_keep_the_share_of_the_work(clock: Clock) -> None:
    with paced_work(0.25):
        clock.now += 0.002
        pause()
        pause()  # nothing was done since
        clock.now += 0.0001
        pause()
        clock.now += 0.003
        pause()
    assert clock.pauses == pytest.approx([0.006, 0.0093])


def test_a_pause_is_short_however_long_the_work_before_it(clock: Clock) -> None:
    with paced_work(0.1):
        clock.now += 5.0
        pause()
    assert clock.pauses == [pacing._MAX_PAUSE]


def test_only_the_thread_that_is_paced_pauses(clock: Clock) -> None:
    pause()
    with paced_work(), paced_work(0.5):
        clock.now += 1.0
        other = threading.Thread(target=pause)
        other.start()
        other.join()
        assert clock.pauses == []
    clock.now += 1.0
    pause()
    assert clock.pauses == []


def test_work_of_the_whole_time_does_not_sleep() -> None:
    start = time.thread_time()
    with paced_work(1.0):
        while time.thread_time() < start + 0.001:
            pass
        pause()


def test_spare_time_work_runs_in_order_and_what_finds_the_queue_full_is_dropped() -> None:
    worker, done, go = SpareTimeWorker("test-spare"), list[int](), threading.Event()
    started = threading.Event()

    def wait() -> None:
        started.set()
        go.wait(10)

    assert worker.offer(wait)
    assert started.wait(10)
    taken = [worker.offer(functools.partial(done.append, number)) for number in range(60)]
    assert taken == [True] * 32 + [False] * 28
    go.set()
    worker.close()
    assert done == sorted(done)
    assert not any(each.name == "test-spare" for each in threading.enumerate())
