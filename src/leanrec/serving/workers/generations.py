"""Generations of a server: the one that answers, the next one, and those that end."""

import math
import time
from collections.abc import Callable
from pathlib import Path

from leanrec.errors import LeanrecError, SourceError, WorkerError
from leanrec.serving.workers.child_processes import find_pause
from leanrec.serving.workers.launched_generation import LaunchedGeneration

__all__ = ["Generations"]

_STOP_SECONDS = 20.0  # its workers get 15
_MAX_ATTEMPTS = 3  # to start a generation of one version
_PAUSE_SECONDS = (
    10.0  # before a version is tried again: the last that served, or one for which the event log did not answer
)


class Generations:
    """Changes generations: the next one takes over once it is ready, and what ends without being told is replaced.

    A version that cannot be served is reported once, and the one before goes on.

    Attributes:
        current: the generation that answers, None before the first.
        next_attempt: when to start the next generation, by the monotonic clock; infinite if none is wanted.
    """

    def __init__(self, launch: Callable[..., LaunchedGeneration], report: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            launch: starts a generation, given path, version, ``is_first`` and ``in_new_interpreter``.
            report: called with a sentence about each change, and about each version that cannot be served.
        """
        self._launch, self._report = launch, report
        self.current: LaunchedGeneration | None = None
        self.next_attempt = math.inf
        self._next: LaunchedGeneration | None = None
        self._ending: list[LaunchedGeneration] = []
        self._wanted: tuple[Path, str] | None = None
        self._served: tuple[Path, str] | None = None  # the last version that was ready
        self._failed: tuple[Path, str] | None = None  # the one that is tried again
        self._is_renewing = False  # new processes were asked for, and have not taken over
        self._since, self._n_attempts, self._in_new_interpreter = 0.0, 0, False
        self._paused_until = 0.0

    def want(self, path: Path, version: str = "") -> None:
        """Let a version take over, unless it answers already or is being loaded.

        Args:
            path: folder of the saved pipeline.
            version: its id, as far as it is known.
        """
        if self._wanted is not None and self._wanted[1] == version:
            return
        self._drop_next()
        self._failed = None
        if self.current is None or not version or self.current.version != version or self._is_renewing:
            self._begin(path, version)

    def renew(self, *, in_new_interpreter: bool = True) -> None:
        """Let a new generation of the same version take over, which also has the version on trial.

        Args:
            in_new_interpreter: start Python anew, with the code that is on disk now, for this generation and all later ones.
        """
        self._in_new_interpreter |= in_new_interpreter
        wanted = self._served if self._failed is not None else self._wanted or self._served
        if wanted is not None:
            self._is_renewing = True
            self._drop_next()
            self._begin(*wanted)

    def look(self) -> None:
        """Note what has happened to the processes, and do what follows. Raises the error of the first generation."""
        for each in self._list_all():
            each.look()
        self._look_at_next()
        self._look_at_current()
        for each in [each for each in self._ending if each.is_over]:
            each.close()
            self._ending.remove(each)
        if self._wanted is not None and self._next is None and time.monotonic() >= self.next_attempt:
            self.next_attempt = math.inf
            path, version = self._wanted
            is_first = self.current is None
            try:
                self._next = self._launch(path, version, is_first=is_first, in_new_interpreter=self._in_new_interpreter)
            except OSError as error:
                self._note_failure(str(error))

    def list_reports(self) -> list[int]:
        """The pipes to wait for."""
        return [each.reports for each in self._list_all()]

    def list_private(self) -> list[int]:
        """Open files that no other process may keep."""
        return [file for each in self._list_all() for file in each.private]

    def stop(self, is_urgent: Callable[[], bool]) -> None:
        """End all generations after their requests, or at once when it is urgent."""
        running = self._list_all()
        for each in running:
            each.stop(_STOP_SECONDS)
        while running:
            for each in running:
                each.look()
                if is_urgent():
                    each.kill()
            for each in [each for each in running if each.is_over]:
                each.close()
                running.remove(each)
            time.sleep(0.02 if running else 0)
        self.current = self._next = None
        self._ending.clear()

    def _list_all(self) -> list[LaunchedGeneration]:
        return [each for each in (self.current, self._next, *self._ending) if each is not None]

    def _begin(self, path: Path, version: str) -> None:
        self._wanted, self._n_attempts = (path, version), 0
        self._since = self.next_attempt = time.monotonic()

    def _replace(self, path: Path, version: str) -> None:
        """Begin another generation of a version that served, but not at once again and again."""
        self._begin(path, version)
        self.next_attempt = max(self.next_attempt, self._paused_until)

    def _drop_next(self) -> None:
        """Want no other version, and end the generation that is loading it."""
        self._wanted, self.next_attempt = None, math.inf
        if self._next is not None:
            self._next.stop(_STOP_SECONDS)
            self._ending.append(self._next)
            self._next = None

    def _look_at_next(self) -> None:
        if self._next is None:
            return
        if self._next.is_ready:
            self._change()
        elif self._next.error is not None:
            self._give_up(self._next.error)
        elif self._next.ended is not None:
            self._note_failure(f"its process ended {self._next.ended}")

    def _change(self) -> None:
        """Let the next generation take over."""
        old, self.current, self._next = self.current, self._next, None
        assert self.current is not None  # noqa: S101 - the caller has looked
        self._wanted, self._served = None, (self.current.path, self.current.version)
        self._is_renewing = False
        took = time.monotonic() - self._since
        if old is None:
            return
        old.retire(_STOP_SECONDS)
        self._ending.append(old)
        when = "it was promoted" if old.version != self.current.version else "new processes were asked for"
        self._report(f"Version {self.current.version} is served, {took:.1f} s after {when}.")
        if self._failed is not None and self._failed[1] != self.current.version:
            self._replace(*self._failed)
        else:
            self._failed = None

    def _note_failure(self, reason: str) -> None:
        """Try again a generation that ended without a word, for instance because it was killed."""
        wanted, self._n_attempts = self._wanted, self._n_attempts + 1
        assert wanted is not None  # noqa: S101 - a generation was started for it
        if self._n_attempts >= _MAX_ATTEMPTS:
            self._give_up(WorkerError(f"{reason[0].upper()}{reason[1:]}, {self._n_attempts} times."))
            return
        self._report(f"Version {wanted[1] or wanted[0]} is loaded again: {reason}.")
        self._drop_next()
        self._wanted = wanted
        self.next_attempt = time.monotonic() + find_pause(self._n_attempts)

    def _give_up(self, error: LeanrecError) -> None:
        wanted = self._wanted
        assert wanted is not None  # noqa: S101 - a generation was started for it
        if self._served is None:
            raise error
        self._drop_next()
        self._paused_until = time.monotonic() + _PAUSE_SECONDS
        if self._failed != wanted:
            self._report(f"Version {wanted[1] or wanted[0]} cannot be served, so {self._served[1]} goes on: {error}")
        if isinstance(error, SourceError) and self.current is not None and self.current.ended is None:
            self._failed = self._failed or wanted  # that the event log does not answer says nothing of the version
        elif self._failed == wanted:
            self._failed = None
        if self._failed is not None:
            self._replace(*self._failed)

    def _look_at_current(self) -> None:
        """Replace a generation whose first process has ended. Its workers answer meanwhile."""
        current = self.current
        if current is None or (current.ended is None and not current.is_over):
            if current is None and self._served is not None and self._wanted is None:
                self._replace(*self._served)
            return
        if self._wanted is None:
            self._report(f"The process that started the workers ended {current.ended}. A new one takes over.")
            self._replace(current.path, current.version)
        if current.is_over:
            current.close()
            self.current = None
