"""A worker: one process that answers requests on the shared socket and follows the stream of the event log."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import types
from collections.abc import Callable, Sequence

import uvicorn

from leanrec.online.live_pipeline import VersionFollower
from leanrec.online.snapshot_writer import SnapshotWriter
from leanrec.online.version_store import VersionStore
from leanrec.serving.connections import quiet_accept_errors
from leanrec.serving.event_requests import EventRecorder
from leanrec.serving.workers.remote_store import RemoteEventStore
from leanrec.serving.workers.shared_metrics import SharedMetrics
from leanrec.serving.workers.stream_target import StreamedPipeline, StreamRecorder

__all__ = ["Worker", "WorkerParts", "watch_lifeline"]


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


class Worker(uvicorn.Server):
    """Serves from the moment in which it has all events of the log, until SIGTERM or the end of its supervisor."""

    def __init__(self, parts: WorkerParts, number: int, lifeline: int, report_ready: Callable[[], None]) -> None:
        """Prepare a worker in its own process.

        Args:
            parts: the app and what it works with.
            number: of the worker.
            lifeline: a pipe that ends with the supervisor.
            report_ready: called when requests are answered.
        """
        super().__init__(parts.config)
        self._number = number
        self._parts, self._lifeline, self._report_ready = parts, lifeline, report_ready
        parts.log.worker = number

    def run_following(self, listener: socket.socket, store: VersionStore | None, report: Callable[[str], None]) -> None:
        """Serve on a socket, and follow the current version of a store. The first worker writes the snapshots of the log."""
        live = self._parts.live
        following = contextlib.nullcontext() if store is None else VersionFollower(live, store, report)
        writing = contextlib.nullcontext() if self._number else SnapshotWriter(live, report)
        with contextlib.suppress(KeyboardInterrupt), following, writing:
            self.run(sockets=[listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Catch up with the log, then listen."""
        watch_lifeline(self._lifeline, self._stop)
        quiet_accept_errors(asyncio.get_running_loop(), self._parts.metrics)
        await self._parts.log.start(self._parts.recorder, self._parts.metrics.list_samples)
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

    def _stop(self) -> None:
        self.should_exit = True


def watch_lifeline(lifeline: int, stop: Callable[[], object]) -> None:
    """Call ``stop`` in the running loop when the supervisor has ended, however it did."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(lifeline, 1):
            loop.remove_reader(lifeline)
            stop()

    loop.add_reader(lifeline, read)
