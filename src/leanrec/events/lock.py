"""One server, one log: a lock beside a file, held by a process and gone with it."""

import datetime
import os
import socket
import sys
from pathlib import Path
from typing import Self

from leanrec.errors import SourceError

if sys.platform != "win32":
    import fcntl

__all__ = ["Lock"]


class Lock:
    """An exclusive lock on ``path``, kept in ``path.lock`` beside it.

    The system lets go of it when the process ends, however it ends. The file stays, empty: to remove it while
    another process opens it would give two processes a lock each. Where there is no ``fcntl`` nothing is locked.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises SourceError, with the process that holds it, if it is taken."""
        beside = Path(f"{path.resolve()}.lock")
        self._handle = os.open(beside, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._take(path)
        except BaseException:
            os.close(self._handle)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go. Calling it again does nothing."""
        if self._handle >= 0:
            os.truncate(self._handle, 0)
            os.close(self._handle)
            self._handle = -1

    def _take(self, path: Path) -> None:
        if sys.platform != "win32":
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.read(self._handle, 200).decode(errors="replace").strip() or "another process"
                raise SourceError(
                    f"The event log {path} is in use by {holder}: one server has one log. "
                    "Stop that server, or give this one another log."
                ) from None
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        os.truncate(self._handle, 0)
        os.write(self._handle, f"process {os.getpid()} on {socket.gethostname()} since {now}\n".encode())
