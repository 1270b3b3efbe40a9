"""Metrics of several processes as those of one server."""

from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.workers.messages import Sample
from leanrec.serving.workers.shared_metrics import SharedMetrics, keep_counts, merge_samples


def _find(samples: list[Sample], name: str, **labels: str) -> list[float]:
    return [value for _, each, own, value in samples if each == name and dict(own) == labels]


def _measure(seconds: list[float], users: int) -> SharedMetrics:
    metrics = SharedMetrics(lambda samples: samples)
    for each in seconds:
        metrics.count_request("/recommend", "GET", 200, each)
    metrics.users.set(users)
    metrics.count_lost(len(seconds))
    metrics.tell_version("ease", f"v{users}")
    return metrics


def test_counters_are_added_and_gauges_are_the_largest() -> None:
    one, two = _measure([0.002, 0.3], 10), _measure([0.002], 12)
    two.count_request("/events", "POST", 503, 1.0)
    merged = merge_samples([one.list_samples(), two.list_samples()])
    assert _find(merged, "leanrec_requests_total", route="/recommend", method="GET", status="200") == [3]
    assert _find(merged, "leanrec_requests_total", route="/events", method="POST", status="503") == [1]
    assert _find(merged, "leanrec_request_seconds_bucket", route="/recommend", method="GET", le="0.0025") == [2]
    assert _find(merged, "leanrec_users") == [12]
    assert _find(merged, "leanrec_lists_lost_total") == [3]
    created = [_find(each.list_samples(), "leanrec_fallbacks_created")[0] for each in (one, two)]
    assert _find(merged, "leanrec_fallbacks_created") == [min(created)]


def test_an_ended_process_leaves_its_counters() -> None:
    kept = keep_counts(_measure([0.002], 10).list_samples())
    assert _find(kept, "leanrec_users") == []
    assert _find(kept, "leanrec_version_info", model="ease", version="v10") == []
    assert _find(kept, "leanrec_lists_lost_total") == [1]
    merged = merge_samples([kept, _measure([0.1], 3).list_samples()])
    assert _find(merged, "leanrec_request_seconds_count", route="/recommend", method="GET") == [2]


def test_metrics_that_nobody_else_has_are_rendered_as_by_one_process() -> None:
    shared, alone = _measure([0.002, 9.0], 4), ServingMetrics()
    for each in (0.002, 9.0):
        alone.count_request("/recommend", "GET", 200, each)
    alone.users.set(4)
    alone.count_lost(2)
    alone.tell_version("ease", "v4")

    def lines(content: bytes) -> list[str]:
        return [line for line in content.decode().splitlines() if "_created" not in line]

    assert lines(shared.render()) == lines(alone.render())
