"""Exclusive file lock: one server per event log."""

import datetime
import os
import socket
import sys
from pathlib import Path
from typing import Self

from leanrec.errors import SourceError

if sys.platform != "win32":
    import fcntl

__all__ = ["FileLock", "is_locked"]


class FileLock:
    """An exclusive lock on ``path``, held on the file ``path.lock`` beside it.

    The operating system releases it when the process ends, for whatever reason. The file stays, empty: if it were
    removed while another process opens it, two processes could hold a lock each. On Windows nothing is locked.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises SourceError, which names the process that holds it, if it is taken.

        Raises SourceError also for a file with a second name (a hard link), under which another server could write it.
        """
        if path.is_file() and path.stat().st_nlink > 1:
            raise SourceError(
                f"The event log {path} must have one name, which its lock is bound to. It has {path.stat().st_nlink} (hard "
                "links). Copy it and use the copy, or remove the other names."
            )
        lock_path = Path(f"{path.resolve()}.lock")
        self._handle = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._acquire(path)
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock. Calling it again does nothing."""
        if self._handle >= 0:
            os.truncate(self._handle, 0)
            os.close(self._handle)
            self._handle = -1

    def _acquire(self, path: Path) -> None:
        if sys.platform != "win32":
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._handle, 200).decode(errors="replace").strip() or "another process"
                raise SourceError(
                    f"The event log {path} must have one server. It is in use by {holder}. "
                    "Stop that server, or give this one another log."
                ) from None
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        os.truncate(self._handle, 0)
        os.write(self._handle, f"process {os.getpid()} on {socket.gethostname()} since {now}\n".encode())


def is_locked(path: Path) -> bool:
    """Whether a process may hold the lock on ``path``; always on Windows, where it cannot be known."""
    lock_path = Path(f"{path.resolve()}.lock")
    if sys.platform == "win32":
        return True
    if not lock_path.exists():
        return False
    with lock_path.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
