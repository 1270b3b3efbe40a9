"""Prometheus metrics of an app, and the middleware that measures requests."""

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leanrec.pipeline.responses import RUNGS
from leanrec.serving.workers.messages import Sample

__all__ = ["EVENT_OUTCOMES", "KNOWN_METHODS", "MetricsMiddleware", "ServingMetrics"]

EVENT_OUTCOMES = ("stored", "duplicate", "rejected", "invalid")
KNOWN_METHODS = frozenset(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
_STAGE_BUCKETS = (1e-5, 2.5e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 0.01, 0.025, 0.1, 1.0)  # seconds
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)  # seconds


class ServingMetrics:
    """The metrics of one app, in its own registry, so that two apps in one process do not share counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("route", "method")
        self.seconds = Histogram(
            "leanrec_request_seconds", "Response time.", labels, buckets=_BUCKETS, registry=self.registry
        )
        self.stages = Histogram(
            "leanrec_stage_seconds",
            "Stages of one of 100 full lists that were made.",
            ("stage",),
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self.requests = Counter("leanrec_requests", "Requests answered.", (*labels, "status"), registry=self.registry)
        self.events = Counter("leanrec_events", "Events received, by outcome.", ("outcome",), registry=self.registry)
        self.feedback = Counter(
            "leanrec_feedback", "New positive events that name the list they respond to.", registry=self.registry
        )
        self.top_score = Summary(
            "leanrec_top_score",
            "Largest score of the model, of one of 100 full lists that were made.",
            registry=self.registry,
        )
        self.fallbacks = Counter("leanrec_fallbacks", "Lists that came from the fallback.", registry=self.registry)
        self.refused_connections = Counter(
            "leanrec_connections_refused", "Connections beyond the limit.", registry=self.registry
        )
        self.ended_connections = Counter(
            "leanrec_connections_timed_out", "Connections ended by the time limit.", registry=self.registry
        )
        self.degraded_lists = Counter(
            "leanrec_lists_degraded", "Lists below the rung full, by rung.", ("rung",), registry=self.registry
        )
        self.refused_lists = Counter(
            "leanrec_lists_refused",
            "Requests for lists beyond the number that may be in flight.",
            registry=self.registry,
        )
        self.shared_lists = Counter(
            "leanrec_shared_lists",
            "Questions for a list in the shared cache, by outcome; error and skipped are no misses.",
            ("outcome",),
            registry=self.registry,
        )
        self.quality_loss = Gauge(
            "leanrec_quality_loss", "1 - quality factor: 0 unless lists are too slow.", registry=self.registry
        )
        self.freshness = Histogram(
            "leanrec_freshness_seconds",
            "From the arrival of events until the lists of a process reflect them, for each process.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.lists_lost = Counter(
            "leanrec_lists_lost", "Served lists that could not be logged.", registry=self.registry
        )
        self.version = Gauge(
            "leanrec_version_info", "1 for the version that is served.", ("model", "version"), registry=self.registry
        )
        self.free_bytes = Gauge("leanrec_log_free_bytes", "Free space on the disk of the log.", registry=self.registry)
        self.wal_bytes = Gauge("leanrec_log_wal_bytes", "Size of the log's write-ahead log.", registry=self.registry)
        self.users = Gauge("leanrec_users", "Users known.", registry=self.registry)
        self.items = Gauge("leanrec_items", "Items known.", registry=self.registry)

        for rung in RUNGS[1:]:
            self.degraded_lists.labels(rung)
        self._n_lost = 0
        self._bound: dict[tuple[str, str, int], tuple[Histogram, Counter]] = {}

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count and time one request. The labels must come from a short list."""
        key = (route, method, status)
        if key not in self._bound:
            self._bound[key] = self.seconds.labels(route, method), self.requests.labels(route, method, status)
        histogram, counter = self._bound[key]
        histogram.observe(seconds)
        counter.inc()

    def count_lost(self, n_lost: int) -> None:
        """Bring the counter of lost lists to a number."""
        self.lists_lost.inc(max(0, n_lost - self._n_lost))
        self._n_lost = max(n_lost, self._n_lost)

    def tell_version(self, model: str, version: str) -> None:
        """Tell which version is served, and no other one."""
        self.version.clear()
        self.version.labels(model, version).set(1)

    def list_samples(self) -> list[Sample]:
        """The values of this process."""
        return [
            (family.name, sample.name, tuple(sample.labels.items()), sample.value)
            for family in self.registry.collect()
            for sample in family.samples
        ]

    def collect_samples(self) -> list[Sample]:
        """The values of the server."""
        return self.list_samples()

    def render(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class MetricsMiddleware:
    """Counts and times every request, sends the time as ``Server-Timing``, and limits the size of a request."""

    def __init__(self, app: ASGIApp, metrics: ServingMetrics, max_bytes: int) -> None:
        self.app, self.metrics, self.max_bytes = app, metrics, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and measure it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, size = time.perf_counter(), 500, 0

        async def receive_limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.max_bytes:
                raise HTTPException(413, f"A request may have {self.max_bytes} bytes. This one has more.")
            return message

        async def send_timed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                timing = f"app;dur={(time.perf_counter() - start) * 1e3:.3f}"
                message["headers"] = [*message.get("headers", ()), (b"server-timing", timing.encode())]
            await send(message)

        try:
            await self.app(scope, receive_limited, send_timed)
        finally:
            # The labels are the template of the route and a known method, because a client can send any number of
            # different paths and methods.
            route: Any = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in KNOWN_METHODS else "other"
            self.metrics.count_request(route, method, status, time.perf_counter() - start)
