"""Attempts: the refits of a store of versions so far, one at a time and not too often."""

import contextlib
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from leanrec import artifacts
from leanrec.errors import ArtifactError, ConflictError

if sys.platform != "win32":
    import fcntl

__all__ = ["Attempt", "AttemptFile"]

_FILE = "refits.json"
_MAX_ATTEMPTS = 1000
_STAGING = ".refit-"


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One refit.

    Attributes:
        started: when, in ISO format.
        against: id of the version that was served.
        outcome: "unfinished" while it runs, and for ever if it failed; then "proposed", "no win" or "outdated" (another version
            was promoted meanwhile).
        reason: the measured difference, and what speaks against the refit.
        version: id of the proposed version, or None.
        is_warm: whether the refit has gone on from the served model.
        n_events: number of events that the refit was fitted on and that the served version does not know.
        cpu_seconds: CPU time of the fit.
    """

    started: str
    against: str
    outcome: str = "unfinished"
    reason: str = ""
    version: str | None = None
    is_warm: bool = False
    n_events: int = 0
    cpu_seconds: float = 0.0


class AttemptFile:
    """The attempts of a store, in a file of its folder."""

    def __init__(self, store_path: Path) -> None:
        """Name the file; it is written with the first attempt."""
        self._folder, self._file = store_path, store_path / _FILE

    def read(self) -> tuple[Attempt, ...]:
        """The attempts, oldest first. Raises ArtifactError if the file cannot be read."""
        try:
            return tuple(Attempt(**each) for each in json.loads(self._file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError) as error:
            raise ArtifactError(
                f"{self._file} cannot be read: {error}. Remove it; it only says what was tried."
            ) from error

    def find_last(self) -> datetime | None:
        """When the last attempt was started, failed ones included."""
        attempts = self.read()
        return datetime.fromisoformat(attempts[-1].started) if attempts else None

    def start(self, against: str, now: datetime | None = None) -> Attempt:
        """Write that an attempt begins, so that one that fails counts too."""
        now = datetime.now(UTC) if now is None else now
        attempt = Attempt(now.isoformat(timespec="milliseconds"), against)
        self._write((*self.read(), attempt))
        return attempt

    def finish(self, attempt: Attempt) -> None:
        """Replace the last attempt."""
        self._write((*self.read()[:-1], attempt))

    def _write(self, attempts: tuple[Attempt, ...]) -> None:
        listed = [dataclasses.asdict(each) for each in attempts[-_MAX_ATTEMPTS:]]
        try:
            artifacts.replace_file(self._file, json.dumps(listed, indent=1).encode())
        except OSError as error:
            raise ArtifactError(f"Cannot write {self._file}: {error.strerror or error}.") from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[Path]:
        """Keep other refits of the store out; gives a path for the new artifact, which is removed at the end or by the next refit.

        Raises ConflictError if a refit is under way. The system releases the lock when a process ends.
        """
        handle = os.open(self._folder / f"{_STAGING}lock", os.O_RDWR | os.O_CREAT, 0o644)
        staging = self._folder / f"{_STAGING}{os.getpid()}"
        try:
            self._lock(handle)
            for left in self._folder.glob(f"{_STAGING}[0-9]*"):  # by a crash
                shutil.rmtree(left, ignore_errors=True)
            yield staging
            shutil.rmtree(staging, ignore_errors=True)
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        if sys.platform != "win32":
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConflictError(f"A refit of {self._folder} is under way. Wait until it has ended.") from error
