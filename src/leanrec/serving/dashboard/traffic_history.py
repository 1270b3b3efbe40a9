"""Traffic of the last ten minutes, so that the dashboard shows what was before it was opened."""

import asyncio
import collections
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from leanrec.errors import LeanrecError
from leanrec.serving.dashboard.traffic import sum_traffic
from leanrec.serving.prometheus import ServingMetrics

__all__ = ["TrafficHistory"]

_KEEP_SECONDS = 600.0
_PAUSE_SECONDS = 10.0


class TrafficHistory:
    """Sums of the traffic of all processes at several times: every ten seconds, and whenever the dashboard asks.

    Cost of a look: about 2 ms of a thread. Memory: about 2 KB for each look of the last ten minutes.
    """

    def __init__(self, metrics: ServingMetrics, update_gauges: Callable[[], None]) -> None:
        """Take the metrics, and what brings those up to date that are measured when they are read."""
        self._metrics, self._update_gauges = metrics, update_gauges
        self._looks: collections.deque[dict[str, Any]] = collections.deque()

    def look(self) -> None:
        """Add the sums of now. Raises SourceError while those of other processes cannot be had."""
        self._update_gauges()
        totals = sum_traffic(self._metrics.collect_samples())
        now = time.time()
        self._looks.append(totals.to_dict() | {"time": now})
        while self._looks[0]["time"] < now - _KEEP_SECONDS:
            self._looks.popleft()

    def list_looks(self, after: float) -> list[dict[str, Any]]:
        """The looks later than a time in seconds since 1970, oldest first."""
        return [each for each in self._looks.copy() if each["time"] > after]

    @contextlib.asynccontextmanager
    async def watch(self, _: object) -> AsyncIterator[None]:
        """Look every ten seconds while the app runs, unless the dashboard does."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _watch(self) -> None:
        while True:
            if not self.list_looks(time.time() - _PAUSE_SECONDS / 2):
                with contextlib.suppress(LeanrecError):  # the process of the log is started again
                    await asyncio.to_thread(self.look)
            await asyncio.sleep(_PAUSE_SECONDS)
