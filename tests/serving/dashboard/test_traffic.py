"""Sums of the traffic from the samples of the metrics."""

import math

from leanrec.serving.dashboard.traffic import Latencies, sum_traffic
from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.workers.shared_metrics import merge_samples


def make_metrics() -> ServingMetrics:
    """Metrics after some requests."""
    metrics = ServingMetrics()
    for route, method, status, seconds in (
        ("/recommend", "POST", 200, 0.0004),
        ("/recommend", "GET", 200, 0.0004),
        ("/recommend", "GET", 200, 0.003),
        ("/recommend", "GET", 404, 0.02),
        ("/events", "POST", 200, 7.0),
        ("other", "other", 503, 0.0),
        ("/events", "POST", 429, 0.0),
        ("/explain", "GET", 500, 0.3),
        ("/metrics", "GET", 200, 0.3),
        ("/dashboard/traffic", "GET", 200, 0.3),
        ("/", "GET", 200, 0.3),
    ):
        metrics.count_request(route, method, status, seconds)
    metrics.degraded_lists.labels("popular").inc()
    metrics.events.labels("stored").inc(5)
    metrics.freshness.observe(0.002)
    metrics.fallbacks.inc(2)
    metrics.feedback.inc(3)
    for score in (1.5, 2.25):
        metrics.top_score.observe(score)
    metrics.quality_loss.set(0.25)
    metrics.free_bytes.set(1e9)
    metrics.wal_bytes.set(4096)
    return metrics


def test_requests_by_outcome_without_those_of_probes_and_of_the_dashboard() -> None:
    totals = sum_traffic(make_metrics().collect_samples())
    assert totals.requests == {"answered": 4, "invalid": 1, "refused": 2, "failed": 1}
    assert totals.lists == {"full": 2, "no_reasons": 0, "cached": 0, "popular": 1}
    assert totals.events == {"stored": 5}
    assert (totals.fallbacks, totals.quality_loss) == (2, 0.25)
    assert (totals.feedback, totals.top_score_sum, totals.top_score_count) == (3, 3.75, 2)
    assert (totals.log_free_bytes, totals.log_wal_bytes) == (1e9, 4096)


def test_durations_are_added_over_routes_and_each_counts_in_one_bucket() -> None:
    described = sum_traffic(make_metrics().collect_samples()).to_dict()
    bounds = described["latency"]["bounds"]
    assert bounds == sorted(bounds)
    assert math.inf not in bounds
    expected = dict.fromkeys([*bounds, math.inf], 0.0)
    for seconds in (0.0004, 0.0004, 0.003, 0.02, 7.0, 0.0, 0.0, 0.3):
        expected[min(bound for bound in expected if seconds <= bound)] += 1
    assert described["latency"]["counts"] == list(expected.values())
    assert sum(described["list_latency"]["counts"]) == 4
    assert sum(described["freshness"]["counts"]) == 1
    assert described["freshness"]["counts"][bounds.index(0.0025)] == 1


def test_sums_of_two_processes_are_added() -> None:
    one = make_metrics().collect_samples()
    both, alone = sum_traffic(merge_samples([one, one])), sum_traffic(one)
    assert both.requests == {name: 2 * count for name, count in alone.requests.items()}
    assert both.lists == {name: 2 * count for name, count in alone.lists.items()}
    assert both.latency.to_dict()["counts"] == [2 * each for each in alone.latency.to_dict()["counts"]]
    assert (both.feedback, both.top_score_sum, both.top_score_count) == (6, 7.5, 4)
    assert both.log_free_bytes == alone.log_free_bytes


def test_a_server_without_requests() -> None:
    totals = sum_traffic(ServingMetrics().collect_samples())
    assert set(totals.requests.values()) == {0}
    assert totals.latency.to_dict() == {"bounds": [], "counts": []}


def test_bounds_are_sorted_in_whatever_order_they_come() -> None:
    latencies = Latencies()
    for bound, total in ((math.inf, 5.0), (0.1, 2.0), (1.0, 3.0), (0.1, 1.0), (1.0, 1.0), (math.inf, 2.0)):
        latencies.add(bound, total)
    assert latencies.to_dict() == {"bounds": [0.1, 1.0], "counts": [3.0, 1.0, 3.0]}
