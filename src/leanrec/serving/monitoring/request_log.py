"""Log of requests: an id for each answer, and a line for slow, refused and failed ones."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leanrec.pipeline.lists.unique_ids import make_id
from leanrec.serving.monitoring.server_log import log_event
from leanrec.serving.prometheus import KNOWN_METHODS

__all__ = ["RequestLog", "find_route", "note_stage"]

# What an operator may want to know of; other errors of clients are in the metrics.
_REFUSALS = frozenset([401, 403, 413, 421, 429, 503])
_PATHS = frozenset(["/recommend", "/events"])  # of the routes that are answered before FastAPI looks for them


class RequestLog:
    """ASGI app that gives each answer an id in the header ``X-Request-ID``, and logs what an operator should see.

    The line of a request has its id, its route (never its path, in which there may be the id of a user), and the milliseconds
    of its stages.

    Attributes:
        app: the other app.
        slow_seconds: a request that takes longer is logged.
    """

    def __init__(self, app: ASGIApp, slow_seconds: float) -> None:
        self.app, self.slow_seconds = app, slow_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope["request_id"] = make_id()[:16]
        header = (b"x-request-id", request_id.encode())
        stages: list[tuple[str, float, float]] = []
        scope["stages"] = stages
        start, status = time.perf_counter(), 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            await self.app(scope, receive, send_named)
        except Exception as error:
            error.add_note(f"request {request_id}")  # so that it is not logged again
            _log_request(scope, "error", 500, start, error)
            raise
        if status in _REFUSALS:
            _log_request(scope, "refused", status, start)
        elif time.perf_counter() - start > self.slow_seconds:
            _log_request(scope, "slow_request", status, start)


def note_stage(scope: Scope, stage: str, start: float, end: float) -> None:
    """Keep when a stage of a request began and ended, by ``time.perf_counter``, for its line in the log and its trace."""
    stages = scope.get("stages")
    if stages is not None:
        stages.append((stage, start, end))


def find_route(scope: Scope) -> str:
    """The route of a request that was answered, as ``/users/{user}``; "other" if there is none."""
    path: str = scope["path"]
    return path if path in _PATHS else str(getattr(scope.get("route"), "path", "other"))


def _log_request(scope: Scope, event: str, status: int, start: float, error: Exception | None = None) -> None:
    milliseconds, route = 1e3 * (time.perf_counter() - start), find_route(scope)
    method = scope["method"] if scope["method"] in KNOWN_METHODS else "other"
    stages: dict[str, float] = {}
    for stage, began, ended in scope["stages"]:
        stages[stage] = round(stages.get(stage, 0.0) + 1e3 * (ended - began), 3)
    times = ", ".join(f"{stage} {spent:.1f}" for stage, spent in stages.items())
    words = {"error": f"failed with {type(error).__name__}", "refused": f"was refused with status {status}"}
    what = words.get(event, f"took {milliseconds:.0f} ms" + (f" ({times})" if times else ""))
    log_event(
        event,
        f"Request {scope['request_id']} ({method} {route}) {what}.",
        level=logging.ERROR if error is not None else logging.WARNING,
        error=error,
        request=scope["request_id"],
        method=method,
        route=route,
        status=status,
        milliseconds=round(milliseconds, 3),
        stages=stages,
    )
