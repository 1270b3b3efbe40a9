"""Version follower: a thread that serves the current version of a store as soon as it is promoted."""

import time
from collections.abc import Callable

from leanrec.errors import LeanrecError, SourceError
from leanrec.online.background_loop import BackgroundLoop
from leanrec.online.live_pipeline import LivePipeline
from leanrec.online.version_store import VersionStore
from leanrec.pacing import paced_work
from leanrec.pipeline.pipeline import Pipeline
from leanrec.run import release_free_memory

__all__ = ["VersionFollower"]

_PAUSE_SECONDS = 10.0  # before a version is tried again for which the event log did not answer


class VersionFollower(BackgroundLoop):
    """Serves each version that is promoted. One that cannot be served is reported once, and the old one goes on."""

    def __init__(
        self, live: LivePipeline, store: VersionStore, report: Callable[[str], None], interval: float = 0.25
    ) -> None:
        """Start to follow.

        Args:
            live: what serves.
            store: the store of versions.
            report: called with a sentence about each change, and about each version that cannot be served.
            interval: seconds between two looks at the store.
        """
        self._live, self._store = live, store
        self._fence = 0  # the first look is at the version that is current by then
        self._failed, self._next_try = 0, 0.0  # the promotion that is tried again, and when
        super().__init__("leanrec-versions", report, interval)

    def look(self) -> None:
        """Load the version that was promoted since the last look and let it take over, unless it serves already."""
        promotions = self._store.promotions()
        if not promotions or promotions[-1].fence == self._fence:
            return
        if promotions[-1].fence == self._failed and time.monotonic() < self._next_try:
            return
        self._fence, version = promotions[-1].fence, promotions[-1].version
        if version == self._live.pipeline.version:
            return
        start = time.monotonic()
        try:
            with paced_work():
                self._live.replace(Pipeline.load(self._store.find(version).path))
        except LeanrecError as error:
            if self._failed != self._fence:
                self.report(f"Version {version} cannot be served, so {self._live.pipeline.version} goes on: {error}")
            if isinstance(error, SourceError):  # that the event log does not answer says nothing of the version
                self._failed, self._fence, self._next_try = self._fence, 0, time.monotonic() + _PAUSE_SECONDS
        else:
            release_free_memory()  # that of the old version
            self.report(f"Version {version} is served, {time.monotonic() - start:.1f} s after it was promoted.")
