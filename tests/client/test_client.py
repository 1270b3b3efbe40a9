"""The client against a server: retries that lose and double nothing, and time limits."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import make_dataset
from contracts.certificates import make_certificate
from contracts.server import run_server
from leanrec.client import Client, RetryPolicy
from leanrec.errors import RequestError, SettingError
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.app import create_app
from leanrec.serving.connections import make_server_config
from leanrec.serving.security.api_keys import ApiKeys, add_key
from leanrec.serving.serving_settings import ServingSettings

QUICK = RetryPolicy(first_wait=0.01, max_wait=0.05, list_seconds=2.0, event_seconds=5.0)
# Of a real server: its first list may compile kernels.
PATIENT = RetryPolicy(attempt_seconds=60, list_seconds=60)


class FakeServer:
    """Answers requests in turn with what it was given, and keeps what it was asked."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.bodies: list[Any] = []
        self.times: list[float] = []

    def handle(self, connection: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(100_000)
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        while len(body) < int(length[1] if length else 0):
            body += connection.recv(100_000)
        self.times.append(time.monotonic())
        self.bodies.append(json.loads(body) if body else None)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is not None:
            connection.sendall(answer)

    @contextlib.contextmanager
    def run(self, policy: RetryPolicy = QUICK) -> Iterator[Client]:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        with connection:
                            self.handle(connection)

            thread = threading.Thread(target=accept)
            thread.start()
            try:
                with Client(f"http://127.0.0.1:{listener.getsockname()[1]}", policy=policy) as client:
                    yield client
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()


def answer(status: int, body: object, *headers: str) -> bytes:
    content = json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + content


BUSY = answer(429, {"error": {"message": "Busy.", "hint": "Wait."}})
STORED = answer(200, {"stored": 1, "duplicates": 0, "applied": 1, "rejected": [], "as_of": 7})
CLICK = {"user": "u", "item": 1}


@pytest.mark.parametrize("failure", [None, BUSY, answer(503, {}), answer(502, "<html>"), b"HTT", answer(200, {})[:-1]])
def test_events_are_sent_again_with_the_same_ids(failure: bytes | None) -> None:
    server = FakeServer(failure, failure, STORED)
    with server.run() as client:
        assert client.record_events([CLICK])["as_of"] == 7
    assert len(server.bodies) == 3
    assert server.bodies[0]["events"][0]["id"]
    assert server.bodies[0] == server.bodies[1] == server.bodies[2]


def test_what_the_server_asks_to_wait_is_waited() -> None:
    server = FakeServer(answer(429, {}, "Retry-After: 1"), STORED)
    with server.run() as client:
        client.record_events([CLICK])
    assert server.times[1] - server.times[0] >= 0.9


def test_a_wait_beyond_the_time_of_the_call_is_not_begun() -> None:
    server = FakeServer(answer(503, {"error": {"message": "Full.", "hint": "Wait."}}, "Retry-After: 3600"))
    with server.run() as client:
        with pytest.raises(RequestError, match=r"status 503. Full. Wait.") as caught:
            client.recommend("u")
    assert caught.value.status == 503
    assert len(server.bodies) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 500])
def test_what_another_attempt_cannot_change_is_not_sent_again(status: int) -> None:
    server = FakeServer(answer(status, {"error": {"message": "No.", "hint": ""}}))
    with server.run() as client:
        with pytest.raises(RequestError, match="No") as caught:
            client.recommend("u")
    assert caught.value.status == status
    assert len(server.bodies) == 1


def test_a_call_ends_in_time_where_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        policy = RetryPolicy(attempt_seconds=0.1, event_seconds=0.35, first_wait=0.01)
        with Client(f"http://127.0.0.1:{silent.getsockname()[1]}", policy=policy) as client:
            with pytest.raises(RequestError) as caught:
                client.record_events([CLICK, {**CLICK, "id": "mine"}])
    assert caught.value.status is None
    first, second = caught.value.events
    assert first["id"]
    assert second["id"] == "mine"


def test_many_events_are_sent_in_parts_and_answered_as_one() -> None:
    rejected = {"position": 3, "reason": "no", "stored": False}
    server = FakeServer(
        answer(200, {"stored": 499, "duplicates": 0, "applied": 499, "rejected": [rejected], "as_of": 499}),
        answer(200, {"stored": 99, "duplicates": 1, "applied": 99, "rejected": [rejected], "as_of": 598}),
    )
    with server.run() as client:
        total = client.record_events([CLICK] * 601)
    assert [len(body["events"]) for body in server.bodies] == [500, 101]
    assert (total["stored"], total["duplicates"], total["applied"], total["as_of"]) == (598, 1, 598, 598)
    assert [each["position"] for each in total["rejected"]] == [3, 503]


def test_a_list_that_must_reflect_an_event_is_asked_for_until_it_does() -> None:
    unknown, old, new = answer(404, {}), answer(200, {"as_of": 6}), answer(200, {"as_of": 7})
    server = FakeServer(unknown, old, new)
    with server.run() as client:
        assert client.recommend("u", after=7) == {"as_of": 7}
    assert len(server.bodies) == 3
    server = FakeServer(old)
    with server.run(RetryPolicy(list_seconds=0.2)) as client:
        assert client.recommend("u")["as_of"] == 6
        with pytest.raises(RequestError, match="must reflect the events up to 7"):
            client.recommend("u", after=7)


def test_closing_ends_the_waits_of_other_threads() -> None:
    server = FakeServer(answer(429, {}, "Retry-After: 40"))
    with server.run(RetryPolicy(event_seconds=60)) as client:
        timer = threading.Timer(0.2, client.close)
        timer.start()
        start = time.monotonic()
        with pytest.raises(RequestError):
            client.record_events([CLICK])
        assert time.monotonic() - start < 40  # it would wait for as long
        timer.join()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://x:port", "http://x/?a=1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SettingError, match="url must be like"):
        Client(url)


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "5"])
def test_times_must_be_positive(value: Any) -> None:
    with pytest.raises(SettingError, match="list_seconds must be a positive number"):
        RetryPolicy(list_seconds=value)


def test_what_is_no_json_is_refused_before_it_is_sent() -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(SettingError, match="values of JSON"):
        client.record_events([{**CLICK, "rating": float("nan")}])


def test_the_client_loads_no_library() -> None:
    code = (
        "import sys, leanrec.client; leanrec.client.Client;"
        "print(*(m for m in ('numpy', 'duckdb', 'fastapi', 'pydantic', 'msgspec') if m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline.fit(EASE(l2=20.0), make_dataset())


def test_a_server_answers_all_calls(pipeline: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    client_key, admin_key = add_key(file, "shop", "client", 5.0), add_key(file, "boss", "admin")
    settings = ServingSettings(keys=ApiKeys.read(file))
    with SQLiteEventStore(tmp_path / "log.db") as log, run_server(create_app(pipeline, log, settings)) as plain:
        url = str(plain.base_url)
        with Client(url, key=client_key, policy=PATIENT) as client, Client(url, key=admin_key) as admin:
            assert client.read_health()["model"] == "ease"
            listed = client.recommend("user-1", n=3, reasons=False)
            assert len(listed["items"]) == 3
            first = listed["items"][0]["id"]
            stored = client.record_events([{"user": "user-1", "item": first, "request": listed["request"], "rank": 0}])
            assert (stored["stored"], stored["applied"]) == (1, 1)
            assert first not in [each["id"] for each in client.recommend("user-1", n=3)["items"]]
            assert len(client.similar_items(first, 2)["items"]) == 2
            assert len(client.find_items(limit=3)["items"]) == 3
            assert admin.read_history("user-1", 1)["events"][0]["id"] == first
            assert client.recommend(history=[first], n=2)["user"] is None
            for _ in range(8):  # beyond the rate of the key: the server says how long to wait
                client.recommend("user-1")
            with pytest.raises(RequestError, match="admin") as caught:
                client.forget_user("user-1")
            assert caught.value.status == 403
            assert admin.forget_user("user-1")["events"] >= 1


def test_answers_come_by_https_from_a_server_that_is_trusted(pipeline: Pipeline, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with SQLiteEventStore(tmp_path / "log.db") as log:
        app = create_app(pipeline, log)
        with run_server(app, make_server_config(app, 10, 5.0, (certificate, key))) as plain:
            url = str(plain.base_url).replace("http:", "https:")
            with Client(url, certificates=str(certificate), policy=PATIENT) as client:
                assert [client.read_health()["model"] for _ in range(2)] == ["ease", "ease"]
            with Client(url, policy=RetryPolicy(list_seconds=0.2)) as strange:
                with pytest.raises(RequestError, match="certificate"):
                    strange.read_health()


_SERVE = "import sys; from leanrec.serving import serve; serve(sys.argv[1], port=int(sys.argv[2]))"


@contextlib.contextmanager
def started(model: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", _SERVE, str(model), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.system
def test_a_killed_server_loses_and_doubles_no_event(pipeline: Pipeline, tmp_path: Path) -> None:
    model = pipeline.save(tmp_path / "model")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    acknowledged: list[int] = []
    stop = threading.Event()

    def send(client: Client) -> None:
        while not stop.is_set():
            event = {"user": f"guest-{len(acknowledged)}", "item": 101, "id": f"e-{len(acknowledged)}"}
            acknowledged.append(client.record_events([event])["stored"])

    with Client(f"http://127.0.0.1:{port}") as client:
        sending = threading.Thread(target=send, args=(client,))
        for round_number in range(3):
            with started(model, port) as process:
                if not round_number:
                    sending.start()
                before = len(acknowledged)
                while len(acknowledged) < before + 20:
                    time.sleep(0.01)
                if round_number < 2:
                    os.kill(process.pid, signal.SIGKILL)
                else:
                    stop.set()
                    sending.join()
    with SQLiteEventStore(Path(f"{model}.events.db")) as log:
        ids = [each.id for each in log.user_events()]
    assert sorted(ids) == sorted(f"e-{number}" for number in range(len(acknowledged)))
