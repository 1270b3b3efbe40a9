"""Load control of a server: a place and a turn for each list, the rung that it may have, and the answer to those beyond."""

import contextvars
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leanrec.serving.error_handlers import error_response
from leanrec.serving.load.quality import LoadLimits, QualityFactor
from leanrec.serving.load.turns import Turns
from leanrec.serving.prometheus import ServingMetrics

__all__ = ["LoadControl"]

_HINT = "Send it again after a second, and less often."
_ARRIVED: contextvars.ContextVar[float | None] = contextvars.ContextVar("arrived", default=None)


class LoadControl:
    """What a server does under load: lists take turns, get simpler, and are refused last.

    Attributes:
        turns: places and turns of lists.
        quality: how much work is put into a list.
        rung: the best rung that a list may have now.
    """

    def __init__(self, limits: LoadLimits, metrics: ServingMetrics) -> None:
        self.turns, self.quality = Turns(limits.max_in_flight), QualityFactor(limits)
        self.rung = self.quality.choose_rung()
        self._metrics = metrics
        message = f"A server may answer {limits.max_in_flight} requests for lists at a time. It has as many."
        self._refusal = error_response(503, message, "server", _HINT)
        self._refusal.headers["Retry-After"] = "1"

    def find_rung(self) -> str:
        """The best rung that a list may have now."""
        self.rung = self.quality.choose_rung()
        return self.rung

    def limit_time(self, time_limit_ms: float | None, arrived: float | None = None) -> float | None:
        """What is left of the time limit of a request; at least a thousandth of a millisecond.

        Args:
            time_limit_ms: milliseconds from the arrival of the request; None = no limit.
            arrived: when that was, by ``time.perf_counter``; None: as ``pass_list`` has noted for this request.
        """
        since = _ARRIVED.get() if arrived is None else arrived
        if time_limit_ms is None or since is None:
            return time_limit_ms
        return max(1e-3, time_limit_ms - 1e3 * (time.perf_counter() - since))

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for which there is no place. It counts as one that came too late."""
        self.quality.add_refusal()
        self._metrics.refused_lists.inc()
        self._metrics.requests.labels("other", "other", 503).inc()  # no time: it would count as a fast answer
        await self.turns.wait_refused()
        await self._refusal(scope, receive, send)

    async def pass_list(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the request for a list to an app that makes it in a thread, if there is a place for it."""
        arrived = time.perf_counter()
        if not self.turns.enter():
            await self.refuse(scope, receive, send)
            return
        place = _Place(self, arrived, send)
        try:
            await self.turns.wait()
            self.find_rung()
            _ARRIVED.set(arrived)
            await app(scope, receive, place.send)
        finally:
            place.leave(500)


class _Place:
    """The place of a list until its answer begins, however long its client takes for it."""

    def __init__(self, load: LoadControl, arrived: float, send: Send) -> None:
        self._load, self._arrived, self._send = load, arrived, send
        self._is_left = False

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.leave(message["status"])
        await self._send(message)

    def leave(self, status: int) -> None:
        """Give the place back, and take the latency of the list. An error counts only if it came too late."""
        if not self._is_left:
            self._is_left = True
            self._load.turns.leave()
            self._load.quality.add_answer(time.perf_counter() - self._arrived, is_list=status == 200)
