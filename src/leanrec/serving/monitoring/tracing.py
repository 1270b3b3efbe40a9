"""Traces of requests by OpenTelemetry (extra ``otel``): a span for each sampled request and its stages."""

import importlib.util
import os
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leanrec.errors import MissingExtraError
from leanrec.serving.monitoring.request_log import find_route
from leanrec.serving.prometheus import KNOWN_METHODS

__all__ = ["SpanWriter", "TraceParent", "TracedRequest", "Tracing", "check_tracing", "open_otlp_writer", "read_parent"]

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")


class TraceParent(NamedTuple):
    """The span of a client that a request belongs to, from its header ``traceparent`` (W3C Trace Context)."""

    trace_id: int
    span_id: int
    is_sampled: bool


class TracedRequest(NamedTuple):
    """One request for a trace.

    Attributes:
        name: method and route.
        parent: the span of the client, or None.
        start, end: nanoseconds since 1970.
        attributes: what is known of it, without ids of users.
        stages: name, start and end of each stage, in nanoseconds since 1970.
    """

    name: str
    parent: TraceParent | None
    start: int
    end: int
    attributes: dict[str, str | int]
    stages: Sequence[tuple[str, int, int]]


class SpanWriter(Protocol):
    """What takes the spans."""

    def write(self, request: TracedRequest) -> None:
        """Write the spans of a request, without waiting for their delivery."""


def check_tracing() -> None:
    """Raise MissingExtraError unless traces can be written."""
    for package in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"):
        try:
            is_there = importlib.util.find_spec(package) is not None
        except ModuleNotFoundError:
            is_there = False
        if not is_there:
            raise MissingExtraError("Tracing", "otel")


def read_parent(headers: Sequence[tuple[bytes, bytes]]) -> TraceParent | None:
    """The parent in the headers of a request; None if there is none, several, or one that is not valid."""
    found, n_found = b"", 0
    for name, value in headers:  # once for each request, which most often has none
        if name == b"traceparent":
            found, n_found = value.strip(), n_found + 1
    match = _PARENT.fullmatch(found) if n_found == 1 else None
    if match is None or match[1] == b"ff" or (match[1] == b"00" and len(found) != 55):
        return None
    parent = TraceParent(int(match[2], 16), int(match[3], 16), bool(int(match[4], 16) & 1))
    return parent if parent.trace_id and parent.span_id else None


class Tracing:
    """ASGI app that writes spans of a share of the requests to another app.

    A request with a parent is traced if the parent is sampled, and any other by chance. A request that is not traced takes a
    microsecond more; spans are made after the answer.

    Attributes:
        app: the other app.
        share: share of the requests without a parent that are traced.
    """

    def __init__(self, app: ASGIApp, share: float, open_writer: Callable[[], SpanWriter]) -> None:
        """Take the app, the share, and what opens the writer, which is called in each process at its first trace."""
        self.app, self.share, self._open_writer = app, share, open_writer
        self._writer: SpanWriter | None = None
        self._process = 0

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on."""
        if scope["type"] == "http":
            parent = read_parent(scope["headers"])
            if random.random() < self.share if parent is None else parent.is_sampled:  # noqa: S311 - no secret
                return self._trace(parent, scope, receive, send)
        return self.app(scope, receive, send)  # without a coroutine of its own, which would cost more than the rest

    async def _trace(self, parent: TraceParent | None, scope: Scope, receive: Receive, send: Send) -> None:
        start, status = time.perf_counter(), 500

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_noted)
        finally:
            # Each process has a writer of its own: it may have a thread, which a fork would lose.
            if self._writer is None or self._process != os.getpid():
                self._writer, self._process = self._open_writer(), os.getpid()
            self._writer.write(_describe_request(scope, parent, start, status))


def _describe_request(scope: Scope, parent: TraceParent | None, start: float, status: int) -> TracedRequest:
    to_unix = time.time_ns() - time.perf_counter_ns()
    route = find_route(scope)
    method = scope["method"] if scope["method"] in KNOWN_METHODS else "other"
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "http.route": route,
        "http.response.status_code": status,
        "leanrec.request": scope.get("request_id", ""),
    }
    stages = [(name, int(began * 1e9) + to_unix, int(ended * 1e9) + to_unix) for name, began, ended in scope["stages"]]
    return TracedRequest(f"{method} {route}", parent, int(start * 1e9) + to_unix, time.time_ns(), attributes, stages)


class _OtlpWriter:
    """Writes spans through a tracer of OpenTelemetry."""

    def __init__(self, tracer: Any) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - of the extra

        self._tracer, self._trace = tracer, trace

    def write(self, request: TracedRequest) -> None:
        """Write the span of a request and those of its stages."""
        trace, parent, context = self._trace, request.parent, None
        if parent is not None:
            sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
            remote = trace.SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=sampled)
            context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
        kind = trace.SpanKind.SERVER
        span = self._tracer.start_span(request.name, context, kind, request.attributes, start_time=request.start)
        if int(request.attributes["http.response.status_code"]) >= 500:
            span.set_status(trace.Status(trace.StatusCode.ERROR))
        inside = trace.set_span_in_context(span)
        for name, start, end in request.stages:
            self._tracer.start_span(name, inside, start_time=start).end(end)
        span.end(request.end)


def open_otlp_writer(endpoint: str) -> SpanWriter:
    """A writer that sends spans to a collector by OTLP over HTTP, in batches and from a thread of its own.

    Args:
        endpoint: address of the collector, such as ``http://localhost:4318/v1/traces``.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - of the extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415

    provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create({"service.name": "leanrec"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=5)))
    return _OtlpWriter(provider.get_tracer("leanrec"))
