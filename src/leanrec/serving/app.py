"""HTTP app over a pipeline and an event store, and the server that runs it."""

import asyncio
import contextlib
import dataclasses
import functools
import inspect
import ipaddress
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import msgspec
import uvicorn
from fastapi import Depends, FastAPI, Query, Request, Response, Security
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer

import leanrec
from leanrec.errors import SettingError
from leanrec.events.event_reader import build_item_table
from leanrec.events.event_store import EventStore
from leanrec.events.records import RetentionPolicy, ServedList, StorageLimits
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.kernels.threads import single_threaded_blas
from leanrec.online.learning.online_learner import LearningSettings, OnlineLearner
from leanrec.online.live_pipeline import LivePipeline, VersionFollower
from leanrec.online.snapshot_writer import SnapshotWriter
from leanrec.online.trials.trial_follower import TrialFollower
from leanrec.online.version_store import VersionStore, find_pipeline_path, is_version_store
from leanrec.pipeline.catalog import load_conditions
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.replay import default_log_path
from leanrec.pipeline.responses import Recommendations
from leanrec.serving.access import AccessControl, find_role
from leanrec.serving.api_keys import ApiKeys
from leanrec.serving.connections import check_certificate, make_server_config, quiet_accept_errors
from leanrec.serving.error_handlers import RETRY_HEADER, describe_errors, install_error_handlers
from leanrec.serving.event_requests import EventRecorder
from leanrec.serving.fast_routes import FastRoutes, ListRequest
from leanrec.serving.graceful_server import GracefulServer, survive_hangup
from leanrec.serving.hosts import HostCheck, check_allowed_hosts, is_host
from leanrec.serving.load.control import LoadControl
from leanrec.serving.load.interpreter import tuned_interpreter
from leanrec.serving.load.quality import LoadLimits
from leanrec.serving.monitoring.request_log import RequestLog
from leanrec.serving.monitoring.server_log import LOG_FORMATS, log_event, make_reporter, start_logging
from leanrec.serving.monitoring.service_manager import notify_manager, tell_alive
from leanrec.serving.monitoring.tracing import Tracing, check_tracing, open_otlp_writer
from leanrec.serving.monitoring.trial_metrics import TrialCollector
from leanrec.serving.prometheus import MetricsMiddleware, ServingMetrics
from leanrec.serving.schemas import (
    MAX_REQUEST_BYTES,
    AddItemsRequest,
    AddItemsResponse,
    ChangeItemRequest,
    EventsRequest,
    EventsResponse,
    ExplainResponse,
    ForgetResponse,
    HealthResponse,
    HistoryResponse,
    ItemDetail,
    ItemsResponse,
    ListLength,
    RecommendRequest,
    RecommendResponse,
    StatusResponse,
    TimeLimit,
    TrialDetail,
    UserDetail,
    UsersResponse,
    VersionsResponse,
)
from leanrec.serving.workers.generation import WorkerPlan
from leanrec.serving.workers.supervisor import Supervisor, check_workers
from leanrec.settings import check_at_least, check_between, check_one_of, check_positive

__all__ = ["ServingSettings", "create_app", "serve"]

_DAY = 86_400
_MAX_EVENT_TYPES = 50
_MAX_WRITING_SECONDS = 5  # of one transaction of the event log
_DASHBOARD_FILES = {
    "/": ("index.html", "text/html"),
    "/dashboard/style.css": ("style.css", "text/css"),
    "/dashboard/app.js": ("app.js", "text/javascript"),
}
_NOT_READY = {503: {"model": StatusResponse, "description": "They cannot be answered.", "headers": RETRY_HEADER}}
_ROUTES = (
    ("POST", "/recommend", "post_recommend", "Recommend", describe_errors(404, 413, 422, 503)),
    ("GET", "/recommend", "get_recommend", "Recommend, by query string", describe_errors(404, 422, 503)),
    ("GET", "/similar/{item:path}", "get_similar", "Similar items", describe_errors(404, 422, 503)),
    ("GET", "/explain", "get_explanation", "Explain", describe_errors(404, 422, 503)),
    ("POST", "/events", "post_events", "Record events", describe_errors(413, 422, 429, 503)),
    ("GET", "/items", "get_items", "Search items", describe_errors(422)),
    ("POST", "/items", "post_items", "Add items", describe_errors(413, 422, 429, 503)),
    ("PATCH", "/items/{item:path}", "patch_item", "Hide an item", describe_errors(400, 404, 413, 422, 429, 503)),
    ("DELETE", "/items/{item:path}", "delete_item", "Hide an item, as PATCH does", describe_errors(404, 422, 429, 503)),
    ("GET", "/users", "get_users", "Search users", describe_errors(422)),
    ("GET", "/users/{user:path}", "get_history", "History of a user", describe_errors(404, 422)),
    ("DELETE", "/users/{user:path}", "delete_user", "Forget a user", describe_errors(422, 429, 503)),
    ("GET", "/health", "get_health", "Health", describe_errors()),
    ("GET", "/versions", "get_versions", "Versions that are served and on trial", describe_errors()),
    ("GET", "/livez", "get_liveness", "Whether the process answers", describe_errors()),
    ("GET", "/readyz", "get_readiness", "Whether requests can be answered", describe_errors() | _NOT_READY),
    ("GET", "/metrics", "get_metrics", "Metrics", describe_errors()),
)
_DESCRIPTION = """
HEAD answers as GET does, without a body. OPTIONS answers 204 with the methods of a path in `Allow`. A method that a
path does not have is answered with 405 and the same header, and an unknown path with 404. Every error has one form,
but for 400 in plain text to what is no HTTP or has an address too long to read: send long histories with POST.
"""
# They may wait for the disk, which must not hold the threads in which lists are made.
_WRITES = frozenset(["post_items", "patch_item", "delete_item", "delete_user"])
_N_WRITING_THREADS = 8
# Event types that a server accepts besides those of the data.
_EVENT_TYPES = ("view", "click", "like", "cart", "purchase", "rating", "skip")
# Describes the key; it is checked before a request comes here.
_KEY = Security(HTTPBearer(auto_error=False, scheme_name="key", description="The key of a client or an admin."))
TextParameter = Annotated[str, Query(max_length=200)]
IdsParameter = Annotated[list[str] | None, Query(max_length=1000)]


@dataclasses.dataclass(frozen=True)
class ServingSettings:
    """Settings of a server.

    Attributes:
        event_types: event types to accept besides those of the data; any other gets status 422.
        rebind_log: accept an event store that is bound to other data, because its ids mean the same users and items.
        retention: how long served lists are kept.
        storage: the space that the event log leaves on its disk.
        allowed_hosts: names in the Host header to answer to besides localhost and the address of the server, such as that of a
            proxy; ``*.example.com`` for all below a name, ``*`` for any. Others get status 421.
        max_connections: largest number of open connections; any other is closed with status 503. Fewer where the process may
            not open as many files.
        request_timeout: seconds in which a request must arrive, and in which a client must take more of an answer.
        keys: who may ask; None = anybody, which `serve` allows on an address of this machine only.
        insecure: allow any address without keys, because something else keeps strangers out.
        tls_cert: file with the certificate of the server and those between it and the root, in PEM; with it answers are by HTTPS.
        tls_key: file with its private key; None: it is in the same file.
        load: how many lists may be in flight, and when they get simpler.
        explore: probability with which each place of a list shows another of the best items; see ``Pipeline.recommend``.
        learning: how the model learns from the events of all users while it is served; None = not at all.
        log_format: "text" or "json", of the lines that `serve` writes to standard error.
        slow_request: seconds of a request from which on it is logged.
        trace_endpoint: address of a collector of OpenTelemetry, such as ``http://localhost:4318/v1/traces``, to which traces
            of requests are sent; None: there are none. Needs the extra ``otel``.
        trace_share: share of the requests that are traced, where the client does not say.
    """

    event_types: tuple[str, ...] = _EVENT_TYPES
    rebind_log: bool = False
    retention: RetentionPolicy = RetentionPolicy()
    storage: StorageLimits = StorageLimits()
    allowed_hosts: tuple[str, ...] = ()
    max_connections: int = 1_000
    request_timeout: float = 20.0
    keys: ApiKeys | None = None
    insecure: bool = False
    tls_cert: str | Path | None = None
    tls_key: str | Path | None = None
    load: LoadLimits = LoadLimits()
    explore: float = 0.0
    learning: LearningSettings | None = None
    log_format: str = "text"
    slow_request: float = 1.0
    trace_endpoint: str | None = None
    trace_share: float = 0.01

    def __post_init__(self) -> None:
        check_at_least("max_connections", self.max_connections, 1)
        check_positive("request_timeout", self.request_timeout)
        check_between("explore", self.explore, 0, 1)
        check_one_of("log_format", self.log_format, LOG_FORMATS)
        check_positive("slow_request", self.slow_request)
        check_between("trace_share", self.trace_share, 0, 1)
        if self.trace_endpoint is not None:
            check_tracing()
        check_allowed_hosts(self.allowed_hosts)
        check_certificate(self.tls_cert, self.tls_key)
        if len(self.event_types) > _MAX_EVENT_TYPES:
            raise SettingError(f"event_types must be at most {_MAX_EVENT_TYPES}. Got {len(self.event_types)}.")


def create_app(
    pipeline: Pipeline | LivePipeline, log: EventStore, settings: ServingSettings = ServingSettings()
) -> FastAPI:
    """Create the HTTP app over a pipeline and an event store, which the caller opens and closes.

    The events of the store are replayed first, so that a restarted server has every event it has stored.

    Args:
        pipeline: what to serve; a `LivePipeline` over ``log`` can be given another version while the app runs.
        log: the event store.
        settings: settings of the server.

    Raises SourceError if the store is bound to other data.
    """
    live = pipeline if isinstance(pipeline, LivePipeline) else LivePipeline(pipeline, log, rebind=settings.rebind_log)
    for warning in live.replayed.warnings():
        log_event("replay", warning, level=logging.WARNING)
    return assemble_app(EventRecorder(live, log, ServingMetrics(), settings.event_types), settings)


def assemble_app(recorder: EventRecorder, settings: ServingSettings) -> FastAPI:
    """Create the HTTP app over what records the events, to which pipeline, event store and metrics belong."""
    metrics = recorder.metrics
    app = FastAPI(
        title="leanrec",
        version=leanrec.__version__,
        summary="Recommendations with known quality and known computing cost.",
        description=_DESCRIPTION.strip(),
        docs_url=None,  # FastAPI's documentation pages load scripts from another host
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # which it would look for at every request
        redirect_slashes=False,  # behind a proxy the redirection would name an address that clients cannot reach
    )
    app.state.metrics = metrics
    metrics.registry.register(TrialCollector(recorder.live))
    load = LoadControl(settings.load, metrics)
    handlers = _RouteHandlers(recorder, load, settings.explore)
    app.add_middleware(MetricsMiddleware, metrics=metrics, max_bytes=MAX_REQUEST_BYTES)
    app.add_middleware(FastRoutes, handlers=handlers, recorder=handlers.recorder, metrics=metrics, load=load)
    if settings.keys is not None:
        app.add_middleware(AccessControl, keys=settings.keys, metrics=metrics)
    app.add_middleware(HostCheck, allowed=settings.allowed_hosts, metrics=metrics)
    if settings.trace_endpoint is not None:
        open_writer = functools.partial(open_otlp_writer, settings.trace_endpoint)
        app.add_middleware(Tracing, share=settings.trace_share, open_writer=open_writer)
    app.add_middleware(RequestLog, slow_seconds=settings.slow_request)
    install_error_handlers(app)
    _add_routes(app, handlers, has_keys=settings.keys is not None)
    return app


def serve(
    model_path: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    log_path: str | Path | None = None,
    settings: ServingSettings = ServingSettings(),
    ready: Callable[[str, Path], None] | None = None,
    workers: int = 1,
) -> None:
    """Serve a saved pipeline until SIGINT or SIGTERM; requests in progress are answered first.

    Args:
        model_path: folder that ``Pipeline.save`` wrote, or a `VersionStore`, whose current version is served from the next
            promotion on too.
        host: address to listen on; the default accepts connections from this machine only.
        port: port to listen on; 0 = any free one.
        log_path: the event log; default: beside the model, with the ending ``.events.db``.
        settings: settings of the server.
        ready: called with the URL and the event log once requests are answered; None prints a line.
        workers: number of processes that answer requests, over one model in shared memory. With more than one, another
            process writes the event log, and SIGHUP replaces all that answer without a pause. They need fork: not on Windows.

    Raises ArtifactError, SourceError (event log) or SettingError (address) before anything is served.
    """
    check_workers(workers)
    store = VersionStore(model_path) if is_version_store(model_path) else None
    pipeline_path = find_pipeline_path(model_path)
    pipeline = Pipeline.load(pipeline_path) if workers == 1 else None  # else each generation of workers loads its own
    listener = _open_socket(host, port, is_open=settings.keys is not None or settings.insecure)
    start_logging(settings.log_format)
    path = Path(log_path) if log_path else default_log_path(model_path)
    if is_host(host):
        settings = dataclasses.replace(settings, allowed_hosts=(*settings.allowed_hosts, host))

    def report_ready(url: str, name: str, version: str) -> None:
        if settings.log_format == "json":
            log_event(
                "start", f"leanrec serves {name} at {url}.", url=url, model=name, version=version, workers=workers
            )
        if ready is None:
            print(f"leanrec serves {name} at {url} (Ctrl-C stops)", flush=True)  # noqa: T201
        else:
            ready(url, path)
        notify_manager(f"READY=1\nSTATUS=serves {name} at {url}")

    if pipeline is None:
        with contextlib.closing(listener):
            url = _describe_address(listener, is_tls=settings.tls_cert is not None)
            supervisor = Supervisor(_plan_workers(workers, path, settings), pipeline_path, listener, store)
            supervisor.run(functools.partial(report_ready, url))
        return
    with (
        contextlib.closing(listener),
        SQLiteEventStore(path, settings.retention, settings.storage) as log,
        contextlib.suppress(KeyboardInterrupt),
    ):
        if settings.learning is not None:
            pipeline.start_learning()
        live = LivePipeline(pipeline, log, rebind=settings.rebind_log)
        app = create_app(live, log, settings)
        pipeline.warm_up()
        told = functools.partial(report_ready, name=pipeline.name, version=pipeline.version)
        del pipeline  # the server keeps no version but the current one
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        config = _configure_server(app, settings)
        learning = settings.learning
        with (
            _follow_store(live, store),
            contextlib.nullcontext() if learning is None else OnlineLearner(live, make_reporter("learning"), learning),
            SnapshotWriter(live, make_reporter("snapshot")),
            survive_hangup(make_reporter("process")),
            tuned_interpreter(),
            single_threaded_blas(),
        ):  # to do so for each query takes time
            _ReportingServer(config, told, app.state.metrics).run(sockets=[listener])


def _plan_workers(n_workers: int, path: Path, settings: ServingSettings) -> WorkerPlan:
    return WorkerPlan(
        n_workers,
        path,
        settings.retention,
        settings.storage,
        settings.rebind_log,
        settings.event_types,
        functools.partial(_build_worker_config, settings),
        make_reporter("process"),
        settings.log_format,
        settings.learning,
    )


def _build_worker_config(settings: ServingSettings, recorder: EventRecorder) -> uvicorn.Config:
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
    """Calls back with its URL once it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None], metrics: ServingMetrics) -> None:
        super().__init__(config)
        self._ready, self._metrics = ready, metrics

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        quiet_accept_errors(asyncio.get_running_loop(), self._metrics)
        await super().startup(sockets)
        if self.started and sockets:
            self._ready(_describe_address(sockets[0], is_tls=self.config.is_ssl))

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


def _open_socket(host: str, port: int, *, is_open: bool) -> socket.socket:
    """A socket that is bound to an address: of this machine only, or any if the server ``is_open`` to others."""
    check_between("port", port, 0, 65_535)  # the operating system would take a larger one modulo 65,536
    listener = None
    try:
        family, socket_type, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if not is_open and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
            raise SettingError(
                f"host must be an address of this machine, such as 127.0.0.1, unless clients need a key. Got {host}, where anybody "
                "who reaches it could read what users do and write events. Give keys=FILE; or insecure=True, if something else "
                "keeps strangers out."
            )
        # asyncio turns off Nagle's algorithm (40 ms a response) only if the protocol is given.
        listener = socket.socket(family, socket_type, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        advice = "Choose another address, or port 0 for any that is free."
        raise SettingError(f"Cannot listen at {host}:{port}: {error}. {advice}") from error
    return listener


class _RouteHandlers:
    """The handlers of the routes. Those that compute are not async, so each runs in a thread and blocks no other request."""

    def __init__(self, recorder: EventRecorder, load: LoadControl, explore: float) -> None:
        self.recorder, self.load, self.explore = recorder, load, explore
        self.writes = ThreadPoolExecutor(_N_WRITING_THREADS, "leanrec-write")
        self.live, self.log, self.metrics = recorder.live, recorder.log, recorder.metrics

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of the current version. A handler that asks twice may get two."""
        return self.live.pipeline

    def post_recommend(self, request: RecommendRequest) -> RecommendResponse:
        """The best items for a user, or for a history in the request."""
        as_of = self.recorder.as_of  # before the list is made, which may reflect later events too
        limit = self.load.limit_time(request.time_limit_ms)
        arguments = dict(request) | {"time_limit_ms": limit, "explore": self.explore}
        return self._respond(self._log_list(self.live.recommend(**arguments, rung=self.load.rung)), as_of)

    def get_recommend(
        self,
        request: Request,
        user: Annotated[str | None, Query(max_length=200, examples=["1"])] = None,
        history: IdsParameter = None,
        n: ListLength = 10,
        exclude_seen: bool = True,
        where: Annotated[str | None, Query(max_length=5000, examples=['{"genres": "Comedy"}'])] = None,
        reasons: bool = True,
        trace: bool = False,
        time_limit_ms: TimeLimit | None = None,
    ) -> RecommendResponse:
        """The same with the main parameters in the query string; ``where`` is JSON."""
        as_of, conditions = self.recorder.as_of, None if where is None else load_conditions(where)
        recommended = self.live.recommend(
            user,
            history=history,
            n=n,
            exclude_seen=exclude_seen,
            where=conditions,
            reasons=reasons,
            trace=trace,
            time_limit_ms=self.load.limit_time(time_limit_ms),
            rung=self.load.rung,
            explore=self.explore,
        )
        # The list of a HEAD request is not sent.
        return self._respond(recommended if request.method == "HEAD" else self._log_list(recommended), as_of)

    def get_similar(self, item: str, n: ListLength = 10) -> RecommendResponse:
        """The items most similar to one."""
        return self._respond(self.pipeline.similar_items(item, n), self.recorder.as_of)

    def get_explanation(
        self, item: TextParameter, user: TextParameter | None = None, history: IdsParameter = None
    ) -> ExplainResponse:
        """Why an item is recommended to a user, or for this history."""
        pipeline = self.live.find_pipeline(user)  # which made the list that is explained
        return ExplainResponse.model_validate(pipeline.explain(user, item, history=history).to_dict())

    async def post_events(self, request: EventsRequest) -> EventsResponse:
        """Record events. When the response arrives they are on disk, and the next recommendation uses them.

        A wrong event harms no other: the answer lists it. Status 422 if no event is right.
        """
        return EventsResponse.model_validate(msgspec.to_builtins(await self.recorder.record(request.events)))

    def post_items(self, request: AddItemsRequest) -> AddItemsResponse:
        """Add new items by their content, if the model uses content, and correct that of items added before."""
        contents = {self.pipeline.external_item_id(item.id): item.content for item in request.items}
        table = build_item_table(list(contents.values()))
        persist = functools.partial(self.log.add_items, contents)
        result = self.live.add_items(list(contents), table, persist=persist)
        return AddItemsResponse(added=result.added, corrected=result.corrected, unchanged=result.unchanged)

    def get_items(self, search: TextParameter = "", limit: ListLength = 20) -> ItemsResponse:
        """Items whose title contains a text."""
        pipeline = self.pipeline
        found = pipeline.catalog.search(search, limit).tolist()
        return ItemsResponse(items=[_describe_item(pipeline, row) for row in found])

    def patch_item(self, item: str, request: ChangeItemRequest) -> ItemDetail:
        """Hide an item, or let lists show it again. When the response arrives it is on disk, and the next list obeys it.

        Lists, similar items, the fallback and the reasons leave out a hidden item. Its events are recorded as before.
        """
        pipeline = self.pipeline
        self.live.set_hidden([pipeline.external_item_id(item)], hidden=request.hidden)
        return _describe_item(self.pipeline, self.pipeline.catalog.items.row(item))

    def delete_item(self, item: str) -> ItemDetail:
        """Hide an item. Nothing of it is deleted: PATCH with ``hidden: false`` brings it back."""
        return self.patch_item(item, ChangeItemRequest(hidden=True))

    def get_users(self, search: TextParameter = "", limit: ListLength = 20) -> UsersResponse:
        """Users whose id starts with a text."""
        found = self.pipeline.find_users(search, limit)
        return UsersResponse(users=[UserDetail(id=user, events=n_events) for user, n_events in found])

    def get_history(self, user: str, limit: ListLength = 50) -> HistoryResponse:
        """The events of a user, newest first."""
        events = self.pipeline.history(user, limit)
        return HistoryResponse(user=self.pipeline.external_user_id(user), events=list(events))

    def delete_user(self, user: str) -> ForgetResponse:
        """Forget a user: when the response arrives the id is in no file of the event log, no history and no list.

        The answer is the same for an unknown id, so a request can be repeated. What the events contributed to the
        fitted model remains until the next fit with the log.
        """
        return ForgetResponse(events=self.live.forget_user(user).n_events)

    def get_health(self) -> HealthResponse:
        """The model that is served."""
        pipeline, provenance = self.pipeline, self.pipeline.provenance
        table = pipeline.catalog.table
        return HealthResponse(
            status="ok",
            model=pipeline.name,
            model_version=pipeline.version,
            settings=provenance.get("settings"),
            created=provenance.get("created"),
            fallback=pipeline.fallback_name,
            version=leanrec.__version__,
            users=pipeline.n_users,
            items=len(pipeline.catalog),
            event_types=list(self.recorder.event_types),
            columns=[] if table is None else list(table.columns),
            rating_range=None if pipeline.rating_range is None else list(pipeline.rating_range),
        )

    def get_versions(self) -> VersionsResponse:
        """The version that is served and the one on trial, as the process that answers has seen them."""
        pipeline, trial = self.pipeline, self.live.trial
        return VersionsResponse(
            model=pipeline.name,
            version=pipeline.version,
            trial=None if trial is None else TrialDetail.model_validate(trial.describe()),
        )

    # These two are async: they answer while all threads wait for a disk or a model.
    async def get_liveness(self) -> StatusResponse:
        """The process answers. A supervisor may restart a server that does not."""
        return StatusResponse(status="ok")

    async def get_readiness(self, response: Response) -> StatusResponse:
        """Lists and events can be answered now. With status 503 a load balancer sends requests elsewhere."""
        waiting, problem = self.log.waiting_seconds(), self.log.guard.find_problem()
        if waiting < _MAX_WRITING_SECONDS and problem is None:
            return StatusResponse(status="ok")
        response.status_code = 503
        if problem is not None:
            return StatusResponse(status=str(problem))
        response.headers["Retry-After"] = str(_MAX_WRITING_SECONDS)
        return StatusResponse(status=f"The event log has not answered for {waiting:.0f} s.")

    def get_metrics(self) -> Response:
        """Metrics in the text format of Prometheus."""
        self.metrics.count_lost(self.log.n_lost)
        self.metrics.tell_version(self.pipeline.name, self.pipeline.version)
        self.metrics.free_bytes.set(self.log.guard.free_bytes)
        self.metrics.wal_bytes.set(self.log.guard.wal_bytes)
        self.metrics.quality_loss.set(round(1 - self.load.quality.value, 3))
        self.metrics.users.set(self.pipeline.n_users)
        self.metrics.items.set(len(self.pipeline.catalog))
        return Response(self.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def recommend(self, request: ListRequest, rung: str, time_limit_ms: float | None) -> Recommendations:
        """The list of a request with only the usual parameters, logged."""
        recommended = self.live.recommend(
            request.user,
            history=request.history,
            n=request.n,
            exclude_seen=request.exclude_seen,
            reasons=request.reasons,
            time_limit_ms=time_limit_ms,
            rung=rung,
            explore=self.explore,
        )
        return self._log_list(recommended)

    def find_cached(self, request: ListRequest) -> Recommendations | None:
        """The same list if it is in the cache, logged."""
        if request.user is None or request.history is not None:
            return None
        cached = self.live.find_cached(
            request.user,
            n=request.n,
            exclude_seen=request.exclude_seen,
            reasons=request.reasons,
            explore=self.explore,
        )
        return None if cached is None else self._log_list(cached)

    def _log_list(self, recommended: Recommendations) -> Recommendations:
        if recommended.fallback is not None:
            self.metrics.fallbacks.inc()
        if recommended.rung != "full":
            self.metrics.degraded_lists.labels(recommended.rung).inc()
        served = ServedList(
            request=recommended.request,
            time=time.time(),
            user=recommended.user,
            items=tuple([item.id for item in recommended.items]),
            scores=tuple([item.score for item in recommended.items]),
            fallback=recommended.fallback,
            version=recommended.version,
            policy=recommended.policy,
            arm=recommended.arm,
            rung=recommended.rung,
            propensities=recommended.propensities,
        )
        self.log.append_served(served)
        return recommended

    def _respond(self, recommended: Recommendations, as_of: int) -> RecommendResponse:
        return RecommendResponse(
            request=recommended.request,
            user=recommended.user,
            items=list(recommended.items),
            model=recommended.model,
            version=recommended.version,
            policy=recommended.policy,
            arm=recommended.arm,
            rung=recommended.rung,
            dropped=list(recommended.dropped),
            as_of=as_of,
            fallback=recommended.fallback,
            ignored=list(recommended.ignored),
            note=recommended.note,
            trace=None if recommended.trace is None else list(recommended.trace),
        )


def _describe_item(pipeline: Pipeline, row: int) -> ItemDetail:
    catalog = pipeline.catalog
    item = catalog.external_id(row)
    return ItemDetail(id=item, title=catalog.title(row), content=catalog.content(row), hidden=pipeline.is_hidden(item))


def _run_in_threads(handler: Callable[..., Any], threads: ThreadPoolExecutor) -> Callable[..., Any]:
    """The handler, which then waits for threads of its own."""

    @functools.wraps(handler)
    async def run(*arguments: Any, **named: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(
            threads, functools.partial(handler, *arguments, **named)
        )

    return run


def _add_routes(app: FastAPI, handlers: _RouteHandlers, *, has_keys: bool) -> None:
    checks = [Depends(_check_query)]
    for method, path, name, summary, described in _ROUTES:
        role = find_role(method, path) if has_keys else None
        refusals = () if role is None else (401, 429) if role == "client" else (401, 403, 429)
        responses = described | describe_errors(*refusals)
        handler = getattr(handlers, name)
        if name in _WRITES:
            handler = _run_in_threads(handler, handlers.writes)
        response_class = PlainTextResponse if name == "get_metrics" else JSONResponse
        app.add_api_route(
            path,
            handler,
            methods=[method],
            summary=summary,
            responses=responses,
            response_class=response_class,
            dependencies=checks if role is None else [*checks, _KEY],
        )
        if method == "GET":
            app.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False, dependencies=checks)
    # The dashboard loads nothing from other hosts, except images that the item table names, and cannot be framed.
    image_sources = "'self' data: https:" if handlers.pipeline.catalog.image_column else "'self' data:"
    headers = {
        "Content-Security-Policy": f"default-src 'self'; img-src {image_sources}; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
    for path, (name, media_type) in _DASHBOARD_FILES.items():
        handler = _make_file_handler(name, media_type, headers)
        app.add_api_route(path, handler, methods=["GET", "HEAD"], include_in_schema=False)


async def _check_query(request: Request) -> None:
    """Raise SettingError for an unknown or a repeated parameter, which the framework would ignore.

    Probes have no parameters and ignore all, since some add one against caches.
    """
    parameters = inspect.signature(request.scope["endpoint"]).parameters
    known = [name for name in parameters if name not in {"request", "response", *request.path_params}]
    for name in request.query_params if known or request.path_params else ():
        if name not in known:
            allowed = f"A parameter must be one of {', '.join(known)}" if known else "There must be no parameter"
            raise SettingError(f"{allowed}. Got {name!r}.")
        if name != "history" and len(request.query_params.getlist(name)) > 1:
            raise SettingError(f"{name} must be given once. Got it {len(request.query_params.getlist(name))} times.")


def _make_file_handler(name: str, media_type: str, headers: dict[str, str]) -> Callable[[], Response]:
    content = files("leanrec.serving").joinpath("dashboard", name).read_bytes()
    return lambda: Response(content, media_type=media_type, headers=headers)
