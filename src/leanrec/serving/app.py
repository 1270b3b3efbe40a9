"""HTTP app over a pipeline and an event store."""

import contextlib
import functools
import logging
from collections.abc import AsyncIterator

from fastapi import FastAPI

import leanrec
from leanrec.events.event_store import EventStore
from leanrec.online.live_pipeline import LivePipeline
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.dashboard.routes import add_dashboard
from leanrec.serving.dashboard.traffic_history import TrafficHistory
from leanrec.serving.error_handlers import install_error_handlers
from leanrec.serving.event_requests import EventRecorder
from leanrec.serving.fast_routes import FastRoutes
from leanrec.serving.load.control import LoadControl
from leanrec.serving.monitoring.recall_metrics import RecallCollector
from leanrec.serving.monitoring.request_log import RequestLog
from leanrec.serving.monitoring.server_log import log_event
from leanrec.serving.monitoring.tracing import Tracing, open_otlp_writer
from leanrec.serving.monitoring.trial_metrics import TrialCollector
from leanrec.serving.prometheus import MetricsMiddleware, ServingMetrics
from leanrec.serving.routes import RouteHandlers, add_routes
from leanrec.serving.schemas import MAX_REQUEST_BYTES
from leanrec.serving.security.access import AccessControl
from leanrec.serving.security.hosts import HostCheck
from leanrec.serving.serving_settings import ServingSettings
from leanrec.serving.shared_cache import open_shared_cache
from leanrec.serving.shared_recorder import SharedPipeline, SharedRecorder, follow_log

__all__ = ["assemble_app", "create_app"]

_DESCRIPTION = """
HEAD answers as GET does, without a body. OPTIONS answers 204 with the methods of a path in `Allow`. A method that a
path does not have is answered with 405 and the same header, and an unknown path with 404. Every error has one form,
but for 400 in plain text to what is no HTTP or has an address too long to read: send long histories with POST.
"""


def create_app(
    pipeline: Pipeline | LivePipeline, log: EventStore, settings: ServingSettings = ServingSettings()
) -> FastAPI:
    """Create the HTTP app over a pipeline and an event store, which the caller opens and closes.

    The events of the store are replayed first, so that a restarted server has every event it has stored.

    Args:
        pipeline: what to serve; a `LivePipeline` over ``log`` can be given another version while the app runs.
        log: the event store.
        settings: settings of the server.

    Raises DataError if the store is bound to other data.
    """
    live = pipeline if isinstance(pipeline, LivePipeline) else follow_log(pipeline, log, rebind=settings.rebind_log)
    for warning in live.replayed.warnings():
        log_event("replay", warning, level=logging.WARNING)
    if isinstance(live, SharedPipeline):
        recorder: EventRecorder = SharedRecorder(live, live.shared, ServingMetrics(), settings.event_types)
    else:
        recorder = EventRecorder(live, log, ServingMetrics(), settings.event_types)
    return assemble_app(recorder, settings)


@contextlib.asynccontextmanager
async def _run_beside(recorder: EventRecorder, history: TrafficHistory, app: FastAPI) -> AsyncIterator[None]:
    """What goes on while the app runs: events of other servers are applied, and the traffic is kept."""
    async with recorder.following(), history.watch(app):
        yield


def assemble_app(recorder: EventRecorder, settings: ServingSettings) -> FastAPI:
    """Create the HTTP app over what records the events, to which pipeline, event store and metrics belong."""
    metrics = recorder.metrics
    cache = None if settings.cache is None else open_shared_cache(settings.cache, metrics)
    if cache is not None:
        for version in recorder.live.versions:
            version.pipeline.share_lists(cache.lists)
    if settings.list_rules is not None:
        recorder.live.fix_rules(settings.list_rules)
    elif recorder.live.rules_problem is not None:
        log_event("rules", recorder.live.rules_problem, level=logging.WARNING)
    load = LoadControl(settings.load, metrics)
    handlers = RouteHandlers(recorder, load, settings.explore)
    history = TrafficHistory(metrics, handlers.update_gauges)
    app = FastAPI(
        title="leanrec",
        version=leanrec.__version__,
        summary="Recommendations with known quality and known computing cost.",
        description=_DESCRIPTION.strip(),
        docs_url=None,  # FastAPI's documentation pages load scripts from another host
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # which it would look for at every request
        lifespan=functools.partial(_run_beside, recorder, history),
        redirect_slashes=False,  # behind a proxy the redirection would name an address that clients cannot reach
    )
    app.state.metrics = metrics
    app.state.cache = cache
    metrics.registry.register(TrialCollector(recorder.live))
    metrics.registry.register(RecallCollector(recorder.live))
    app.add_middleware(MetricsMiddleware, metrics=metrics, max_bytes=MAX_REQUEST_BYTES)
    app.add_middleware(FastRoutes, handlers=handlers, recorder=handlers.recorder, metrics=metrics, load=load)
    if settings.keys is not None:
        make_limit = None if cache is None else cache.limit_rate
        app.add_middleware(AccessControl, keys=settings.keys, metrics=metrics, make_limit=make_limit)
    app.add_middleware(HostCheck, allowed=settings.allowed_hosts, metrics=metrics)
    if settings.trace_endpoint is not None:
        open_writer = functools.partial(open_otlp_writer, settings.trace_endpoint)
        app.add_middleware(Tracing, share=settings.trace_share, open_writer=open_writer)
    app.add_middleware(RequestLog, slow_seconds=settings.slow_request)
    install_error_handlers(app)
    add_routes(app, handlers, has_keys=settings.keys is not None)
    add_dashboard(app, recorder, load, history, has_keys=settings.keys is not None)
    return app
