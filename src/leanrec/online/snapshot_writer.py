"""Snapshot writer: a thread that writes the state of the histories beside the event store."""

from collections.abc import Callable

from leanrec.errors import LeanrecError
from leanrec.online.background_loop import BackgroundLoop
from leanrec.online.live_pipeline import LivePipeline

__all__ = ["SnapshotWriter"]

_MIN_EVENTS = 10_000  # a log of this length is read in less than a second
_SHARE = 10  # a snapshot is written anew once the log has grown by a tenth


class SnapshotWriter(BackgroundLoop):
    """Writes a snapshot when the log has grown by a tenth and by 10,000 events, and at the end when it has grown by 10,000.

    A snapshot that cannot be written is reported, and tried again when the log has grown further.
    """

    def __init__(self, live: LivePipeline, report: Callable[[str], None], interval: float = 10.0) -> None:
        """Start the thread.

        Args:
            live: what serves.
            report: called with a sentence about each snapshot that cannot be written.
            interval: seconds between two looks at the log.
        """
        self._live, self._failed_at = live, 0
        super().__init__("leanrec-snapshots", report, interval)

    def close(self, *, writes: bool = True) -> None:
        """Stop, and write a last snapshot if there are many events behind the one before.

        Args:
            writes: False: write none, because another version writes the snapshots from now on.
        """
        super().close()
        if writes:
            self._write_after(_MIN_EVENTS)

    def look(self) -> None:
        """Write a snapshot if the log has grown enough."""
        self._write_after(max(_MIN_EVENTS, self._live.last_seq // _SHARE))

    def _write_after(self, n_events: int) -> None:
        if self._live.last_seq - max(self._live.snapshot_seq, self._failed_at) < n_events:
            return
        try:
            self._live.save_snapshot()
        except LeanrecError as error:
            self._failed_at = self._live.last_seq
            self.report(
                f"The snapshot of the event log was not written, so the next start reads more of the log: {error}"
            )
