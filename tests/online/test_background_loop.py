"""Background loop: it calls at its interval, reports an error and goes on, and ends when it is closed."""

import os
import sys
import threading
from collections.abc import Callable

import pytest

from leanrec.errors import SourceError
from leanrec.online.background_loop import BackgroundLoop


class Counter(BackgroundLoop):
    """Counts the calls, and raises the given errors first."""

    def __init__(self, report: Callable[[str], None], errors: list[Exception], **options: float) -> None:
        self.errors, self.n_looks, self.looked = errors, 0, threading.Event()
        self.native_id = 0
        super().__init__("test-loop", report, 0.005, error_pause=0.01, **options)  # type: ignore[arg-type]

    def look(self) -> None:
        self.n_looks += 1
        self.native_id = threading.get_native_id()
        if self.errors:
            raise self.errors.pop(0)
        self.looked.set()


def test_errors_are_reported_and_do_not_end_the_loop() -> None:
    reports: list[str] = []
    with Counter(reports.append, [SourceError("The disk is full."), ZeroDivisionError("x")]) as loop:
        assert loop.looked.wait(30)
    assert reports == ["The disk is full.", "ZeroDivisionError('x')"]
    n_looks = loop.n_looks
    loop.close()
    assert loop.n_looks == n_looks >= 3


@pytest.mark.parametrize("first_wait", [0.0, 60.0])
def test_the_first_call_may_come_at_once_or_never(first_wait: float) -> None:
    with Counter(print, [], first_wait=first_wait) as loop:
        if not first_wait:
            assert loop.looked.wait(30)
    assert (loop.n_looks > 0) == (first_wait == 0)


@pytest.mark.parametrize("niceness", [1, 40])
def test_only_the_thread_gets_less_of_the_processors(niceness: int) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with Counter(print, [], first_wait=0.0, niceness=niceness) as loop:
        assert loop.looked.wait(30)
        if sys.platform == "linux":
            assert os.getpriority(os.PRIO_PROCESS, loop.native_id) == min(before + niceness, 19)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_loop_must_say_what_it_does() -> None:
    reported = threading.Event()
    reports: list[str] = []

    def report(text: str) -> None:
        reports.append(text)
        reported.set()

    with BackgroundLoop("test-loop", report, 0.005):
        assert reported.wait(30)
    assert reports == ["NotImplementedError()"]
