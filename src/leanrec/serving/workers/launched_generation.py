"""A generation as its supervisor sees it: how it is started, what it tells, and how it is told to end."""

import contextlib
import functools
import json
import os
import pickle
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import leanrec
from leanrec import errors
from leanrec.errors import LeanrecError, WorkerError
from leanrec.serving.workers.child_processes import find_end, fork_process
from leanrec.serving.workers.generation import Generation, GenerationPipes, WorkerPlan

__all__ = ["LaunchedGeneration"]

_MAX_READERS = 1024  # processes that look at a lifeline
_COMMAND = "import sys; from leanrec.serving.workers.generation import run_from_file; run_from_file(*sys.argv[1:])"


class LaunchedGeneration:
    """A generation that was started.

    Attributes:
        path: folder of the saved pipeline.
        version: id of the version, as far as it is known.
        name: name of the model, once it is ready.
        started: when.
        reports: pipe to wait for; then ``look``.
        is_ready: whether its workers answer.
        is_over: whether all its processes have ended.
        error: why it cannot serve.
        ended: how its first process has ended, None if it runs.
        deadline: when its processes are killed if they have not ended, None before it was told to end.
    """

    def __init__(self, pid: int, path: Path, version: str, reports: int, keep: tuple[int, int]) -> None:
        self.path, self.version, self.reports = path, version, reports
        self.name, self.started = "", time.monotonic()
        self.is_ready = self.is_over = False
        self.error: LeanrecError | None = None
        self.ended: str | None = None
        self.deadline: float | None = None
        self._pid, self._unread = pid, b""
        self._serving, self._lifeline = keep

    @classmethod
    def launch(
        cls,
        plan: WorkerPlan,
        path: Path,
        version: str,
        *,
        address: Path,
        listener: int,
        is_first: bool,
        in_new_interpreter: bool,
        private: Sequence[int],
    ) -> "LaunchedGeneration":
        """Start a generation.

        Args:
            plan: how the server works.
            path: folder of the saved pipeline.
            version: its id, as far as it is known.
            address: Unix socket of the owner of the event log, in a folder that only this user may enter.
            listener: the listening socket.
            is_first: nothing answers meanwhile.
            in_new_interpreter: start Python anew, with the code that is on disk now; else fork this process.
            private: open files of this process that the generation must not keep.
        """
        reports, telling = os.pipe()
        serving, keeps_serving = os.pipe()
        lifeline, keeps_alive = os.pipe()
        pipes = GenerationPipes(listener, telling, serving, lifeline)
        arguments = {"plan": plan, "path": path, "address": address, "pipes": pipes, "is_first": is_first}
        unused = (*private, reports, keeps_serving, keeps_alive)
        run = functools.partial(_run, arguments, unused, address.parent if in_new_interpreter else None)
        pid = fork_process(run, plan.report)
        with contextlib.suppress(OSError):  # both do it, since it is not known which is first
            os.setpgid(pid, pid)
        for file in (telling, serving, lifeline):
            os.close(file)
        os.set_blocking(reports, False)
        return cls(pid, path, version, reports, (keeps_serving, keeps_alive))

    @property
    def private(self) -> list[int]:
        """Open files that no other process may keep."""
        return [each for each in (self.reports, self._serving, self._lifeline) if each >= 0]

    def _read_reports(self) -> None:
        with contextlib.suppress(BlockingIOError):
            received = os.read(self.reports, 65_536)
            self.is_over = not received
            *lines, self._unread = (self._unread + received).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "error" in message:
                    kind = getattr(errors, message["error"], WorkerError)
                    self.error = kind(message["reason"])
                else:
                    self.name, self.version, self.is_ready = message["name"], message["version"], True

    def look(self) -> None:
        """Note what the generation has told, and how its first process ended; kill what is left after its time."""
        if self.ended is None:
            self.ended = find_end(self._pid)  # before its last words are read
        if not self.is_over:
            self._read_reports()
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.kill()

    def retire(self, seconds: float) -> None:
        """Tell the workers that others answer: they end after their requests, or are killed after so many seconds."""
        self.deadline = time.monotonic() + seconds
        self._serving = _close(self._serving)

    def stop(self, seconds: float) -> None:
        """Tell the workers to end after their requests; they are killed after so many seconds."""
        self.retire(seconds)
        with contextlib.suppress(OSError):  # a second call, or nothing runs any more
            os.write(self._lifeline, bytes(_MAX_READERS))
        self._lifeline = _close(self._lifeline)

    def kill(self) -> None:
        """Kill all processes."""
        if self.is_over:  # else another process may have the number
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the pipes of a generation that is over."""
        if self.ended is None:
            os.waitpid(self._pid, 0)
            self.ended = ""
        self._serving, self._lifeline = _close(self._serving), _close(self._lifeline)
        self.reports = _close(self.reports)


def _close(file: int) -> int:
    if file >= 0:
        os.close(file)
    return -1


def _run(arguments: dict[str, Any], unused: Sequence[int], folder: Path | None) -> None:
    """Run the generation in the process that was forked; given a folder for its plan, in a new interpreter."""
    os.setpgid(0, 0)  # so that all its processes can be killed
    for each in unused:
        os.close(each)
    if folder is None:
        Generation(**arguments).run()
        return
    handle, file = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "wb") as stream:
        pickle.dump(arguments, stream)
    pipes: GenerationPipes = arguments["pipes"]
    for each in (pipes.listener, pipes.reports, pipes.serving, pipes.lifeline):
        os.set_inheritable(each, True)  # noqa: FBT003
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    command = [sys.executable, "-c", _COMMAND, file, leanrec.__version__, str(pipes.reports)]
    os.execve(sys.executable, command, environment)  # noqa: S606 - this very program
