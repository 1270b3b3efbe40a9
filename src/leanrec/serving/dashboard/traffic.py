"""Traffic of a server as a few sums since its start, from which the dashboard takes rates and percentiles."""

import bisect
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from leanrec.serving.workers.messages import Sample

__all__ = ["Latencies", "TrafficTotals", "sum_traffic"]

_OF_THE_PAGE = ("/dashboard/", "/metrics", "/livez", "/readyz", "/health")
_REFUSALS = {"429", "503"}


@dataclasses.dataclass
class Latencies:
    """Counts of durations.

    Attributes:
        bounds: upper bounds of the buckets, in seconds; the last bucket has none.
        counts: number of durations in each bucket.
    """

    bounds: list[float] = dataclasses.field(default_factory=list)
    counts: list[float] = dataclasses.field(default_factory=list)

    def add(self, bound: float, total: float) -> None:
        """Add the number of durations of at most a bound, as Prometheus counts them."""
        at = bisect.bisect_left(self.bounds, bound)
        if at == len(self.bounds) or self.bounds[at] != bound:
            self.bounds.insert(at, bound)
            self.counts.insert(at, 0.0)
        self.counts[at] += total

    def to_dict(self) -> dict[str, list[float]]:
        """Bounds without infinity, and counts of each bucket alone."""
        single = [count - before for before, count in zip([0.0, *self.counts], self.counts, strict=False)]
        return {"bounds": [each for each in self.bounds if each != float("inf")], "counts": single}


@dataclasses.dataclass
class TrafficTotals:
    """Sums since the start of a server. Requests of probes and of the dashboard are left out.

    Attributes:
        requests: number of requests by outcome: "answered", "invalid" (4xx), "refused" (429 and 503) and "failed" (5xx).
        lists: number of lists by rung.
        events: number of events by outcome.
        latency: durations of all requests.
        list_latency: durations of requests for lists.
        freshness: from the arrival of events until lists reflect them.
        lists_lost: lists that could not be logged.
        connections_refused: connections beyond the limit.
        fallbacks: lists of the fallback.
        feedback: positive events that name the list they respond to.
        top_score_sum: sum of the largest scores of some lists of the model.
        top_score_count: number of these lists.
        quality_loss: 1 − quality factor of the load control.
        log_free_bytes: free space on the disk of the event log.
        log_wal_bytes: size of its write-ahead log.
    """

    requests: dict[str, float] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(("answered", "invalid", "refused", "failed"), 0.0)
    )
    lists: dict[str, float] = dataclasses.field(default_factory=lambda: {"full": 0.0})
    events: dict[str, float] = dataclasses.field(default_factory=dict)
    latency: Latencies = dataclasses.field(default_factory=Latencies)
    list_latency: Latencies = dataclasses.field(default_factory=Latencies)
    freshness: Latencies = dataclasses.field(default_factory=Latencies)
    lists_lost: float = 0.0
    connections_refused: float = 0.0
    fallbacks: float = 0.0
    feedback: float = 0.0
    top_score_sum: float = 0.0
    top_score_count: float = 0.0
    quality_loss: float = 0.0
    log_free_bytes: float = 0.0
    log_wal_bytes: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain dictionaries and lists, for JSON."""
        latencies = ("latency", "list_latency", "freshness")
        return vars(self) | {name: getattr(self, name).to_dict() for name in latencies}


_SINGLE = {
    "leanrec_lists_lost_total": "lists_lost",
    "leanrec_connections_refused_total": "connections_refused",
    "leanrec_fallbacks_total": "fallbacks",
    "leanrec_feedback_total": "feedback",
    "leanrec_top_score_sum": "top_score_sum",
    "leanrec_top_score_count": "top_score_count",
    "leanrec_quality_loss": "quality_loss",
    "leanrec_log_free_bytes": "log_free_bytes",
    "leanrec_log_wal_bytes": "log_wal_bytes",
}


def sum_traffic(samples: Iterable[Sample]) -> TrafficTotals:
    """Sum the samples of the metrics. O(samples)."""
    totals = TrafficTotals()
    for _, name, label_pairs, value in samples:
        labels = dict(label_pairs)
        if labels.get("route", "").startswith(_OF_THE_PAGE) or labels.get("route") == "/":
            continue
        if name in _SINGLE:
            setattr(totals, _SINGLE[name], value)
        elif name == "leanrec_requests_total":
            totals.requests[_find_outcome(labels["status"])] += value
            if labels["route"] == "/recommend" and labels["status"] == "200":
                totals.lists["full"] += value
        elif name == "leanrec_lists_degraded_total":
            totals.lists[labels["rung"]] = value
            totals.lists["full"] -= value
        elif name == "leanrec_events_total":
            totals.events[labels["outcome"]] = value
        elif name.endswith("_seconds_bucket"):
            _add_bucket(totals, name, labels, value)
    return totals


def _add_bucket(totals: TrafficTotals, name: str, labels: Mapping[str, str], value: float) -> None:
    if name == "leanrec_freshness_seconds_bucket":
        totals.freshness.add(float(labels["le"]), value)
    elif name == "leanrec_request_seconds_bucket":
        totals.latency.add(float(labels["le"]), value)
        if labels["route"] == "/recommend":
            totals.list_latency.add(float(labels["le"]), value)


def _find_outcome(status: str) -> str:
    if status in _REFUSALS:
        return "refused"
    return {"4": "invalid", "5": "failed"}.get(status[:1], "answered")
