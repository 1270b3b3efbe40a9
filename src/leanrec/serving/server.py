"""The server: serves a saved pipeline by one process or several until it is told to stop."""

import asyncio
import contextlib
import dataclasses
import errno
import functools
import ipaddress
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from leanrec.errors import SettingError
from leanrec.events.locations import hide_password, is_url, open_store, parse_location
from leanrec.kernels.threads import single_query_thread
from leanrec.online.learning.online_learner import OnlineLearner
from leanrec.online.live_pipeline import LivePipeline
from leanrec.online.snapshot_writer import SnapshotWriter
from leanrec.online.trials.trial_follower import TrialFollower
from leanrec.online.version_follower import VersionFollower
from leanrec.online.version_store import VersionStore, find_pipeline_path, is_version_store
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.replay import default_log_path
from leanrec.serving.app import assemble_app, create_app
from leanrec.serving.connections import make_server_config, quiet_accept_errors
from leanrec.serving.event_requests import EventRecorder
from leanrec.serving.graceful_server import GracefulServer, survive_hangup
from leanrec.serving.load.interpreter import tuned_interpreter
from leanrec.serving.monitoring.server_log import log_event, make_reporter, start_logging
from leanrec.serving.monitoring.service_manager import notify_manager, tell_alive
from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.security.hosts import is_host
from leanrec.serving.serving_settings import ServingSettings
from leanrec.serving.shared_cache import report_cache_problem
from leanrec.serving.shared_recorder import follow_log
from leanrec.serving.workers.generation import WorkerPlan
from leanrec.serving.workers.supervisor import Supervisor, check_workers
from leanrec.settings import check_between

__all__ = ["build_worker_config", "serve"]

_ADDRESS_SECONDS = 3.0  # workers end within two seconds after their supervisor was killed
_LOOK_SECONDS = 0.05


def serve(
    model_path: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    log_path: str | Path | None = None,
    settings: ServingSettings = ServingSettings(),
    ready: Callable[[str, str], None] | None = None,
    workers: int = 1,
) -> None:
    """Serve a saved pipeline until SIGINT or SIGTERM; requests in progress are answered first.

    Args:
        model_path: folder that ``Pipeline.save`` wrote, or a `VersionStore`, whose current version is served from the next
            promotion on too.
        host: address to listen on; the default accepts connections from this machine only.
        port: port to listen on; 0 = any free one.
        log_path: the event log: an SQLite file, or a URL such as ``postgresql://user@host/database``, which several servers can
            share. Default: beside the model, with the ending ``.events.db``.
        settings: settings of the server.
        ready: called with the URL and the event log once requests are answered; None prints a line.
        workers: number of processes that answer requests, over one model in shared memory. With more than one, another
            process writes the event log, and SIGHUP replaces all that answer without a pause. They need fork: not on Windows.

    Raises ArtifactError, SourceError (event log) or SettingError (address) before anything is served.
    """
    check_workers(workers)
    location = parse_location(str(log_path)) if log_path else default_log_path(model_path)
    store = VersionStore(model_path) if is_version_store(model_path) else None
    pipeline_path = find_pipeline_path(model_path)
    # Each generation of workers loads its own. The list gives its pipeline away: a server keeps no version but the current one.
    loaded = [Pipeline.load(pipeline_path)] if workers == 1 else []
    listener = _open_socket(host, port, is_open=settings.keys is not None or settings.insecure)
    start_logging(settings.log_format)
    if is_host(host):
        settings = dataclasses.replace(settings, allowed_hosts=(*settings.allowed_hosts, host))

    def report_ready(name: str, version: str) -> None:
        url = _describe_address(listener, is_tls=settings.tls_cert is not None)
        if settings.log_format == "json":
            log_event(
                "start", f"leanrec serves {name} at {url}.", url=url, model=name, version=version, workers=workers
            )
        if ready is None:
            print(f"leanrec serves {name} at {url} (Ctrl-C stops)", flush=True)  # noqa: T201
        else:
            ready(url, hide_password(str(location)) if is_url(location) else str(location))
        notify_manager(f"READY=1\nSTATUS=serves {name} at {url}")

    with contextlib.closing(listener):
        if settings.cache is not None:
            report_cache_problem(settings.cache)
        if workers > 1:
            plan = _plan_workers(workers, location, settings)
            Supervisor(plan, pipeline_path, listener, store).run(report_ready)
        else:
            _serve_alone(loaded.pop(), location, listener, settings, store, report_ready)


def _serve_alone(
    pipeline: Pipeline,
    location: str | Path,
    listener: socket.socket,
    settings: ServingSettings,
    store: VersionStore | None,
    report_ready: Callable[[str, str], None],
) -> None:
    """Serve by this process."""
    with (
        open_store(location, settings.retention, settings.storage) as log,
        contextlib.suppress(KeyboardInterrupt),
    ):
        if settings.learning is not None:
            pipeline.start_learning()
        live = follow_log(pipeline, log, rebind=settings.rebind_log)
        live.store = store
        app = create_app(live, log, settings)
        pipeline.warm_up()
        told = functools.partial(report_ready, pipeline.name, pipeline.version)
        del pipeline  # the server keeps no version but the current one
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        learning = settings.learning
        cache = app.state.cache
        with (
            contextlib.nullcontext() if cache is None else contextlib.closing(cache),
            _follow_store(live, store),
            contextlib.nullcontext() if learning is None else OnlineLearner(live, make_reporter("learning"), learning),
            SnapshotWriter(live, make_reporter("snapshot")),
            survive_hangup(make_reporter("process")),
            tuned_interpreter(),
            single_query_thread(),  # to do so for each query takes time
        ):
            _ReportingServer(_configure_server(app, settings), told, app.state.metrics).run(sockets=[listener])


def _plan_workers(n_workers: int, location: str | Path, settings: ServingSettings) -> WorkerPlan:
    return WorkerPlan(
        n_workers,
        location,
        settings.retention,
        settings.storage,
        settings.rebind_log,
        settings.event_types,
        functools.partial(build_worker_config, settings),
        make_reporter("process"),
        settings.log_format,
        settings.learning,
    )


def build_worker_config(settings: ServingSettings, recorder: EventRecorder) -> uvicorn.Config:
    """The app of a worker, and how its connections are served. It can be pickled by its name, for a new interpreter."""
    return _configure_server(assemble_app(recorder, settings), settings)


def _configure_server(app: FastAPI, settings: ServingSettings) -> uvicorn.Config:
    tls = None if settings.tls_cert is None else (settings.tls_cert, settings.tls_key)
    return make_server_config(app, settings.max_connections, settings.request_timeout, tls)


@contextlib.contextmanager
def _follow_store(live: LivePipeline, store: VersionStore | None) -> Iterator[None]:
    """Serve what is promoted in a store, and try what is on trial there."""
    if store is None:
        yield
        return
    with VersionFollower(live, store, make_reporter("version")), TrialFollower(live, store, make_reporter("trial")):
        yield


class _ReportingServer(GracefulServer):
    """Calls back once it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], metrics: ServingMetrics) -> None:
        super().__init__(config)
        self._ready, self._metrics = ready, metrics

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        quiet_accept_errors(asyncio.get_running_loop(), self._metrics)
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        if counter % 10 == 0:
            tell_alive()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell the service manager, and end the requests."""
        notify_manager("STOPPING=1")
        await super().shutdown(sockets)


def _describe_address(listener: socket.socket, *, is_tls: bool) -> str:
    """The URL of a bound socket."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _bind(listener: socket.socket, address: Any) -> None:
    """Bind a socket, after the processes of a server that was killed have left the address."""
    end = time.monotonic() + _ADDRESS_SECONDS
    while time.monotonic() < end:
        try:
            return listener.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        time.sleep(_LOOK_SECONDS)
    return listener.bind(address)


def _open_socket(host: str, port: int, *, is_open: bool) -> socket.socket:
    """A socket that is bound to an address: of this machine only, or any if the server ``is_open`` to others."""
    check_between("port", port, 0, 65_535)  # the operating system would take a larger one modulo 65,536
    listener = None
    try:
        family, socket_type, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if not is_open and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
            raise SettingError(
                f"host must be an address of this machine, such as 127.0.0.1, unless clients need a key. Got {host}, where any machine "
                "that reaches it could read what users do and write events. Give keys=FILE; or insecure=True, if something else "
                "keeps strangers out."
            )
        # asyncio turns off Nagle's algorithm (40 ms a response) only if the protocol is given.
        listener = socket.socket(family, socket_type, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(listener, address)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        advice = "Choose another address, or port 0 for any that is free."
        raise SettingError(f"Cannot listen at {host}:{port}: {error}. {advice}") from error
    return listener
