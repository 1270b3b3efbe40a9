"""Pacing: long work in Python beside a server pauses often, so that no request waits for more than a small part of it."""

import contextlib
import threading
import time
from collections.abc import Iterator

__all__ = ["paced_work", "pause"]

_MIN_WORKED = 0.5e-3  # seconds; a shorter pause would cost more than it gives
_MAX_PAUSE = 20e-3
_this_thread = threading.local()


@contextlib.contextmanager
def paced_work(share: float = 0.25) -> Iterator[None]:
    """Let this thread sleep at each ``pause``, so that it works for a share of the time at most.

    The interpreter gives the threads of a process equal turns, whatever their priority: an event loop beside a thread that
    never waits has half of its time, and each of its requests waits for several turns. Beside one that pauses after each
    millisecond or two it has nearly all of it.

    Args:
        share: processor time of this thread as a share of the time that passes, above 0 and at most 1.
    """
    before = getattr(_this_thread, "pace", None)
    _this_thread.pace = (1 / share - 1, time.thread_time())
    try:
        yield
    finally:
        _this_thread.pace = before


def pause() -> None:
    """Let other threads go first, if this one is paced and has worked since its last pause. To be called with no lock held.

    Costs a tenth of a microsecond in a thread that is not paced.
    """
    pace = getattr(_this_thread, "pace", None)
    if pace is None:
        return
    factor, since = pace
    worked = time.thread_time() - since
    if worked >= _MIN_WORKED:
        time.sleep(min(worked * factor, _MAX_PAUSE))
        _this_thread.pace = (factor, time.thread_time())
