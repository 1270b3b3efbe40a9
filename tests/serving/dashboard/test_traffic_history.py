"""The history of the traffic: who looks, and what is kept."""

import asyncio
from typing import Any

import pytest

from leanrec.errors import SourceError
from leanrec.serving.dashboard import traffic_history
from leanrec.serving.dashboard.traffic_history import TrafficHistory
from leanrec.serving.prometheus import ServingMetrics


def make_history(metrics: ServingMetrics | None = None) -> TrafficHistory:
    return TrafficHistory(metrics or ServingMetrics(), lambda: None)


def test_looks_are_kept_for_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(traffic_history.time, "time", lambda: now[0])
    metrics = ServingMetrics()
    history = make_history(metrics)
    for now[0] in (1000.0, 1300.0, 1599.0, 1700.0):
        metrics.count_request("/events", "POST", 200, 0.01)
        history.look()
    looks = history.list_looks(0.0)
    assert [each["time"] for each in looks] == [1300.0, 1599.0, 1700.0]
    assert [each["requests"]["answered"] for each in looks] == [2, 3, 4]
    assert [each["time"] for each in history.list_looks(1599.0)] == [1700.0]


def test_gauges_are_measured_before_each_look() -> None:
    metrics = ServingMetrics()
    history = TrafficHistory(metrics, lambda: metrics.free_bytes.set(7))
    history.look()
    assert history.list_looks(0.0)[0]["log_free_bytes"] == 7


def watch(history: TrafficHistory, n_looks: int) -> None:
    """Let a history watch until it has so many looks."""

    async def go() -> None:
        async with history.watch(None):
            while len(history.list_looks(0.0)) < n_looks:  # noqa: ASYNC110 - another thread looks
                await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(go(), 30))


def test_it_looks_while_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic_history, "_PAUSE_SECONDS", 0.002)
    history = make_history()
    watch(history, 3)
    times = [each["time"] for each in history.list_looks(0.0)]
    assert times == sorted(times)


def test_it_does_not_look_while_the_dashboard_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    history = make_history()
    history.look()
    monkeypatch.setattr(asyncio, "to_thread", lambda *_: pytest.fail("it looked"))
    watch(history, 1)


def test_it_goes_on_after_the_owner_of_the_log_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic_history, "_PAUSE_SECONDS", 0.002)
    failures = iter([SourceError("away"), SourceError("away")])

    class AwayMetrics(ServingMetrics):
        def collect_samples(self) -> list[Any]:
            for error in failures:
                raise error
            return super().collect_samples()

    watch(make_history(AwayMetrics()), 1)
    assert next(failures, None) is None
