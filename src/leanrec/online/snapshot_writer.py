"""Snapshot writer: a thread that writes the state of the histories beside the event store."""

import threading
from collections.abc import Callable
from typing import Self

from leanrec.errors import LeanrecError
from leanrec.online.live_pipeline import LivePipeline

__all__ = ["SnapshotWriter"]

_MIN_EVENTS = 10_000  # a log of this length is read in less than a second
_SHARE = 10  # a snapshot is written anew once the log has grown by a tenth


class SnapshotWriter:
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
        self._live, self._report, self._interval = live, report, interval
        self._failed_at = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leanrec-snapshots", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, *, writes: bool = True) -> None:
        """Stop, and write a last snapshot if there are many events behind the one before.

        Args:
            writes: False: write none, because another version writes the snapshots from now on.
        """
        self._stopping.set()
        self._thread.join()
        if writes:
            self._write_after(_MIN_EVENTS)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._write_after(max(_MIN_EVENTS, self._live.last_seq // _SHARE))

    def _write_after(self, n_events: int) -> None:
        if self._live.last_seq - max(self._live.snapshot_seq, self._failed_at) < n_events:
            return
        try:
            self._live.save_snapshot()
        except LeanrecError as error:
            self._failed_at = self._live.last_seq
            self._report(
                f"The snapshot of the event log was not written, so the next start reads more of the log: {error}"
            )
