"""Prometheus metrics of one app, and the middleware that takes them."""

import time
from collections.abc import MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Measured", "Metrics"]

_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Metrics:
    """The metrics of one app in a registry of its own, so that two apps in a process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("route", "method")
        self.seconds = Histogram(
            "leanrec_request_seconds", "Time to answer.", labels, buckets=_SECONDS, registry=self.registry
        )
        self.requests = Counter("leanrec_requests", "Requests answered.", (*labels, "status"), registry=self.registry)
        self.events = Counter(
            "leanrec_events", "Events received, by what became of them.", ("outcome",), registry=self.registry
        )
        self.fallbacks = Counter("leanrec_fallbacks", "Lists that came from the fallback.", registry=self.registry)
        self.lost = Gauge("leanrec_lists_lost", "Served lists that could not be logged.", registry=self.registry)
        self.users = Gauge("leanrec_users", "Users known.", registry=self.registry)
        self.items = Gauge("leanrec_items", "Items known.", registry=self.registry)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class Measured:
    """Middleware: counts and times every request, and tells the client the time in ``Server-Timing``."""

    def __init__(self, app: ASGIApp, metrics: Metrics, most_bytes: int) -> None:
        self.app, self.metrics, self.most_bytes = app, metrics, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note how it went."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, size = time.perf_counter(), 500, 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.most_bytes:
                raise HTTPException(413, f"A request may have {self.most_bytes} bytes. This one has more.")
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                took = f"app;dur={(time.perf_counter() - started) * 1e3:.3f}"
                message["headers"] = [*message.get("headers", ()), (b"server-timing", took.encode())]
            await send(message)

        try:
            await self.app(scope, limited, noted)
        finally:
            self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        # The template of the route, not the path: a label for each id would grow without end.
        # And known verbs alone: a client may invent others.
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.seconds.labels(route, method).observe(seconds)
        self.metrics.requests.labels(route, method, status).inc()
