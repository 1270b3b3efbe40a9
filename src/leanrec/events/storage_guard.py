"""Storage guard: the space that an event log leaves on its disk, and the size of its write-ahead log under long readers."""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

from leanrec.errors import SourceError
from leanrec.events.records import StorageLimits
from leanrec.units import format_bytes

__all__ = ["StorageGuard"]

_WAL_KEPT = 32 * 2**20  # size of the file after a reset
_WAIT_MILLISECONDS = 10_000


class StorageGuard:
    """What an event store may still write: everything, no served lists, or nothing.

    A file that another program reads in one long transaction cannot take over its write-ahead log, which then grows by each
    write. The guard tries again, and tells what is wrong. A look costs two questions to the file system.

    Attributes:
        free_bytes: free space of the disk at the last look.
        wal_bytes: size of the write-ahead log at the last look.
    """

    def __init__(self, path: Path, limits: StorageLimits, measure_free: Callable[[Path], int] | None = None) -> None:
        """Take the path of the store, and what measures the free space at a folder, for tests."""
        self.path, self.limits = path, limits
        self.free_bytes = limits.lists_free_bytes
        self.wal_bytes = 0
        self._wal = Path(f"{path.resolve()}-wal")
        self._wal_name, self._folder = str(self._wal), path.parent  # asked for at each transaction
        self._measure_free = measure_free or _measure_free

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Bound the write-ahead log: it is taken over after 1,000 pages, and cut when it is used anew."""
        connection.execute("PRAGMA wal_autocheckpoint = 1000")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT}")

    def look(self, connection: sqlite3.Connection) -> None:
        """Measure both; take over a write-ahead log that is too large, unless a reader is in the way."""
        with contextlib.suppress(OSError):
            self.free_bytes = self._measure_free(self._folder)
        self._measure_wal()
        if self.wal_bytes > self.limits.wal_bytes / 2:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("PRAGMA busy_timeout = 0")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute(f"PRAGMA busy_timeout = {_WAIT_MILLISECONDS}")
            self._measure_wal()

    def _measure_wal(self) -> None:
        with contextlib.suppress(OSError):
            self.wal_bytes = os.stat(self._wal_name).st_size  # noqa: PTH116 - a path takes as long again

    @property
    def takes_lists(self) -> bool:
        """Whether served lists may be written. They are given up first."""
        return self.free_bytes >= self.limits.lists_free_bytes and self.wal_bytes <= self.limits.wal_bytes / 2

    def find_problem(self) -> SourceError | None:
        """Why no events and items may be written either; None if they may."""
        if self.free_bytes < self.limits.events_free_bytes:
            return SourceError(
                f"The disk of the event log {self.path} must have {format_bytes(self.limits.events_free_bytes)} free. It has "
                f"{format_bytes(self.free_bytes)}. Nothing of this write was stored: free some space, and send it again."
            )
        if self.wal_bytes > self.limits.wal_bytes:
            return SourceError(
                f"The file {self._wal.name} beside the event log must have at most {format_bytes(self.limits.wal_bytes)}. It has "
                f"{format_bytes(self.wal_bytes)}, because another program has been reading the log in one transaction for long. "
                "Nothing of this write was stored: end that program, and send it again."
            )
        return None


def _measure_free(folder: Path) -> int:
    """Free bytes of the disk of a folder."""
    if hasattr(os, "statvfs"):
        status = os.statvfs(folder)
        return status.f_bavail * status.f_frsize
    return shutil.disk_usage(folder).free  # on Windows
