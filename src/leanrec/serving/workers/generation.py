"""A generation: one process that loads a version of the model, and the workers that it forks."""

import contextlib
import dataclasses
import functools
import json
import os
import pickle
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

import leanrec
from leanrec.errors import LeanrecError, WorkerError
from leanrec.events.locations import open_reader
from leanrec.events.records import RetentionPolicy, StorageLimits
from leanrec.kernels.threads import single_query_thread
from leanrec.online.background_loop import lower_priority
from leanrec.online.learning.online_learner import LearningSettings
from leanrec.online.trials.trial_follower import TrialFollower, start_stored_trial
from leanrec.online.version_store import VersionStore
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.replay import replay_log
from leanrec.serving.event_requests import EventRecorder
from leanrec.serving.load.interpreter import tune_interpreter
from leanrec.serving.monitoring.server_log import start_logging
from leanrec.serving.workers.child_processes import ChildProcess, ChildProcesses, SignalPipe, run_to_end
from leanrec.serving.workers.remote_store import RemoteEventStore, bind_remotely
from leanrec.serving.workers.stream_target import StreamedPipeline
from leanrec.serving.workers.worker import Worker, WorkerParts

__all__ = ["Generation", "GenerationPipes", "WorkerPlan", "run_from_file"]

_START_SECONDS = 60.0  # for the workers, after the version is loaded
_STOP_SECONDS = 15.0
_ORPHAN_SECONDS = 1.5  # for the workers, after the supervisor was killed
_LOOK_SECONDS = 0.1  # between two looks whether the server stops, while a version is loaded
_LOADING_NICENESS = 5  # so that the loading of a version takes little from the workers that answer meanwhile


@dataclasses.dataclass(frozen=True)
class WorkerPlan:
    """How a server with several processes works. It can be pickled for a new interpreter.

    Attributes:
        n_workers: number of workers.
        log_location: the event log: the path of a file, or the URL of a database.
        retention: how long served lists are kept.
        storage: the space that the event log leaves on its disk.
        rebind: accept an event log that is bound to other data.
        event_types: event types to accept besides those of the data.
        build_config: makes app and server over a recorder of events.
        report: tells the operator.
        log_format: format of the log of the server.
        learning: how each worker learns from the events of all users; None = not at all.
        store: the versions, one of which may be on trial; None for a single one.
    """

    n_workers: int
    log_location: str | Path
    retention: RetentionPolicy
    storage: StorageLimits
    rebind: bool
    event_types: tuple[str, ...]
    build_config: Callable[[EventRecorder], uvicorn.Config]
    report: Callable[[str], None]
    log_format: str = "text"
    learning: LearningSettings | None = None
    store: VersionStore | None = None


@dataclasses.dataclass(frozen=True)
class GenerationPipes:
    """What a generation inherits, as numbers of open files.

    Attributes:
        listener: the listening socket.
        reports: what it tells the supervisor, one line of JSON each. At its end all its processes have ended.
        serving: ends when another generation answers instead.
        lifeline: ends when the server stops, after a byte for each process that reads it; or with the supervisor, without one.
    """

    listener: int
    reports: int
    serving: int
    lifeline: int


class Generation:
    """Loads a version once, replays the log, and forks workers, which share its memory.

    The workers answer on the socket that all generations share. They stop when another generation takes over or the server
    stops, but not at the end of this process: the supervisor replaces the whole generation then.
    """

    def __init__(
        self, plan: WorkerPlan, path: Path, address: Path, pipes: GenerationPipes, *, is_first: bool = True
    ) -> None:
        """Prepare; ``run`` does the work.

        Args:
            plan: how the server works.
            path: folder of the saved pipeline.
            address: Unix socket of the owner of the event log.
            pipes: what is inherited.
            is_first: nothing answers meanwhile, so the version is loaded as fast as possible, and what cannot be used of
                the log is reported.
        """
        self._plan, self._path, self._address, self._pipes = plan, path, address, pipes
        self._is_first = is_first

    def run(self) -> None:
        """Load and serve until another generation takes over. A version that cannot be served is told to the supervisor."""
        try:
            parts = self._load()
        except LeanrecError as error:
            self._tell(error=type(error).__name__, reason=str(error))
            return
        if parts is None:
            return
        signals = SignalPipe()
        tune_interpreter()  # before the workers are forked, so that no collection of garbage writes to what they share
        with single_query_thread(), socket.socket(fileno=os.dup(self._pipes.listener)) as listener, signals.catch():
            try:
                self._serve(parts, listener, signals)
            except WorkerError as error:
                self._tell(error=type(error).__name__, reason=str(error))

    def _tell(self, **message: str) -> None:
        os.write(self._pipes.reports, json.dumps(message).encode() + b"\n")

    def _load(self) -> WorkerParts | None:
        """Load in a thread, because only a thread can take another priority for a while. None if the server stops meanwhile."""
        loaded: list[WorkerParts] = []
        errors: list[BaseException] = []

        def load() -> None:
            try:
                lower_priority(0 if self._is_first else _LOADING_NICENESS)
                loaded.append(self._build_parts())
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)

        thread = threading.Thread(target=load, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK_SECONDS)
            if select.select([self._pipes.serving, self._pipes.lifeline], [], [], 0)[0]:
                return None
        for error in errors:
            raise error
        return loaded[0]

    def _build_parts(self) -> WorkerParts:
        plan = self._plan
        pipeline = Pipeline.load(self._path)
        if plan.learning is not None:
            pipeline.start_learning()
        bind_remotely(self._address, pipeline.data_origin, rebind=plan.rebind)
        reader = open_reader(plan.log_location)
        n_forgotten = max((each.number for each in reader.forgotten_users()), default=0)
        replayed = replay_log(pipeline, reader)
        for warning in replayed.warnings() if self._is_first else ():
            plan.report(warning)
        pipeline.warm_up()
        log = RemoteEventStore(reader, self._address, keeps_lists=plan.retention.max_lists > 0)
        live = StreamedPipeline(pipeline, log, replayed, n_forgotten=n_forgotten)
        live.n_processes, live.store = plan.n_workers, plan.store
        if plan.store is not None:
            start_stored_trial(live, plan.store, plan.report)
        return WorkerParts.build(live, log, plan.event_types, plan.build_config)

    def _serve(self, parts: WorkerParts, listener: socket.socket, signals: SignalPipe) -> None:
        """Fork the workers, tell that they are ready, and start again those that end."""
        ready, telling = os.pipe()
        unused = (signals.read_end, signals.write_end, ready)

        def run_worker(number: int) -> None:
            for pipe in unused:
                os.close(pipe)
            waits = n_ready < self._plan.n_workers and not self._is_first
            self._run_worker(parts, listener, number, lambda: os.write(telling, b"."), waits_for_log=waits)

        workers = ChildProcesses(
            [
                ChildProcess(f"Worker {each}", functools.partial(run_worker, each))
                for each in range(self._plan.n_workers)
            ],
            self._plan.report,
        )
        n_ready, end = 0, time.monotonic() + _START_SECONDS
        ends = (self._pipes.serving, self._pipes.lifeline)
        stop_seconds = _STOP_SECONDS
        try:
            while True:
                workers.start()
                readable = signals.wait([ready, *ends], min(workers.next_start, 1.0))
                if self._pipes.lifeline in readable and not os.read(self._pipes.lifeline, 1):
                    stop_seconds = _ORPHAN_SECONDS
                if set(readable) & set(ends):
                    return
                if ready in readable:
                    was_ready, n_ready = n_ready, n_ready + len(os.read(ready, 4096))
                    if was_ready < self._plan.n_workers <= n_ready:
                        pipeline = parts.live.pipeline
                        self._tell(name=pipeline.name, version=pipeline.version)
                if n_ready < self._plan.n_workers and (workers.has_failed or time.monotonic() > end):
                    raise WorkerError(
                        f"{self._plan.n_workers} workers must answer within {_START_SECONDS:g} s. {n_ready} do; what the "
                        "others wrote to standard error says why."
                    )
        finally:
            workers.stop(stop_seconds)

    def _run_worker(
        self,
        parts: WorkerParts,
        listener: socket.socket,
        number: int,
        report_ready: Callable[[], object],
        *,
        waits_for_log: bool,
    ) -> None:
        """Answer requests, in the process of a worker."""
        worker = Worker(parts, self._pipes.serving, self._pipes.lifeline, report_ready, waits_for_log=waits_for_log)
        store, report, live = self._plan.store, self._plan.report, parts.live
        following = contextlib.nullcontext() if store is None else TrialFollower(live, store, report, loads=False)
        with following:
            worker.run_writing(listener, report, self._plan.learning, writes_snapshots=number == 0)


def run_from_file(path: str, release: str, reports: str) -> None:
    """Run the generation that a file describes, in a new interpreter.

    Args:
        path: the file.
        release: release of leanrec that the supervisor has; another one may send other messages between processes.
        reports: number of the pipe to the supervisor.
    """
    if release != leanrec.__version__:
        reason = f"Its processes must have leanrec {release}, which the server has. They have {leanrec.__version__}. Restart the server."
        os.write(int(reports), json.dumps({"error": WorkerError.__name__, "reason": reason}).encode() + b"\n")
        return
    file = Path(path)
    arguments: dict[str, Any] = pickle.loads(file.read_bytes())  # noqa: S301 - written by the supervisor, in its own folder
    file.unlink()
    start_logging(arguments["plan"].log_format)
    run_to_end(Generation(**arguments).run, arguments["plan"].report)
