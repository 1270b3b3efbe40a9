"""Pacing: long work in Python beside a server pauses often, so that no request waits for more than a small part of it."""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["SpareTimeWorker", "paced_work", "pause"]

_MIN_WORKED = 0.5e-3  # seconds; a shorter pause would cost more than it gives
_MAX_PAUSE = 20e-3
_CAPACITY = 32
_DELAY = 0.05  # seconds after a piece of work was offered: the answer that it is about is sent by then
_WORKING_SHARE = 0.1  # of the time of one thread; the requests have the rest
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


class SpareTimeWorker:
    """Does what no request waits for, in a thread of its own that works a tenth of the time.

    Work that finds the queue full is dropped, so a server under load does less of it and answers no later.
    """

    def __init__(self, name: str) -> None:
        """Prepare. The thread, of this name, starts with the first piece of work, in the process that offers it."""
        self._name = name
        self._queue: queue.Queue[tuple[float, Callable[[], None]] | None] = queue.Queue(_CAPACITY)
        self._thread: threading.Thread | None = None
        self._process = 0
        self._starting = threading.Lock()

    def offer(self, work: Callable[[], None]) -> bool:
        """Take a piece of work, which must not raise, and return True; or return False because the queue is full. Returns at once."""
        if self._process != os.getpid():
            with self._starting:
                if self._process != os.getpid():
                    self._process = os.getpid()
                    self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    self._thread.start()
        try:
            self._queue.put_nowait((time.monotonic() + _DELAY, work))
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Stop the thread, and drop the work that waits."""
        with self._starting:
            thread, self._thread = self._thread, None
        if thread is not None:
            while thread.is_alive():
                try:
                    self._queue.put_nowait(None)
                    break
                except queue.Full:
                    self._queue.get_nowait()
            thread.join()

    def _run(self) -> None:
        while (waiting := self._queue.get()) is not None:
            due, work = waiting
            time.sleep(max(0.0, due - time.monotonic()))
            start = time.monotonic()
            work()
            time.sleep((time.monotonic() - start) * (1 / _WORKING_SHARE - 1))
            del waiting, work
