"""Load control of a real server: lists beyond the limit are refused, events and probes are not, and answers name their rung."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from conftest import make_dataset
from contracts.server import run_server
from leanrec.errors import SourceError
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.app import create_app
from leanrec.serving.load.control import LoadControl
from leanrec.serving.load.quality import LoadLimits
from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.serving_settings import ServingSettings

SCOPE = {"type": "http", "method": "GET", "path": "/explain", "headers": []}


class Holder:
    """Holds the lists of a pipeline until they are let go."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.free, self.begun = threading.Event(), threading.Semaphore(0)
        self._recommend = pipeline.recommend
        pipeline.recommend = self.recommend  # type: ignore[method-assign]

    def recommend(self, *arguments: Any, **named: Any) -> Any:
        self.begun.release()
        assert self.free.wait(30)
        return self._recommend(*arguments, **named)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[httpx.Client, Holder]]:
    """A server with places for three lists, all of which wait."""
    pipeline = Pipeline.fit(EASE(l2=20.0), make_dataset())
    pipeline.warm_up()
    holder = Holder(pipeline)
    settings = ServingSettings(load=LoadLimits(max_in_flight=3))
    with (
        SQLiteEventStore(tmp_path / "events.db") as log,
        run_server(create_app(pipeline, log, settings)) as client,
        ThreadPoolExecutor(3) as threads,
    ):
        paths = ["/recommend?user=user-1&n=500", "/recommend?user=user-2&n=500", '/recommend?user=user-3&where={"x":1}']
        waiting = [threads.submit(client.get, path) for path in paths[:2]]
        waiting.append(threads.submit(client.post, "/recommend", json={"user": "user-3", "deny": []}))
        for _ in range(3):
            assert holder.begun.acquire(timeout=10)
        try:
            yield client, holder
        finally:
            holder.free.set()
            assert [each.result().status_code for each in waiting] == [200] * 3


@pytest.fixture
def late_client(tmp_path: Path) -> Iterator[httpx.Client]:
    pipeline = Pipeline.fit(EASE(l2=20.0), make_dataset())
    # Nothing is made in a nanosecond, so that every list is late.
    settings = ServingSettings(load=LoadLimits(latency_target_ms=1e-6))
    with SQLiteEventStore(tmp_path / "events.db") as log, run_server(create_app(pipeline, log, settings)) as client:
        yield client
        served = {each.rung for each in log.served_lists()}
        assert served == {"full", "no_reasons", "cached", "popular"}


class TestRefusals:
    def test_lists_beyond_the_limit_are_refused_and_all_else_is_answered(
        self, held: tuple[httpx.Client, Holder]
    ) -> None:
        client, holder = held
        for path in ("/recommend?user=user-5", "/recommend?user=user-5&history=100", "/explain?user=user-1&item=100"):
            refused = client.get(path)
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["message"] == (
                "A server may answer 3 requests for lists at a time. It has as many."
            )
        assert client.get("/similar/100").status_code == 503
        for path in ("/livez", "/readyz", "/health", "/metrics", "/items?search=1"):
            assert client.get(path).status_code == 200
        stored = client.post("/events", json={"events": [{"user": "user-1", "item": 100}]})
        assert stored.json()["stored"] == 1
        text = client.get("/metrics").text
        assert "leanrec_lists_refused_total 4.0" in text
        assert 'status="503"' in text
        assert (
            'leanrec_request_seconds_count{method="GET",route="/recommend"}' not in text
        )  # a refusal is no fast answer
        assert "leanrec_quality_loss 0.396" in text
        holder.free.set()

    def test_places_are_given_back(self, held: tuple[httpx.Client, Holder]) -> None:
        client, holder = held
        holder.free.set()
        deadline = time.monotonic() + 60
        while client.get("/recommend?user=user-5").status_code != 200:
            assert time.monotonic() < deadline
        for _ in range(10):
            assert client.get("/recommend?user=nobody").status_code == 404
            assert client.get("/recommend?user=user-5&n=0").status_code == 422
            assert client.get("/similar/100").status_code == 200


class TestDependencies:
    def test_writes_that_wait_for_the_disk_hold_up_no_list(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pipeline, free = Pipeline.fit(EASE(l2=20.0), make_dataset()), threading.Event()
        with SQLiteEventStore(tmp_path / "events.db") as log:
            monkeypatch.setattr(log, "set_hidden", lambda *_, **__: [] * free.wait(30))
            with (
                run_server(create_app(pipeline, log)) as client,
                ThreadPoolExecutor(60) as threads,
                contextlib.ExitStack() as last,
            ):
                last.callback(free.set)
                waiting = [
                    threads.submit(client.delete, "/items/100") for _ in range(60)
                ]  # more than the threads of the app
                time.sleep(0.2)
                assert client.post("/recommend", json={"user": "user-1", "deny": [101]}, timeout=10).status_code == 200
                assert client.get("/similar/101", timeout=10).status_code == 200
                assert client.get("/metrics", timeout=10).status_code == 200
                assert not any(each.done() for each in waiting)
                free.set()
                assert {each.result().status_code for each in waiting} == {200}


class TestRungs:
    def test_lists_get_simpler_and_say_so(self, late_client: httpx.Client) -> None:
        client = late_client
        first = client.get("/recommend?user=user-1").json()
        assert (first["rung"], first["dropped"]) == ("full", [])
        rungs = []
        for number in range(2, 60):  # half a second at least for each rung
            rungs.append(client.get(f"/recommend?user=user-{number}").json()["rung"])
            if rungs[-1] == "popular":
                break
            time.sleep(0.05)
        assert list(dict.fromkeys(rungs)) == ["full", "no_reasons", "popular"]
        others = client.post("/recommend", json={"user": "user-58", "deny": [100]}).json()
        assert others["rung"] == "popular"
        assert [(each["stage"], each["reason"]) for each in others["dropped"]] == [("rank", "load")]
        fast = client.get("/recommend?user=user-59").json()
        assert (fast["rung"], fast["dropped"][0]["stage"]) == ("popular", "rank")
        client.post("/events", json={"events": [{"user": "user-2", "item": first["items"][0]["id"]}]})
        assert client.get("/recommend?user=user-2").json()["rung"] == "cached"
        text = client.get("/metrics").text
        assert 'leanrec_lists_degraded_total{rung="popular"}' in text
        assert "leanrec_quality_loss 1.0" in text


class TestTimeLimits:
    def test_a_request_has_its_own_deadline(self, tmp_path: Path) -> None:
        pipeline = Pipeline.fit(EASE(l2=20.0), make_dataset())
        pipeline._maker.times.add("explain", 100.0)
        with SQLiteEventStore(tmp_path / "e.db") as log, run_server(create_app(pipeline, log)) as client:
            fast = client.get("/recommend?user=user-1&time_limit_ms=9000").json()
            slow = client.get("/recommend?user=user-1&time_limit_ms=9000.5&trace=true").json()
            posted = client.post("/recommend", json={"user": "user-1", "time_limit_ms": 9000, "deny": []}).json()
            whole = client.get("/recommend?user=user-1").json()
        dropped = [{"stage": "explain", "reason": "deadline", "milliseconds": 100_000.0}]
        for answer in (fast, slow, posted):
            assert (answer["rung"], answer["dropped"]) == ("no_reasons", dropped)
        assert whole["rung"] == "full"
        assert all(0 < each["budget"] <= 9000.5 for each in slow["trace"])

    def test_the_wait_counts(self) -> None:
        load = LoadControl(LoadLimits(), ServingMetrics())
        assert load.limit_time(None, time.perf_counter()) is None
        left = load.limit_time(100.0, time.perf_counter() - 0.05)
        assert left is not None
        assert left <= 50
        assert load.limit_time(100.0, time.perf_counter() - 1) == pytest.approx(1e-3)


class TestClients:
    def test_a_client_that_takes_its_answer_slowly_holds_no_place_and_counts_as_fast(self) -> None:
        load, in_flight = LoadControl(LoadLimits(latency_target_ms=20), ServingMetrics()), list[int]()

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            in_flight.append(load.turns.in_flight)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        async def send_slowly(message: Message) -> None:
            in_flight.append(load.turns.in_flight)
            await asyncio.sleep(0.03)

        asyncio.run(load.pass_list(answer, SCOPE, None, send_slowly))  # type: ignore[arg-type]
        assert in_flight == [1, 0, 0]
        assert load.quality.value == 1

    def test_an_error_gives_the_place_back(self) -> None:
        load = LoadControl(LoadLimits(), ServingMetrics())

        async def fail(scope: Scope, receive: Receive, send: Send) -> None:
            raise SourceError("no disk")

        with pytest.raises(SourceError):
            asyncio.run(load.pass_list(fail, SCOPE, None, None))  # type: ignore[arg-type]
        assert load.turns.in_flight == 0
        assert load.quality.value == 1
