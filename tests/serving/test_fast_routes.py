"""Fast routes answer as the app does, and leave to it what they do not take."""

import asyncio
import itertools
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from conftest import make_dataset
from contracts.server import run_server
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recommendations, RecommendedItem
from leanrec.serving.app import create_app
from leanrec.serving.fast_routes import FastRoutes, ListRequest, parse_query
from leanrec.serving.load.control import LoadControl
from leanrec.serving.load.quality import LoadLimits
from leanrec.serving.prometheus import ServingMetrics


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    path = tmp_path_factory.mktemp("log") / "events.db"
    pipeline = Pipeline.fit(EASE(l2=20.0), make_dataset())
    with SQLiteEventStore(path) as log, run_server(create_app(pipeline, log)) as client:
        yield client


def drop_id(answer: httpx.Response) -> tuple[int, Any]:
    content = answer.json()
    content.pop("request", None)
    return answer.status_code, content


class TestQuery:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("user=7", ListRequest(user="7")),
            ("user=a%20b%2Fc&n=3", ListRequest(user="a b/c", n=3)),
            ("user=7&time_limit_ms=20", ListRequest(user="7", time_limit_ms=20.0)),
            ("user=a+b&reasons=false", ListRequest(user="a b", reasons=False)),
            ("exclude_seen=false&user=%E5%9B%A2", ListRequest(user="团", exclude_seen=False)),
        ],
    )
    def test_the_usual_parameters_are_read(self, query: str, expected: ListRequest) -> None:
        assert parse_query(query.encode()) == expected

    @pytest.mark.parametrize(
        "query",
        [
            "",
            "user=",
            "n=3",
            "user=1&user=2",
            "user=1&n=0",
            "user=1&n=1001",
            "user=1&n=3.0",
            "user=1&n=+3",
            "user=1&reasons=maybe",
            "user=1&history=5",
            "user=1&where=%7B%7D",
            "user=1&unknown=2",
            "user=1&time_limit_ms=0",
            "user=1&time_limit_ms=-5",
            "user=1&time_limit_ms=2.5",
            "user=%FF",
            f"user={'x' * 201}",
        ],
    )
    def test_other_queries_are_left_to_the_app(self, query: str) -> None:
        assert parse_query(query.encode()) is None


class TestSameAnswers:
    """The parameter ``deny=[]`` changes nothing and is not one of the usual ones, so the app answers it."""

    def test_lists_are_those_of_the_app(self, client: httpx.Client) -> None:
        users = ["user-1", "user-2", "user-59", "unknown"]
        for user, n, seen, reasons in itertools.product(users, (1, 5, 1000), (True, False), (True, False)):
            body = {"user": user, "n": n, "exclude_seen": seen, "reasons": reasons}
            fast = client.post("/recommend", json=body)
            assert drop_id(fast) == drop_id(client.post("/recommend", json={**body, "deny": []}))
            asked = client.get(
                "/recommend", params={**body, "exclude_seen": str(seen), "reasons": str(reasons).lower()}
            )
            assert drop_id(asked) == drop_id(fast)

    @given(
        st.dictionaries(
            st.sampled_from(["user", "history", "n", "exclude_seen", "reasons", "time_limit_ms", "other"]),
            st.none()
            | st.booleans()
            | st.integers(-2, 1002)
            | st.sampled_from([600_000, 600_001, 1e6])
            | st.sampled_from(["user-1", "100", "", 2**53, 1.5])
            | st.lists(st.sampled_from([100, 101, "102", "", None, 2**60, True]), max_size=3),
        )
    )
    def test_every_request_is_answered_as_by_the_app(self, client: httpx.Client, body: dict[str, Any]) -> None:
        limit = body.get("time_limit_ms")
        if isinstance(limit, int) and 0 < limit < 1003 and limit is not True:
            body = {**body, "time_limit_ms": 500 * limit}  # so that nothing is left out on a busy machine
        fast = client.post("/recommend", json=body)
        slow = client.post("/recommend", json={**body, "deny": []})
        if fast.status_code != 422 or "deny" not in slow.text:
            assert drop_id(fast) == drop_id(slow)

    def test_a_body_in_several_parts_is_read(self, client: httpx.Client) -> None:
        parts = iter([b'{"user": ', b'"user-1"', b"}"])
        answer = client.post("/recommend", content=parts, headers={"content-type": "application/json"})
        assert drop_id(answer) == drop_id(client.get("/recommend?user=user-1"))

    def test_lists_are_logged_and_counted(self, tmp_path: Path) -> None:
        pipeline = Pipeline.fit(EASE(l2=20.0), make_dataset())
        with SQLiteEventStore(tmp_path / "events.db") as log, run_server(create_app(pipeline, log)) as client:
            request = client.get("/recommend?user=user-1&n=4").json()["request"]
            served = {each.request: each for each in log.served_lists()}
            text = client.get("/metrics").text
        assert len(served[request].items) == 4
        assert 'leanrec_requests_total{method="GET",route="/recommend",status="200"} 1.0' in text

    def test_stages_of_a_sample_are_timed_and_its_lists_are_like_others(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("leanrec.serving.fast_routes._SAMPLED", 2)
        pipeline = Pipeline.fit(EASE(l2=20.0), make_dataset())
        with SQLiteEventStore(tmp_path / "events.db") as log, run_server(create_app(pipeline, log)) as client:
            users = [f"user-{number}" for number in range(6)]
            answers = [client.get(f"/recommend?user={user}&n=4") for user in users]  # of which three are timed
            slow = [
                client.get(f"/recommend?user={user}&n=4&trace=true") for user in users
            ]  # by the app, and in no metric
            text = client.get("/metrics").text
            assert len(list(log.served_lists())) == 12
        assert [answer.json()["trace"] for answer in answers] == [None] * 6
        for stage in ("wait", "rules", "retrieve", "explain", "log", "encode", "send"):
            assert f'leanrec_stage_seconds_count{{stage="{stage}"}} 3.0' in text
        timed = [answer.json()["items"][0]["score"] for answer in answers[1::2]]
        total = re.search(r"^leanrec_top_score_sum (\S+)$", text, re.MULTILINE)
        assert total is not None
        assert float(total[1]) == pytest.approx(sum(timed), rel=1e-5)
        assert "leanrec_top_score_count 3.0" in text
        for fast, other in zip(answers, slow, strict=True):
            assert fast.json()["items"] == other.json()["items"]


class SlowHandlers:
    """Lists of more than 50 items take 0.1 s; those of one user are in the cache."""

    def __init__(self) -> None:
        self.made_in: list[str] = []
        self.found = Recommendations("id", (RecommendedItem(2**60, "title", 1.0),))

    def recommend(
        self, request: ListRequest, rung: str, time_limit_ms: float | None, *, trace: bool = False
    ) -> Recommendations:
        assert (rung, time_limit_ms) == ("full", None)
        self.made_in.append(threading.current_thread().name)
        until = time.thread_time() + 0.1 * (request.n > 50)
        while time.thread_time() < until:
            pass
        return self.found

    def find_cached(self, request: ListRequest) -> Recommendations | None:
        return self.found if request.user == "cached" else None


class NoRecorder:
    """Records nothing."""

    as_of = 7


class TestThreads:
    def test_long_lists_are_made_in_threads_and_short_ones_in_the_loop(self) -> None:
        import threading

        handlers = SlowHandlers()

        async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
            raise AssertionError(scope, receive, send)

        routes = FastRoutes(
            refuse,
            handlers,
            NoRecorder(),  # type: ignore[arg-type]
            ServingMetrics(),
            LoadControl(LoadLimits(), ServingMetrics()),
        )
        sent: list[Any] = []

        async def ask(query: bytes) -> None:
            async def send(message: Any) -> None:
                sent.append(message)

            scope = {"type": "http", "method": "GET", "path": "/recommend", "query_string": query}
            await routes(scope, None, send)  # type: ignore[arg-type]

        async def ask_often() -> None:
            for _ in range(100):
                await ask(b"user=1")
            await ask(b"user=1&n=1000")
            # A list that takes long is made in a thread from then on, whatever lists from the cache take.
            await ask(b"user=1&n=60")
            for _ in range(100):
                await ask(b"user=cached")
            await ask(b"user=1")

        asyncio.run(ask_often())
        assert handlers.made_in[0].startswith("leanrec-list")
        assert handlers.made_in[99] == threading.current_thread().name
        assert handlers.made_in[100].startswith("leanrec-list")
        assert handlers.made_in[101] == threading.current_thread().name
        assert handlers.made_in[102].startswith("leanrec-list")
        assert len(handlers.made_in) == 103
        # JavaScript would round such an id.
        assert b'"id":"1152921504606846976"' in sent[1]["body"]
        assert b'"as_of":7' in sent[1]["body"]

    def test_what_waited_for_a_thread_is_made_by_the_load_and_the_time_of_then(self) -> None:
        load, asked = LoadControl(LoadLimits(), ServingMetrics()), list[tuple[str, float | None, bool]]()
        begun, free = threading.Semaphore(0), threading.Event()

        class HeldHandlers(SlowHandlers):
            def recommend(
                self, request: ListRequest, rung: str, time_limit_ms: float | None, *, trace: bool = False
            ) -> Recommendations:
                asked.append((rung, time_limit_ms, threading.current_thread() is threading.main_thread()))
                begun.release()
                assert free.wait(10)
                return self.found

        async def send(message: Any) -> None:
            pass

        async def ask(query: bytes) -> None:
            scope = {"type": "http", "method": "GET", "path": "/recommend", "query_string": query}
            await routes(scope, None, send)  # type: ignore[arg-type]

        async def run() -> None:
            # Four lists hold the threads, and the fifth waits.
            waiting = [asyncio.ensure_future(ask(b"user=1&time_limit_ms=60000")) for _ in range(5)]
            for _ in range(4):
                assert await asyncio.to_thread(begun.acquire, timeout=10)
            for _ in range(20):
                load.quality.add_refusal()
            load.quality._level = 3
            load.find_rung()
            await asyncio.sleep(0.02)
            free.set()
            await asyncio.gather(*waiting)
            await ask(b"user=1")  # is made in the loop, because it takes little

        routes = FastRoutes(ListRequest, HeldHandlers(), NoRecorder(), ServingMetrics(), load)  # type: ignore[arg-type]
        asyncio.run(run())
        assert [each[0] for each in asked] == ["full"] * 4 + ["popular"] * 2
        left = [each[1] for each in asked[:5] if each[1] is not None]
        assert all(0 < each <= 60_000 for each in left[:4])
        assert left[4] <= 60_000 - 20
        assert [each[2] for each in asked] == [False] * 5 + [True]
