"""The supervisor: keeps the owner of the event log and one generation of workers running, and changes generations."""

import asyncio
import contextlib
import dataclasses
import os
import select
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from leanrec.errors import LeanrecError, SettingError, SourceError, WorkerError
from leanrec.events.event_store import ClosableEventStore
from leanrec.events.locations import is_url, open_store
from leanrec.online.version_store import VersionStore
from leanrec.serving.graceful_server import has_terminal
from leanrec.serving.monitoring.server_log import make_reporter
from leanrec.serving.monitoring.service_manager import notify_manager, tell_alive
from leanrec.serving.workers.child_processes import ChildProcess, ChildProcesses, SignalPipe
from leanrec.serving.workers.generation import WorkerPlan
from leanrec.serving.workers.generations import Generations
from leanrec.serving.workers.launched_generation import LaunchedGeneration
from leanrec.serving.workers.shared_store_owner import make_owner
from leanrec.serving.workers.worker import watch_lifeline
from leanrec.settings import check_between

__all__ = ["Supervisor", "check_workers"]

_MAX_WORKERS = 128
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_LOOK_SECONDS = 0.25  # between two looks at the store of versions
_LOOK_AGAIN_SECONDS = 10.0  # after a store that cannot be read
_AWAY_SECONDS = 2.0  # between two attempts to reach a database
_BACKLOG = 2048


def check_workers(n_workers: int) -> None:
    """Raise SettingError unless so many workers can be started here."""
    check_between("workers", n_workers, 1, _MAX_WORKERS)
    if n_workers > 1 and not hasattr(os, "fork"):
        raise SettingError(
            f"workers must be 1 on this system, whose processes cannot be forked and share a model. Got {n_workers}."
        )


class Supervisor:
    """Serves a version with several processes, and changes it without a pause.

    This process has one thread, so that forking is safe, and holds no model. A version is loaded by a generation, a process
    that forks the workers. The next generation loads while the current one answers; once its workers answer too, those of
    the current one stop to accept, answer what they have, and end. Whatever ends without being told is replaced.
    """

    def __init__(
        self, plan: WorkerPlan, path: Path, listener: socket.socket, store: VersionStore | None = None
    ) -> None:
        """Check the event log and prepare.

        Args:
            plan: how to serve.
            path: folder of the saved pipeline to begin with.
            listener: the bound socket; the caller closes it.
            store: the versions to follow, or None.

        Raises SourceError if the log cannot be used.
        """
        with open_store(plan.log_location, plan.retention, plan.storage):
            pass
        self._plan = dataclasses.replace(plan, store=store)
        self._path, self._listener, self._store = path, listener, store
        trial = None if store is None else store.trial()
        self._trial = None if trial is None else trial.salt  # of the last trial that a generation was started for
        self._fence, self._next_look = 0, 0.0
        self._generations = Generations(self._launch, make_reporter("version"))
        self._n_restarts = 0  # asked for by SIGHUP and done
        self._signals = SignalPipe()
        self._owner = ChildProcess("The owner of the event log", self._run_owner)
        self._children = ChildProcesses([self._owner], plan.report)
        self._is_owner_ready = False

    def run(self, ready: Callable[[str, str], None]) -> None:
        """Serve until SIGTERM or SIGINT; requests in progress are answered first. SIGHUP starts a new generation.

        Args:
            ready: called with the name of the model and its version once all workers answer requests.

        Raises the error of the first generation if it cannot serve, and WorkerError if processes cannot be started.
        """
        caught = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
            caught.append(signal.SIGHUP)
        self._had_terminal = has_terminal()
        with self._open_files(), self._signals.catch(*caught):
            try:
                self._wait_for_owner()
                self._generations.want(self._path)
                is_ready = False
                while not self._is_stopping:
                    self._look()
                    current = self._generations.current
                    if current is not None and not is_ready:
                        is_ready = True
                        ready(current.name, current.version)
                    self._wait()
            finally:
                notify_manager("STOPPING=1")
                self._stop()

    @property
    def _n_signals(self) -> int:
        return self._signals.counts.get(signal.SIGTERM, 0) + self._signals.counts.get(signal.SIGINT, 0)

    @property
    def _is_stopping(self) -> bool:
        if self._signals.counts.get(signal.SIGHUP, 0) and self._had_terminal and not has_terminal():
            return True  # the terminal was closed
        return self._n_signals > 0

    @contextlib.contextmanager
    def _open_files(self) -> Iterator[None]:
        """The socket of the owner, a pipe that ends with this process, and one in which the owner reports."""
        folder = Path(tempfile.mkdtemp(prefix="leanrec-"))  # no other user may enter it
        self._address = folder / "log"
        with socket.socket(socket.AF_UNIX) as self._owner_listener:
            self._owner_listener.bind(str(self._address))
            self._owner_listener.listen(_MAX_WORKERS)
            self._listener.listen(_BACKLOG)
            self._lifeline, self._life = os.pipe()
            self._reports, self._reporting = os.pipe()
            pipes = (self._lifeline, self._life, self._reports, self._reporting)
            try:
                yield
            finally:
                for pipe in pipes:
                    os.close(pipe)
                shutil.rmtree(folder, ignore_errors=True)

    def _list_private(self) -> list[int]:
        """Open files that no other process may keep, because their end tells of the end of this one."""
        kept = [self._life, self._reports, self._signals.read_end, self._signals.write_end]
        return [*kept, *self._generations.list_private()]

    def _run_owner(self) -> None:
        """Write the event log, in a process of its own."""
        for file in self._list_private():
            os.close(file)
        self._listener.close()

        async def own(log: ClosableEventStore) -> None:
            stopping = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
            watch_lifeline(self._lifeline, lambda _: stopping.set())
            os.write(self._reporting, b".")
            await make_owner(log).run(self._owner_listener, stopping)

        if (opened := self._open_log()) is None:
            return
        with opened as log, asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
            runner.run(own(log))

    def _open_log(self) -> ClosableEventStore | None:
        """The event log, as soon as a database that is away answers again; None if the server stops before."""
        plan, is_told = self._plan, False
        while True:
            try:
                return open_store(plan.log_location, plan.retention, plan.storage)
            except SourceError as error:
                if not is_url(plan.log_location):
                    raise
                if not is_told:
                    plan.report(f"{error} It is tried again every {_AWAY_SECONDS:g} s.")
                is_told = True
            if select.select([self._lifeline], [], [], _AWAY_SECONDS)[0]:
                return None

    def _wait_for_owner(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while not self._is_owner_ready and not self._is_stopping:
            self._children.start()
            self._is_owner_ready = bool(self._signals.wait([self._reports], min(1.0, self._children.next_start)))
            if time.monotonic() > end or self._children.has_failed:
                raise WorkerError(
                    f"The process that writes the event log must start within {_START_SECONDS:g} s. It did not; what it wrote "
                    "to standard error says why."
                )

    def _wait(self) -> None:
        """Wait until something may have happened."""
        tell_alive()
        waits = [1.0, self._children.next_start, self._generations.next_attempt - time.monotonic()]
        if self._store is not None:
            waits.append(self._next_look - time.monotonic())
        self._signals.wait(self._generations.list_reports(), min(waits))

    def _look(self) -> None:
        """Note what has happened to the processes and the versions, and do what follows."""
        self._children.start()
        n_asked = self._signals.counts.get(signal.SIGHUP, 0)
        if n_asked > self._n_restarts:
            self._n_restarts = n_asked
            self._generations.renew()
        if self._store is not None and time.monotonic() >= self._next_look:
            self._look_at_store(self._store)
        self._generations.look()

    def _look_at_store(self, store: VersionStore) -> None:
        """Ask for a generation of the version that was promoted since the last look, or with the one that is on trial since."""
        self._next_look = time.monotonic() + _LOOK_SECONDS
        try:
            promotion = store.promotions()[-1]
            if promotion.fence != self._fence:
                self._fence = promotion.fence
                self._generations.want(store.find(promotion.version).path, promotion.version)
            trial = store.trial()
            if trial is not None and trial.salt != self._trial:
                self._trial = trial.salt
                self._generations.renew(in_new_interpreter=False)
        except (LeanrecError, LookupError) as error:
            self._plan.report(f"The promoted version of {store.path} cannot be served: {error}")
            self._next_look = time.monotonic() + _LOOK_AGAIN_SECONDS

    def _launch(self, path: Path, version: str, *, is_first: bool, in_new_interpreter: bool) -> LaunchedGeneration:
        return LaunchedGeneration.launch(
            self._plan,
            path,
            version,
            address=self._address,
            listener=self._listener.fileno(),
            is_first=is_first,
            in_new_interpreter=in_new_interpreter,
            private=[*self._list_private(), self._owner_listener.fileno()],
        )

    def _stop(self) -> None:
        """End the generations, whose workers answer their requests first, and then the owner. A second signal kills them."""
        n_signals = self._n_signals

        def is_urgent() -> bool:
            return self._n_signals > n_signals

        self._generations.stop(is_urgent)
        if self._owner.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._owner.pid, signal.SIGTERM)
        self._children.stop(_STOP_SECONDS, is_urgent)
