"""Child processes: forked by a process of one thread, watched, and started again when they end."""

import contextlib
import dataclasses
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from leanrec.errors import LeanrecError
from leanrec.serving.monitoring.server_log import log_event

__all__ = ["ChildProcess", "ChildProcesses", "SignalPipe", "find_end", "find_pause", "fork_process", "run_to_end"]

_STABLE_SECONDS = 10.0  # a process that ran for longer has not failed at its start
_MAX_PAUSE = 30.0
_SIGNALS = (
    (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    if sys.platform != "win32"
    else (signal.SIGTERM, signal.SIGINT)
)


def find_pause(n_failures: int) -> float:
    """Seconds before a process is started again that has ended ``n_failures`` times soon after its start."""
    return 0.0 if n_failures < 2 else float(min(_MAX_PAUSE, 0.25 * 2 ** (n_failures - 1)))


def find_end(pid: int) -> str | None:
    """How a child process has ended, or None if it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    if not found:
        return None
    code = os.waitstatus_to_exitcode(status)
    return f"with status {code}" if code >= 0 else f"by signal {-code}"


def fork_process(run: Callable[[], None], report: Callable[[str], None]) -> int:
    """Fork a process that does ``run`` and ends; returns its id. It takes SIGTERM, and no Ctrl-C or SIGHUP.

    Args:
        run: what it does; an error of leanrec is reported, any other printed, and both end it with status 1.
        report: tells the operator.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if not pid:
            run_to_end(run, report)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    return pid


def run_to_end(run: Callable[[], None], report: Callable[[str], None]) -> None:
    """Run a process to its end, in the process itself: nothing of it runs on in what the parent would do.

    Threads that still run are cut off too, without the complaints of libraries at the end of Python. The arguments are those
    of `fork_process`.
    """
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for ignored in (signal.SIGINT, signal.SIGHUP):  # a terminal sends both to all processes
            signal.signal(ignored, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        run()
        code = 0
    except KeyboardInterrupt:
        code = 0
    except LeanrecError as error:
        report(str(error))
    except BaseException as error:  # noqa: BLE001 - see above
        log_event("error", "A process of the server failed.", level=logging.ERROR, error=error)
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class SignalPipe:
    """Signals of this process as bytes in a pipe, so that ``select`` ends when one arrives.

    Attributes:
        read_end: the end of the pipe to wait for.
        write_end: the other one.
        counts: how many of each signal have arrived.
    """

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        os.set_blocking(self.write_end, False)
        self.counts: dict[int, int] = {}

    @contextlib.contextmanager
    def catch(self, *signals: signal.Signals) -> Iterator[None]:
        """Catch these signals, and the end of child processes; closes the pipe at the end."""

        def count(number: int, _: object) -> None:
            self.counts[number] = self.counts.get(number, 0) + 1

        before = {each: signal.signal(each, count) for each in (*signals, signal.SIGCHLD)}
        wakeup = signal.set_wakeup_fd(self.write_end, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for each, handler in before.items():
                signal.signal(each, handler)
            self.close()

    def wait(self, pipes: Sequence[int], seconds: float) -> list[int]:
        """The pipes that can be read, after at most so many seconds, or at the next signal."""
        readable, _, _ = select.select([self.read_end, *pipes], [], [], max(0.0, seconds))
        if self.read_end in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self.read_end, 4096)
            readable.remove(self.read_end)
        return readable

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read_end)
        os.close(self.write_end)


@dataclasses.dataclass(eq=False)
class ChildProcess:
    """A process that must run.

    Attributes:
        name: for messages.
        run: what it does.
        pid: its id; 0 = it does not run.
        started: when.
        n_failures: how many times it ended soon after the start.
        next_start: when it is started again.
    """

    name: str
    run: Callable[[], None]
    pid: int = 0
    started: float = 0.0
    n_failures: int = 0
    next_start: float = 0.0


class ChildProcesses:
    """Processes that are started again when they end, with pauses if they end soon after their start."""

    def __init__(self, children: Sequence[ChildProcess], report: Callable[[str], None]) -> None:
        """Take the processes; ``start`` starts them.

        Args:
            children: the processes.
            report: called with a sentence about each that has ended.
        """
        self._children, self._report = children, report

    def start(self) -> None:
        """Start those that do not run and need not wait, and note which have ended."""
        for child in self._children:
            now = time.monotonic()
            if child.pid and (ended := find_end(child.pid)) is not None:
                child.n_failures = child.n_failures + 1 if now - child.started < _STABLE_SECONDS else 0
                pause = find_pause(child.n_failures)
                when = f" in {pause:.2g} s" if pause else ""
                self._report(f"{child.name} (process {child.pid}) ended {ended}. It is started again{when}.")
                child.pid, child.next_start = 0, now + pause
            if not child.pid and now >= child.next_start:
                child.pid, child.started = fork_process(child.run, self._report), time.monotonic()

    @property
    def next_start(self) -> float:
        """Seconds until a process is started again; infinite if all run."""
        starts = [child.next_start - time.monotonic() for child in self._children if not child.pid]
        return min(starts, default=float("inf"))

    @property
    def has_failed(self) -> bool:
        """Whether a process ended three times soon after its start."""
        return any(child.n_failures > 2 for child in self._children)

    def stop(self, seconds: float, is_urgent: Callable[[], bool] = lambda: False) -> None:
        """Wait until all have ended, and kill those that have not after so many seconds, or when it is urgent."""
        running = [child.pid for child in self._children if child.pid]
        end = time.monotonic() + seconds
        while running and time.monotonic() < end and not is_urgent():
            running = [pid for pid in running if find_end(pid) is None]
            time.sleep(0.02 if running else 0)
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for child in self._children:
            child.pid = 0
