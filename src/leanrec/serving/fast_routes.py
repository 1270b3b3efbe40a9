"""Fast routes: recommendation lists and events without the framework's cost; every other request goes to the app."""

import asyncio
import contextlib
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leanrec.errors import LeanrecError
from leanrec.pipeline.responses import RUNGS, Recommendations
from leanrec.serving.error_handlers import refuse_request
from leanrec.serving.event_requests import EventBatch, EventRecorder
from leanrec.serving.load.control import LoadControl
from leanrec.serving.monitoring.request_log import note_stage
from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.schemas import (
    EXACT_NUMBERS,
    MAX_LIST_LENGTH,
    MAX_REQUEST_BYTES,
    MAX_TIME_LIMIT_MS,
    to_exact,
    with_exact_id,
)

__all__ = ["FastRoutes", "ListHandlers", "ListRequest", "parse_query"]

_BOOLEANS = {b"true": True, b"false": False}
_SMOOTHING = 0.1
# A call that takes longer would hold up the other requests of the event loop; a thread costs about 0.1 ms.
_INLINE_SECONDS = 1.5e-3
_MAX_INLINE_LENGTH = 100
_MAX_INLINE_HISTORY = 200
_N_THREADS = 4
_SAMPLED = 100  # of so many full lists the stages of one are timed, which takes longer than to make some of them
_LIST_PATHS = frozenset(["/recommend", "/explain"])
_RUNGS_OF_THE_MODEL = frozenset(RUNGS[:2])


class ListRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The parameters of most requests for a list. A request with others is answered by the app.

    Attributes:
        user: external id.
        history: external ids of items, oldest first.
        n: length of the list.
        exclude_seen: leave out items of the history.
        reasons: explain each item.
        time_limit_ms: milliseconds in which the list should be ready, or None.
    """

    user: int | str | None = None
    history: list[int | str] | None = None
    n: int = 10
    exclude_seen: bool = True
    reasons: bool = True
    time_limit_ms: float | None = None

    def is_valid(self) -> bool:
        """Whether the app would accept it; if not, the app says why."""
        if not 1 <= self.n <= MAX_LIST_LENGTH or (self.user is None and self.history is None):
            return False
        if self.time_limit_ms is not None and not 0 < self.time_limit_ms <= MAX_TIME_LIMIT_MS:
            return False
        ids = [*(() if self.user is None else (self.user,)), *(self.history or ())]
        return len(ids) <= _MAX_INLINE_HISTORY and all(
            1 <= len(each) <= 200 if isinstance(each, str) else -EXACT_NUMBERS < each < EXACT_NUMBERS for each in ids
        )


def parse_query(query: bytes) -> ListRequest | None:
    """The parameters of a query string, or None where the app must read it."""
    found: dict[str, Any] = {}
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        key = name.decode("ascii", "replace")
        if key in found or not value:
            return None
        if key == "user":
            if b"+" in value or b"%" in value:
                try:
                    found[key] = urllib.parse.unquote_plus(value.decode("ascii"), errors="strict")
                except UnicodeError:
                    return None
            elif value.isascii():
                found[key] = value.decode("ascii")
            else:
                return None
        elif key == "n" and value.isdigit() and len(value) <= 4:
            found[key] = int(value)
        elif key == "time_limit_ms" and value.isdigit() and len(value) <= 8:
            found[key] = float(value)
        elif key in {"exclude_seen", "reasons"} and value in _BOOLEANS:
            found[key] = _BOOLEANS[value]
        else:
            return None
    request = ListRequest(**found)
    return request if request.is_valid() else None


class ListHandlers(Protocol):
    """What makes the lists."""

    def recommend(
        self, request: ListRequest, rung: str, time_limit_ms: float | None, *, trace: bool = False
    ) -> Recommendations:
        """Make the list of a request, of this rung at best, in the time that is left, and log it; ``trace``: time its stages."""

    def find_cached(self, request: ListRequest) -> Recommendations | None:
        """The list if it is in a cache, logged; None if it must be made."""


class FastRoutes:
    """ASGI app that answers ``GET`` and ``POST /recommend`` and ``POST /events`` itself and gives all other requests to another app.

    A request that it does not take, and a list that fails, is answered by the other app, so that there is one reading of
    parameters and one form of errors. Lists that take little time are made in the event loop, others in threads. All requests
    for lists, also those that the other app answers, have their places and turns from the load control.

    Attributes:
        app: the other app.
        handlers: make the list of a request, or find it in a cache.
        recorder: records the events of a request.
        metrics: counts and times the requests.
        load: when lists are made, and how good they may be.
    """

    def __init__(
        self, app: ASGIApp, handlers: ListHandlers, recorder: EventRecorder, metrics: ServingMetrics, load: LoadControl
    ) -> None:
        self.app, self.handlers, self.recorder, self.metrics, self.load = app, handlers, recorder, metrics, load
        self._encode = msgspec.json.Encoder().encode
        self._decode_list = msgspec.json.Decoder(ListRequest).decode
        self._decode_events = msgspec.json.Decoder(EventBatch).decode
        self._threads = ThreadPoolExecutor(_N_THREADS, "leanrec-list")
        # Seconds of a list with and without reasons. The first lists are made in threads, until they are timed.
        self._seconds = {True: 0.1, False: 0.1}
        self._n_made = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path, method = (scope["path"], scope["method"]) if scope["type"] == "http" else ("", "")
        is_answered = False
        if path == "/recommend" and method == "GET":
            request = parse_query(scope["query_string"])
            is_answered = request is not None and await self._respond(request, scope, receive, send)
        elif method == "POST" and path in {"/recommend", "/events"}:
            body, receive = await _read_body(receive)
            # Other types than JSON reach a server from a page of another origin without a question.
            if body is not None and path == "/events" and (b"content-type", b"application/json") in scope["headers"]:
                batch = None
                with contextlib.suppress(msgspec.DecodeError):
                    batch = self._decode_events(body)
                is_answered = batch is not None and await self._record(batch, scope, receive, send)
            elif body is not None and path == "/recommend":
                request = None
                with contextlib.suppress(msgspec.DecodeError):
                    request = self._decode_list(body)
                if request is not None and request.is_valid():
                    is_answered = await self._respond(request, scope, receive, send)
        if is_answered:
            return
        if path in _LIST_PATHS or path.startswith("/similar/"):
            await self.load.pass_list(self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _record(self, batch: EventBatch, scope: Scope, receive: Receive, send: Send) -> bool:
        """Record events and answer. Errors are answered here too: a batch that may be stored must not be recorded again."""
        start = time.perf_counter()
        status = 500
        try:
            try:
                body = self._encode(await self.recorder.record(batch.events))
                note_stage(scope, "store", start, time.perf_counter())
            except LeanrecError as error:
                response = refuse_request(error, "/events")
                status = response.status_code
                await response(scope, receive, send)
                return True
            status = 200
            await _send_json(body, time.perf_counter() - start, send)
            return True
        finally:
            self.metrics.count_request("/events", "POST", status, time.perf_counter() - start)

    async def _respond(self, request: ListRequest, scope: Scope, receive: Receive, send: Send) -> bool:
        """Send the list. Returns False, with nothing sent, where the app must answer."""
        arrived, load, method = time.perf_counter(), self.load, scope["method"]
        if not load.turns.enter():
            await load.refuse(scope, receive, send)
            return True
        try:
            await load.turns.wait()
            waited = time.perf_counter()
            found = await self._find_list(request, arrived)
            made = time.perf_counter()
            body = self._encode_list(*found)
        except LeanrecError:
            return False
        except Exception:
            seconds = time.perf_counter() - arrived
            load.quality.add_answer(seconds, is_list=False)
            self.metrics.count_request("/recommend", method, 500, seconds)
            raise
        finally:
            load.turns.leave()
        seconds = time.perf_counter() - arrived
        load.quality.add_answer(seconds)
        note_stage(scope, "wait", arrived, waited)
        note_stage(scope, "list", waited, made)
        note_stage(scope, "encode", made, arrived + seconds)
        await _send_json(body, seconds, send)
        if found[0].trace is not None:
            self._note_stages(waited - arrived, arrived + seconds - made, time.perf_counter() - arrived - seconds)
        self.metrics.count_request("/recommend", method, 200, seconds)
        return True

    async def _find_list(self, request: ListRequest, arrived: float) -> tuple[Recommendations, int]:
        """The list, from the cache or made where it delays other requests least, and what it reflects."""
        as_of, rung = self.recorder.as_of, self.load.find_rung()
        start = time.perf_counter()
        cached = self.handlers.find_cached(request)
        if cached is not None:
            self.load.turns.spend(time.perf_counter() - start)
            return cached, as_of
        is_usual = request.n <= _MAX_INLINE_LENGTH
        is_quick = rung == RUNGS[-1] or self._seconds[request.reasons and rung == RUNGS[0]] < _INLINE_SECONDS
        if is_usual and is_quick:
            recommended, seconds = self._time_list(request, arrived)
            self.load.turns.spend(time.perf_counter() - start)
        else:
            loop = asyncio.get_running_loop()
            recommended, seconds = await loop.run_in_executor(self._threads, self._time_list, request, arrived)
        if is_usual and recommended.rung in _RUNGS_OF_THE_MODEL:
            has_reasons = request.reasons and recommended.rung == "full"
            self._seconds[has_reasons] += _SMOOTHING * (seconds - self._seconds[has_reasons])
            if recommended.rung == "full":
                self.load.quality.note_cost(self._seconds[request.reasons])
        return recommended, as_of

    def _time_list(self, request: ListRequest, arrived: float) -> tuple[Recommendations, float]:
        """The list, and the seconds of this thread that it took, without what others took meanwhile.

        It may have waited for the thread, so what is left of its time, and the rung of now, decide.
        """
        start, time_limit_ms = time.thread_time(), self.load.limit_time(request.time_limit_ms, arrived)
        rung = self.load.rung
        self._n_made += 1
        trace = self._n_made % _SAMPLED == 0 and rung == RUNGS[0]
        recommended = self.handlers.recommend(request, rung, time_limit_ms, trace=trace)
        return recommended, time.thread_time() - start

    def _note_stages(self, wait: float, encode: float, send: float) -> None:
        """Note the seconds of what the server does around a list whose stages are timed."""
        for stage, seconds in (("wait", wait), ("encode", encode), ("send", send)):
            self.metrics.stages.labels(stage).observe(seconds)

    def _encode_list(self, recommended: Recommendations, as_of: int) -> bytes:
        return self._encode(
            {
                "request": recommended.request,
                "user": to_exact(recommended.user),
                "items": [item if type(item.id) is str else with_exact_id(item) for item in recommended.items],
                "model": recommended.model,
                "version": recommended.version,
                "policy": recommended.policy,
                "arm": recommended.arm,
                "rung": recommended.rung,
                "propensities": recommended.propensities,
                "dropped": recommended.dropped,
                "as_of": as_of,
                "fallback": recommended.fallback,
                "ignored": [to_exact(each) for each in recommended.ignored],
                "note": recommended.note,
                "trace": None,
            }
        )


async def _send_json(body: bytes, seconds: float, send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"server-timing", b"app;dur=%.3f" % (seconds * 1e3)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _read_body(receive: Receive) -> tuple[bytes | None, Receive]:
    """The body of a request, or None where it is too large or does not end; and what receives the same messages again."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        is_last = message["type"] != "http.request" or not message.get("more_body")
        if is_last or size > MAX_REQUEST_BYTES:
            body = b"".join(parts)
            is_whole = message["type"] == "http.request" and size <= MAX_REQUEST_BYTES
            return body if is_whole else None, _Replay({**message, "body": body}, receive)


class _Replay:
    """Receives one message again, and then the rest."""

    def __init__(self, message: Message, receive: Receive) -> None:
        self._message: Message | None = message
        self._receive = receive

    async def __call__(self) -> Message:
        message, self._message = self._message, None
        return await self._receive() if message is None else message
