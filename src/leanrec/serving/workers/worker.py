"""A worker: one process that answers requests on the shared socket and follows the stream of the event log."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import threading
import types
from collections.abc import Callable, Sequence

import uvicorn

from leanrec.online.learning.online_learner import LearningSettings, OnlineLearner
from leanrec.online.snapshot_writer import SnapshotWriter
from leanrec.serving.connections import quiet_accept_errors
from leanrec.serving.event_requests import EventRecorder
from leanrec.serving.graceful_server import GracefulServer
from leanrec.serving.workers.remote_store import RemoteEventStore
from leanrec.serving.workers.shared_metrics import SharedMetrics
from leanrec.serving.workers.stream_target import StreamedPipeline, StreamRecorder

__all__ = ["Worker", "WorkerParts", "watch_lifeline"]

_WAIT_SECONDS = 10.0
_ORPHAN_SECONDS = 1.0  # for requests in progress, after the supervisor was killed


@dataclasses.dataclass(frozen=True, eq=False)
class WorkerParts:
    """What every worker is made of. Built once, before the workers are forked, so that they share its memory.

    Attributes:
        live: the pipeline, with all events of the log so far.
        log: the event log of a worker.
        metrics: the metrics of a worker.
        recorder: records the events.
        config: the server of the app.
    """

    live: StreamedPipeline
    log: RemoteEventStore
    metrics: SharedMetrics
    recorder: StreamRecorder
    config: uvicorn.Config

    @classmethod
    def build(
        cls,
        live: StreamedPipeline,
        log: RemoteEventStore,
        event_types: Sequence[str],
        build_config: Callable[[EventRecorder], uvicorn.Config],
    ) -> "WorkerParts":
        """Build app and server over a pipeline."""
        metrics = SharedMetrics(log.collect_samples)
        recorder = StreamRecorder(live, log, metrics, event_types)
        config = build_config(recorder)
        config.load()
        return cls(live, log, metrics, recorder, config)


class Worker(GracefulServer):
    """Serves from the moment in which it has all events of the log, until others answer instead or the server stops.

    If its supervisor was killed, it ends within a second, so that a server that is started again finds its address free.

    Attributes:
        is_orphan: whether the supervisor was killed.
    """

    is_orphan = False

    def __init__(
        self,
        parts: WorkerParts,
        serving: int,
        lifeline: int,
        report_ready: Callable[[], object],
        *,
        waits_for_log: bool = False,
    ) -> None:
        """Prepare a worker in its own process.

        Args:
            parts: the app and what it works with.
            serving: a pipe that ends when other workers answer at the same address.
            lifeline: a pipe that ends when the server stops, or with its supervisor.
            report_ready: called when requests are answered.
            waits_for_log: answer nothing without all events of the log, since others answer meanwhile. False: without the
                owner of the log, answer after ten seconds.
        """
        super().__init__(parts.config)
        self._waits_for_log = waits_for_log
        self._parts, self._serving, self._lifeline, self._report_ready = parts, serving, lifeline, report_ready

    def run_writing(
        self,
        listener: socket.socket,
        report: Callable[[str], None],
        learning: LearningSettings | None = None,
        *,
        writes_snapshots: bool,
    ) -> None:
        """Serve on a socket, learn, and write the snapshots of the log, which only one worker does."""
        live = self._parts.live
        learner = contextlib.nullcontext() if learning is None else OnlineLearner(live, report, learning)
        writer = SnapshotWriter(live, report) if writes_snapshots else None
        with contextlib.suppress(KeyboardInterrupt), learner:
            self.run(sockets=[listener])
        if writer is not None:
            writer.close(writes=not self.is_replaced and not self.is_orphan)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Catch up with the log, then listen."""
        watch_lifeline(self._lifeline, self._stop)
        watch_lifeline(self._serving, lambda _: self._retire())
        quiet_accept_errors(asyncio.get_running_loop(), self._parts.metrics)
        wait = None if self._waits_for_log else _WAIT_SECONDS
        await self._parts.log.start(self._parts.recorder, self._parts.metrics.list_samples, wait)
        await super().startup(sockets)
        self._report_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the requests, then hand over the lists that wait."""
        await super().shutdown(sockets)
        await self._parts.log.stop()

    def handle_exit(self, sig: int, frame: types.FrameType | None) -> None:
        """Stop at SIGTERM. A Ctrl-C reaches all processes of a terminal, and the supervisor sends SIGTERM then."""
        if sig != signal.SIGINT:
            super().handle_exit(sig, frame)

    def _stop(self, is_told: bool) -> None:
        self.should_exit, self.is_replaced, self.is_orphan = True, False, not is_told
        if self.is_orphan:
            self.late_seconds = 0.0
            timer = threading.Timer(_ORPHAN_SECONDS, os._exit, (1,))
            timer.daemon = True
            timer.start()

    def _retire(self) -> None:
        self.is_replaced = not self.should_exit
        self.should_exit = True


def watch_lifeline(lifeline: int, stop: Callable[[bool], object]) -> None:
    """Call ``stop`` in the running loop when a pipe ends, or its holder tells that it will.

    Args:
        lifeline: the pipe. Its holder writes one byte for each process that reads it, and closes it; if the holder was killed,
            the pipe ends without a byte.
        stop: called with whether it was told.
    """
    loop = asyncio.get_running_loop()

    def read() -> None:
        loop.remove_reader(lifeline)
        stop(bool(os.read(lifeline, 1)))

    loop.add_reader(lifeline, read)
