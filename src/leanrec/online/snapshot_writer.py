"""Snapshot writer: a thread that writes the state of the histories beside the event store."""

import time
from collections.abc import Callable

from leanrec.errors import LeanrecError
from leanrec.online.background_loop import BackgroundLoop
from leanrec.online.live_pipeline import LivePipeline
from leanrec.pacing import paced_work

__all__ = ["SnapshotWriter"]

_MAX_TAIL = 50_000  # events; a start reads them in about half a second
_MIN_TAIL = 5_000  # events behind the snapshot at a stop; fewer are read in less time than a snapshot takes
_MAX_SHARE = 0.03  # of one processor, for snapshots
_NICENESS = 10


class SnapshotWriter(BackgroundLoop):
    """Writes a snapshot when there are 50,000 events behind the one before, and at the end when there are 5,000.

    A start reads the snapshot and the events behind it, so that it takes as long for a log of any length. A snapshot costs
    more the longer the log is: the next one waits until all of them together have taken at most 3 % of one processor. Until
    then more events gather. The thread yields to those that answer requests.

    A snapshot that cannot be written is reported, and tried again when the log has grown further.
    """

    def __init__(self, live: LivePipeline, report: Callable[[str], None], interval: float = 2.0) -> None:
        """Start the thread.

        Args:
            live: what serves.
            report: called with a sentence about each snapshot that cannot be written.
            interval: seconds between two looks at the log.
        """
        self._live, self._failed_at, self._paused_until = live, 0, 0.0
        super().__init__("leanrec-snapshots", report, interval, niceness=_NICENESS)

    def close(self, *, writes: bool = True) -> None:
        """Stop, and write a last snapshot if there are many events behind the one before.

        Args:
            writes: False: write none, because another version writes the snapshots from now on.
        """
        super().close()
        if writes and self._count_tail() >= _MIN_TAIL:
            self._write()

    def look(self) -> None:
        """Write a snapshot if there are many events behind the one before, and if that was not too long ago for its cost."""
        if self._count_tail() < _MAX_TAIL or time.monotonic() < self._paused_until:
            return
        begun = time.thread_time()
        with paced_work():
            self._write()
        self._paused_until = time.monotonic() + (time.thread_time() - begun) / _MAX_SHARE

    def _count_tail(self) -> int:
        """Number of events behind the last snapshot, or behind the last that could not be written."""
        return self._live.last_seq - max(self._live.snapshot_seq, self._failed_at)

    def _write(self) -> None:
        try:
            self._live.save_snapshot()
        except LeanrecError as error:
            self._failed_at = self._live.last_seq
            self.report(
                f"The snapshot of the event log was not written, so the next start reads more of the log: {error}"
            )
