"""Background loop: a thread that does something every few seconds until it is closed, and goes on after an error."""

import os
import sys
import threading
from collections.abc import Callable
from typing import Self

from leanrec.errors import LeanrecError

__all__ = ["BackgroundLoop", "lower_priority"]

_MAX_NICENESS = 19


class BackgroundLoop:
    """Calls ``look`` every few seconds in a thread of its own. A context manager.

    An error in it is reported, and the next call comes after a pause, so that no single failure ends the work for good.
    Subclasses define ``look``, and call ``__init__`` when they are ready for it.
    """

    def __init__(
        self,
        name: str,
        report: Callable[[str], None],
        interval: float,
        *,
        first_wait: float | None = None,
        error_pause: float = 10.0,
        niceness: int = 0,
    ) -> None:
        """Start the thread.

        Args:
            name: name of the thread.
            report: tells the operator a sentence.
            interval: seconds between two calls.
            first_wait: seconds before the first call; None = ``interval``.
            error_pause: seconds before the next call after an error.
            niceness: see `lower_priority`.
        """
        self.report = report
        self._interval, self._error_pause, self._niceness = interval, error_pause, niceness
        self._stopping = threading.Event()
        wait = interval if first_wait is None else first_wait
        self._thread = threading.Thread(target=self._run, args=(wait,), name=name, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def look(self) -> None:
        """Do what is due."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop, after a call that is under way."""
        self._stopping.set()
        self._thread.join()

    def _run(self, wait: float) -> None:
        lower_priority(self._niceness)
        while not self._stopping.wait(wait):
            wait = self._interval
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the server answers on
                self.report(str(error) if isinstance(error, LeanrecError) else repr(error))
                wait = self._error_pause


def lower_priority(niceness: int) -> None:
    """Let this thread wait for the others of the process where processors are scarce, on Linux.

    Args:
        niceness: by how much the niceness of the thread rises; it is at most 19.
    """
    if niceness and sys.platform == "linux":
        thread = threading.get_native_id()
        # What is below the niceness of the process would need a privilege.
        raised = min(_MAX_NICENESS, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
        os.setpriority(os.PRIO_PROCESS, thread, raised)
