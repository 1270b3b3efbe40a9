"""Child processes: how they end, that they are started again, and that none is left."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from leanrec.errors import SourceError
from leanrec.serving.workers import child_processes
from leanrec.serving.workers.child_processes import (
    ChildProcess,
    ChildProcesses,
    SignalPipe,
    find_end,
    find_pause,
    fork_process,
)


def wait_for_end(pid: int) -> str:
    while (ended := find_end(pid)) is None:
        time.sleep(0.005)
    return ended


def fail() -> None:
    raise SourceError("The disk must be there.")


def hang() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(1)


def test_a_process_that_fails_again_is_started_later() -> None:
    pauses = [find_pause(n_failures) for n_failures in range(20)]
    assert pauses[:3] == [0.0, 0.0, 0.5]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30


def test_a_forked_process_ends_after_its_work(tmp_path: Path) -> None:
    file = tmp_path / "reports"

    def report(message: str) -> None:
        with file.open("a") as stream:
            stream.write(message)

    assert wait_for_end(fork_process(lambda: None, report)) == "with status 0"
    assert wait_for_end(fork_process(fail, report)) == "with status 1"
    assert wait_for_end(fork_process(lambda: sys.exit(7), report)) == "with status 1"
    assert file.read_text() == "The disk must be there."
    pid = fork_process(lambda: time.sleep(60), report)
    os.kill(pid, signal.SIGINT)  # a Ctrl-C reaches all processes of a terminal
    os.kill(pid, signal.SIGTERM)
    assert wait_for_end(pid) == "with status 0"


def test_processes_that_end_are_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_processes, "find_pause", lambda n: 0.0 if n < 3 else 60.0)
    told: list[str] = []
    child = ChildProcess("The test", lambda: time.sleep(60))
    children = ChildProcesses([child], told.append)
    children.start()
    assert children.next_start == float("inf")
    for _ in range(3):
        pid = child.pid
        os.kill(pid, signal.SIGKILL)
        while child.pid == pid:
            children.start()
    assert child.pid == 0
    assert len(told) == 3
    assert told[2].endswith("It is started again in 60 s.")
    assert children.has_failed
    assert 0 < children.next_start <= 60
    children.stop(0)


@pytest.mark.parametrize("is_urgent", [True, False])
def test_a_process_that_does_not_end_is_killed(*, is_urgent: bool) -> None:
    child = ChildProcess("The test", hang)
    children = ChildProcesses([child], print)
    children.start()
    pid = child.pid
    children.stop(60 if is_urgent else 0.05, lambda: is_urgent)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_a_signal_ends_a_wait() -> None:
    signals = SignalPipe()
    reading, writing = os.pipe()
    with signals.catch(signal.SIGHUP):
        assert signals.wait([reading], 0) == []
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.wait([reading], 60) == []
        assert signals.counts == {signal.SIGHUP: 1}
        os.write(writing, b".")
        assert signals.wait([reading], 60) == [reading]
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    for pipe in (reading, writing):
        os.close(pipe)
