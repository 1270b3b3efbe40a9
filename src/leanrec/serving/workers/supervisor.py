"""The supervisor: loads the model once, forks the owner of the event log and the workers, and starts again what ends."""

import asyncio
import contextlib
import dataclasses
import gc
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from leanrec.errors import LeanrecError, SettingError, WorkerError
from leanrec.events.records import RetentionPolicy, StorageLimits
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.kernels.threads import single_threaded_blas
from leanrec.online.live_pipeline import LivePipeline
from leanrec.online.version_store import VersionStore
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.event_requests import EventRecorder
from leanrec.serving.workers.remote_store import RemoteEventStore
from leanrec.serving.workers.store_owner import StoreOwner
from leanrec.serving.workers.stream_target import StreamedPipeline
from leanrec.serving.workers.worker import Worker, WorkerParts, watch_lifeline
from leanrec.settings import check_between

__all__ = ["Supervisor", "WorkerPlan", "check_workers", "find_pause"]

_MAX_WORKERS = 128
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_STABLE_SECONDS = 10.0  # a process that ran for longer has not failed at its start
_MAX_PAUSE = 30.0
_BACKLOG = 2048
_GC_THRESHOLDS = (50_000, 20, 1_000)  # few objects of a request are in cycles
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD) if sys.platform != "win32" else ()


def check_workers(n_workers: int) -> None:
    """Raise SettingError unless so many workers can be started here."""
    check_between("workers", n_workers, 1, _MAX_WORKERS)
    if n_workers > 1 and not hasattr(os, "fork"):
        raise SettingError(
            f"workers must be 1 on this system, whose processes cannot be forked and share a model. Got {n_workers}."
        )


def find_pause(n_failures: int) -> float:
    """Seconds before a process is started again that has ended ``n_failures`` times soon after its start."""
    return 0.0 if n_failures < 2 else float(min(_MAX_PAUSE, 0.25 * 2 ** (n_failures - 1)))


@dataclasses.dataclass(frozen=True)
class WorkerPlan:
    """What a supervisor starts.

    Attributes:
        n_workers: number of workers.
        log_path: the event log.
        retention: how long served lists are kept.
        storage: the space that the event log leaves on its disk.
        rebind: accept an event log that is bound to other data.
        event_types: event types to accept besides those of the data.
        store: the versions that the workers follow, or None.
        build_config: makes app and server over a recorder of events.
        report: tells the operator.
    """

    n_workers: int
    log_path: Path
    retention: RetentionPolicy
    storage: StorageLimits
    rebind: bool
    event_types: tuple[str, ...]
    store: VersionStore | None
    build_config: Callable[[EventRecorder], uvicorn.Config]
    report: Callable[[str], None]


@dataclasses.dataclass(eq=False)
class _Child:
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


class Supervisor:
    """Serves a pipeline with several processes, which share its memory.

    This process has one thread, so that forking is safe. All that belongs to the version is loaded here and only read
    afterwards. The owner of the log and the workers are forked from it, also those that replace one that has ended.
    """

    def __init__(self, pipeline: Pipeline, plan: WorkerPlan, listener: socket.socket) -> None:
        """Replay the log into the pipeline and prepare the workers.

        Args:
            pipeline: what to serve.
            plan: how.
            listener: the bound socket; the caller closes it.

        Raises SourceError if the log cannot be used.
        """
        self._plan, self._listener = plan, listener
        with SQLiteEventStore(plan.log_path, plan.retention, plan.storage) as log:
            replayed = LivePipeline(pipeline, log, rebind=plan.rebind).replayed
            n_forgotten = max((each.number for each in log.forgotten_users()), default=0)
        for warning in replayed.warnings():
            plan.report(warning)
        pipeline.warm_up()
        self._folder = Path(tempfile.mkdtemp(prefix="leanrec-"))  # nobody else may enter it
        self._address = self._folder / "log"
        remote = RemoteEventStore(plan.log_path, self._address, keeps_lists=plan.retention.max_lists > 0)
        live = StreamedPipeline(pipeline, remote, replayed, n_forgotten=n_forgotten, rebind=plan.rebind)
        self._parts = WorkerParts.build(live, remote, plan.event_types, plan.build_config)
        self._owner = _Child("The owner of the event log", self._run_owner)
        self._workers = [
            _Child(f"Worker {number}", lambda number=number: self._run_worker(number))  # type: ignore[misc]
            for number in range(plan.n_workers)
        ]
        self._n_ready = 0
        self._n_signals = 0  # to stop

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT; requests in progress are answered first.

        Args:
            ready: called once all workers answer requests.

        Raises WorkerError if the processes cannot be started.
        """
        with self._share_memory(), self._open_pipes(), self._catch_signals():
            try:
                self._start(self._owner)
                self._wait_until_ready(1)
                for worker in self._workers:
                    self._start(worker)
                self._wait_until_ready(1 + len(self._workers))
                if not self._n_signals:
                    ready()
                while not self._n_signals:
                    self._watch()
            finally:
                self._stop()

    @contextlib.contextmanager
    def _share_memory(self) -> Iterator[None]:
        """Keep the memory shared: no collection of garbage writes to the objects that are there now."""
        before = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        try:
            with single_threaded_blas():
                yield
        finally:
            gc.set_threshold(*before)
            gc.unfreeze()
            shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def _open_pipes(self) -> Iterator[None]:
        """The socket of the owner, a pipe that ends with this process, and one in which the others report."""
        with socket.socket(socket.AF_UNIX) as self._owner_listener:
            self._owner_listener.bind(str(self._address))
            self._owner_listener.listen(_MAX_WORKERS)
            self._listener.listen(_BACKLOG)
            self._lifeline, self._life = os.pipe()
            self._reports, self._reporting = os.pipe()
            self._signals, self._signaling = os.pipe()
            pipes = (self._lifeline, self._life, self._reports, self._reporting, self._signals, self._signaling)
            os.set_blocking(self._signaling, False)
            try:
                yield
            finally:
                for pipe in pipes:
                    os.close(pipe)

    @contextlib.contextmanager
    def _catch_signals(self) -> Iterator[None]:
        def count(*_: object) -> None:
            self._n_signals += 1

        before = {each: signal.signal(each, count) for each in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        wakeup = signal.set_wakeup_fd(self._signaling, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for each, handler in before.items():
                signal.signal(each, handler)

    def _start(self, child: _Child) -> None:
        """Fork a process."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()
            if not pid:
                self._run_child(child)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        child.pid, child.started = pid, time.monotonic()

    def _run_child(self, child: _Child) -> None:
        """Run a process to its end, in the process itself."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for pipe in (self._life, self._reports, self._signals, self._signaling):
                os.close(pipe)
            child.run()
            code = 0
        except KeyboardInterrupt:
            code = 0
        except LeanrecError as error:
            self._plan.report(str(error))
        except BaseException:  # noqa: BLE001 - nothing of a child may run on in what the parent would do
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _report_ready(self) -> None:
        os.write(self._reporting, b".")

    def _run_worker(self, number: int) -> None:
        self._owner_listener.close()
        worker = Worker(self._parts, number, self._lifeline, self._report_ready)
        worker.run_following(self._listener, self._plan.store, self._plan.report)

    def _run_owner(self) -> None:
        self._listener.close()

        async def own(log: SQLiteEventStore) -> None:
            stopping = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
            watch_lifeline(self._lifeline, stopping.set)
            self._report_ready()
            await StoreOwner(log).run(self._owner_listener, stopping)

        with (
            SQLiteEventStore(self._plan.log_path, self._plan.retention, self._plan.storage) as log,
            asyncio.Runner(loop_factory=self._parts.config.get_loop_factory()) as runner,
        ):
            runner.run(own(log))

    def _watch(self, timeout: float = 1.0) -> None:
        """Wait for a report, a signal or the end of a process, and start again what has ended."""
        children = [self._owner, *self._workers]
        starts = [child.next_start - time.monotonic() for child in children if not child.pid]
        readable, _, _ = select.select([self._reports, self._signals], [], [], max(0.0, min([timeout, *starts])))
        for pipe in readable:
            n_read = len(os.read(pipe, 4096))
            self._n_ready += n_read * (pipe == self._reports)
        for child in children:
            if child.pid and (ended := _find_end(child.pid)) is not None:
                self._note_end(child, ended)
            if not child.pid and child.started and time.monotonic() >= child.next_start and not self._n_signals:
                self._start(child)

    def _note_end(self, child: _Child, ended: str) -> None:
        now = time.monotonic()
        is_failure = now - child.started < _STABLE_SECONDS
        child.n_failures = child.n_failures + 1 if is_failure else 0
        pause = find_pause(child.n_failures)
        child.next_start = now + pause
        when = f" in {pause:.2g} s" if pause else ""
        if not self._n_signals:
            self._plan.report(f"{child.name} (process {child.pid}) ended {ended}. It is started again{when}.")
        child.pid = 0

    def _wait_until_ready(self, n_ready: int) -> None:
        """Wait until so many processes have told that they work. Raises WorkerError if that takes too long."""
        end = time.monotonic() + _START_SECONDS
        while self._n_ready < n_ready and not self._n_signals:
            self._watch()
            children = [self._owner, *self._workers]
            if time.monotonic() > end or any(child.n_failures > 2 for child in children):
                raise WorkerError(
                    f"{n_ready} processes must start within {_START_SECONDS:g} s. {self._n_ready} did; what the others "
                    "wrote to standard error says why."
                )

    def _stop(self) -> None:
        """End the workers, which answer their requests first, and then the owner."""
        for children in (self._workers, [self._owner]):
            running = [child for child in children if child.pid]
            n_signals, end = self._n_signals, time.monotonic() + _STOP_SECONDS
            for child in running:
                _send_signal(child.pid, signal.SIGTERM)
            while running and time.monotonic() < end and self._n_signals == n_signals:
                if select.select([self._signals], [], [], 0.1)[0]:
                    os.read(self._signals, 4096)
                running = [child for child in running if _find_end(child.pid) is None]
            for child in running:
                _send_signal(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
            for child in children:
                child.pid = 0


def _find_end(pid: int) -> str | None:
    """How a process has ended, or None if it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    if not found:
        return None
    code = os.waitstatus_to_exitcode(status)
    return f"with status {code}" if code >= 0 else f"by signal {-code}"


def _send_signal(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)
