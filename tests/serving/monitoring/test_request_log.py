"""Ids of requests, and the lines of those that an operator should see."""

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from contracts.server import run_server
from contracts.server_log import restore_loggers
from leanrec.serving.connections import make_server_config
from leanrec.serving.error_handlers import error_response, install_error_handlers
from leanrec.serving.monitoring.request_log import RequestLog, note_stage
from leanrec.serving.monitoring.server_log import start_logging
from leanrec.serving.prometheus import ServingMetrics


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    with restore_loggers():
        stream = io.StringIO()
        start_logging("json", stream)
        yield stream


def make_app(slow_seconds: float = 10.0) -> FastAPI:
    app = FastAPI()
    app.state.metrics = ServingMetrics()
    app.add_middleware(RequestLog, slow_seconds=slow_seconds)
    install_error_handlers(app)

    @app.get("/users/{user}")
    async def get(user: str) -> Any:
        if user == "bad":
            raise KeyError(user)
        if user == "late":
            await asyncio.sleep(0.05)
        if user.isdigit():
            return error_response(int(user), "No.", "here")
        return {}

    return app


def read_lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def ask(app: FastAPI, *users: str) -> list[Any]:
    with run_server(app, make_server_config(app, 10, 10)) as client:
        return [client.get(f"/users/{user}", headers={"Authorization": "Bearer secret"}) for user in users]


def test_each_answer_has_an_id_of_its_own(stream: io.StringIO) -> None:
    answers = ask(make_app(), "a", "b", "404", "bad")
    assert len({each.headers["x-request-id"] for each in answers}) == 4


def test_an_error_is_logged_once_with_the_id_of_its_answer(stream: io.StringIO) -> None:
    (answer,) = ask(make_app(), "bad")
    (line,) = read_lines(stream)
    assert line["event"] == "error"
    assert line["request"] == answer.headers["x-request-id"]
    assert line["request"] in answer.json()["error"]["hint"]
    assert (line["route"], line["method"], line["status"], line["error"]) == ("/users/{user}", "GET", 500, "KeyError")
    assert "bad" not in stream.getvalue()


def test_refused_and_slow_requests_are_logged_and_no_others(stream: io.StringIO) -> None:
    answers = ask(make_app(slow_seconds=0.04), "a", "404", "422", "429", "503", "401", "late")
    lines = read_lines(stream)
    assert [(line["event"], line["status"]) for line in lines] == [
        ("refused", 429),
        ("refused", 503),
        ("refused", 401),
        ("slow_request", 200),
    ]
    assert lines[-1]["milliseconds"] >= 40  # the limit: a timer of the event loop may be a millisecond early
    assert lines[-1]["request"] == answers[-1].headers["x-request-id"]
    assert "late" not in stream.getvalue()
    assert "secret" not in stream.getvalue()


def test_stages_of_a_slow_request_are_added_up(stream: io.StringIO) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        note_stage(scope, "list", 10.0, 10.25)
        note_stage(scope, "list", 11.0, 11.25)
        note_stage(scope, "write", 12.0, 12.001)
        await send({"type": "http.response.start", "status": 200})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/recommend", "method": "GARBAGE"}
    asyncio.run(RequestLog(app, slow_seconds=0.0)(scope, None, send))  # type: ignore[arg-type]
    (line,) = read_lines(stream)
    assert line["stages"] == {"list": 500.0, "write": 1.0}
    assert (line["route"], line["method"]) == ("/recommend", "other")
    assert sent[0]["headers"][0][0] == b"x-request-id"


def test_stages_are_not_kept_where_nobody_logs_them() -> None:
    scope: dict[str, Any] = {}
    note_stage(scope, "list", 1.0, 2.0)
    assert scope == {}
