"""Traces: which requests, which spans, and what is in them."""

import asyncio
import sys
import time
from typing import Any

import pytest
from opentelemetry import trace

from leanrec.errors import MissingExtraError
from leanrec.serving.monitoring.request_log import RequestLog, note_stage
from leanrec.serving.monitoring.tracing import (
    TracedRequest,
    TraceParent,
    Tracing,
    _OtlpWriter,
    check_tracing,
    read_parent,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = TraceParent(int(TRACE, 16), int(SPAN, 16), is_sampled=True)


@pytest.mark.parametrize(
    ("text", "parent"),
    [
        (f"00-{TRACE}-{SPAN}-01", PARENT),
        (f"00-{TRACE}-{SPAN}-00", PARENT._replace(is_sampled=False)),
        (f"cc-{TRACE}-{SPAN}-03-later", PARENT),
        (f"00-{TRACE}-{SPAN}-01-later", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        ("garbage", None),
        ("", None),
    ],
)
def test_a_parent_is_read_as_the_standard_says(text: str, parent: TraceParent | None) -> None:
    header = (b"traceparent", text.encode())
    assert read_parent([(b"host", b"x"), header]) == parent
    assert read_parent([header, header]) is None


class Writer:
    def __init__(self) -> None:
        self.requests: list[TracedRequest] = []

    def write(self, request: TracedRequest) -> None:
        self.requests.append(request)


async def app(scope: Any, receive: Any, send: Any) -> None:
    now = time.perf_counter()
    note_stage(scope, "list", now, now + 0.25)
    if scope["path"] == "/broken":
        raise KeyError("user-1")
    await send({"type": "http.response.start", "status": 200})


def ask(tracing: Tracing, n: int, *headers: tuple[bytes, bytes], path: str = "/recommend") -> None:
    async def send(_: Any) -> None:
        pass

    async def go() -> None:
        for _ in range(n):
            scope = {"type": "http", "path": path, "method": "GET", "headers": headers}
            await RequestLog(tracing, 10.0)(scope, None, send)  # type: ignore[arg-type]

    asyncio.run(go())


def test_a_share_of_the_requests_is_traced() -> None:
    writer = Writer()
    ask(Tracing(app, 0.1, lambda: writer), 3000)
    assert 200 < len(writer.requests) < 400


def test_the_client_decides_where_it_traces() -> None:
    writer = Writer()
    ask(Tracing(app, 1.0, lambda: writer), 3, (b"traceparent", f"00-{TRACE}-{SPAN}-00".encode()))
    assert writer.requests == []
    ask(Tracing(app, 0.0, lambda: writer), 3, (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode()))
    assert [each.parent for each in writer.requests] == [PARENT] * 3


def test_a_trace_has_route_times_and_stages_and_no_ids_of_users() -> None:
    writer = Writer()
    before = time.time_ns()
    ask(Tracing(app, 1.0, lambda: writer), 1)
    with pytest.raises(KeyError):
        ask(Tracing(app, 1.0, lambda: writer), 1, path="/broken")
    after = time.time_ns()
    first, broken = writer.requests
    assert first.name == "GET /recommend"
    slack = 10**8  # the two clocks of the machine
    assert before - slack <= first.start <= first.end <= after + slack
    ((stage, start, end),) = first.stages
    assert (stage, round((end - start) / 1e9, 3)) == ("list", 0.25)
    assert first.attributes["http.response.status_code"] == 200
    assert len(str(first.attributes["leanrec.request"])) == 16
    assert (broken.name, broken.attributes["http.response.status_code"]) == ("GET other", 500)
    assert "user-1" not in repr(writer.requests)


def test_each_process_opens_a_writer_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Writer] = []

    def open_writer() -> Writer:
        opened.append(Writer())
        return opened[-1]

    tracing = Tracing(app, 1.0, open_writer)
    assert opened == []  # no thread before a fork
    ask(tracing, 2)
    monkeypatch.setattr("leanrec.serving.monitoring.tracing.os.getpid", lambda: 1)
    ask(tracing, 3)
    assert [len(each.requests) for each in opened] == [2, 3]


class FakeSpan(trace.NonRecordingSpan):
    def __init__(self, tracer: "FakeTracer", name: str, more: dict[str, Any]) -> None:
        super().__init__(trace.INVALID_SPAN_CONTEXT)
        self.tracer, self.name, self.more, self.is_error = tracer, name, more, False

    def set_status(self, status: Any, description: str | None = None) -> None:
        self.is_error = not status.is_ok

    def end(self, end_time: int | None = None) -> None:
        self.more["end"] = end_time
        self.tracer.ended.append(self)


class FakeTracer:
    def __init__(self) -> None:
        self.ended: list[FakeSpan] = []

    def start_span(
        self, name: str, context: Any = None, kind: Any = None, attributes: Any = None, *, start_time: int
    ) -> FakeSpan:
        return FakeSpan(self, name, {"context": context, "kind": kind, "attributes": attributes, "start": start_time})


def test_spans_of_stages_are_inside_that_of_the_request() -> None:
    tracer = FakeTracer()
    request = TracedRequest(
        "GET /recommend", PARENT, 10, 90, {"http.response.status_code": 503}, [("wait", 20, 30), ("list", 30, 80)]
    )
    _OtlpWriter(tracer).write(request)
    wait, listed, whole = tracer.ended
    assert [(each.name, each.more["start"], each.more["end"]) for each in tracer.ended] == [
        ("wait", 20, 30),
        ("list", 30, 80),
        ("GET /recommend", 10, 90),
    ]
    assert trace.get_current_span(wait.more["context"]) is whole
    assert trace.get_current_span(listed.more["context"]) is whole
    remote = trace.get_current_span(whole.more["context"]).get_span_context()
    assert (remote.trace_id, remote.span_id, remote.is_remote) == (PARENT.trace_id, PARENT.span_id, True)
    assert whole.more["kind"] is trace.SpanKind.SERVER
    assert whole.is_error


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leanrec.serving.monitoring.tracing.importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r'pip install "leanrec\[otel\]"'):
        check_tracing()


def test_nothing_is_imported_without_traces() -> None:
    assert "opentelemetry.sdk" not in sys.modules
