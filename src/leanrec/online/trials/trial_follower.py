"""Trial follower: a thread that starts and ends the trial of a store, and tells the store what the guards say."""

import contextlib
import os
import socket
import time
from collections.abc import Callable

from leanrec.errors import ArtifactError, LeanrecError
from leanrec.online.background_loop import BackgroundLoop
from leanrec.online.live_pipeline import LivePipeline
from leanrec.online.version_store import VersionStore
from leanrec.online.versions import VersionTrial
from leanrec.pacing import paced_work
from leanrec.pipeline.pipeline import Pipeline
from leanrec.run import release_free_memory

__all__ = ["TrialFollower", "start_stored_trial"]

_SAVE_SECONDS = 1.0
_STABLE_SECONDS = 60.0  # a process that ends later did not end because of the version
_MAX_ENDED = 3
_PAUSE_SECONDS = 2.0  # after a store that cannot be read or written


class TrialFollower(BackgroundLoop):
    """Looks at the store four times a second.

    A trial that a guard ends gets no users from that moment on in this process; the store has it at the next look, and all
    other processes end it at theirs. A version that cannot be loaded ends its trial too.

    What this process counts of a canary is written to the record of its trial every second, and a process that starts, also
    after a crash, begins with the counts of all: restarts take a bad version no step away from its end.
    """

    def __init__(
        self,
        live: LivePipeline,
        store: VersionStore,
        report: Callable[[str], None],
        *,
        loads: bool = True,
        interval: float = 0.25,
    ) -> None:
        """Start to follow.

        Args:
            live: what serves.
            store: the store of versions.
            report: called with a sentence about each change.
            loads: load the version of a trial. False: something else starts trials in this process.
            interval: seconds between two looks at the store.
        """
        self._live, self._store, self._loads = live, store, loads
        self._told: set[str] = set()  # salts of trials that were ended from here
        self._next_save, self._problem = 0.0, ""
        self._start: tuple[VersionTrial, int, float] | None = None  # trial, number of the start, and when it was
        # The first look is at once: something else may have started a trial that has ended since.
        super().__init__("leanrec-trials", report, interval, first_wait=0.0, error_pause=_PAUSE_SECONDS)

    def close(self) -> None:
        """Stop following, after a change that is under way, and write what was counted last."""
        super().close()
        self._next_save = 0.0
        self._save()
        self._forget_start()
        self._live.stop_trial()

    def look(self) -> None:
        """Bring the trial of this process to the state of the store, and counts and verdict of this process into the store."""
        self._save()
        running, live = self._store.trial(), self._live.trial
        if live is not None and live.verdict is not None and live.trial.salt not in self._told:
            guard, reason = live.verdict
            if _abort_trial(self._store, live.trial, f"the guard of the {guard}", reason):
                running = None
            self._told.add(live.trial.salt)
        if live is not None and (running is None or running.salt != live.trial.salt):
            self._live.stop_trial()
            ended = next((each for each in self._store.trials()[::-1] if each.salt == live.trial.salt), live.trial)
            why = f", {ended.reason}" if ended.reason else ""
            who = ended.ended_by or "a person"
            self.report(f"The trial of version {ended.version} has ended: {ended.outcome} by {who}{why}.")
            live = None
            release_free_memory()  # that of its version
        if running is None or running.salt in self._told:
            return
        if live is not None:
            if running != live.trial:
                live.change_share(running)
        elif self._loads and not (
            self._note_start(running) and _start_trial(self._live, self._store, running, self.report)
        ):
            self._forget_start()
            self._told.add(running.salt)

    def _save(self) -> None:
        """Take over the counts of other processes once, then write those of this one every second. A problem is told once."""
        live, now = self._live.trial, time.monotonic()
        if self._start is not None and now - self._start[2] > _STABLE_SECONDS:
            self._forget_start()
        if live is None or now < self._next_save:
            return
        if not self._note_start(live.trial) or live.shadow is not None:  # a shadow has no guards
            return
        record = self._store.get_record(live.trial)
        try:
            live.restore(record)
            live.save(record)
            self._problem = ""
        except ArtifactError as error:
            if self._problem != str(error):
                self._problem = str(error)
                self.report(f"The guards of the trial begin anew after a restart: {error}")
        self._next_save = now + _SAVE_SECONDS

    def _note_start(self, trial: VersionTrial) -> bool:
        """Note once that this process uses the version of a trial. Returns False if too many have ended soon after it."""
        if self._start is not None and self._start[0].salt == trial.salt:
            return True
        start = _note_start(self._store, trial, self.report)
        self._start = None if start is None else (trial, start, time.monotonic())
        return start is not None

    def _forget_start(self) -> None:
        """Note that this process has not ended soon after its start."""
        if self._start is not None and self._start[1]:
            trial, start, when = self._start
            self._start = trial, 0, when
            with contextlib.suppress(ArtifactError):  # the record has gone with its trial
                self._store.get_record(trial).forget_start(start)


def start_stored_trial(live: LivePipeline, store: VersionStore, report: Callable[[str], None]) -> None:
    """Start the trial that runs in a store, if there is one. A version that cannot be loaded ends it.

    Args:
        live: what serves.
        store: the store of versions.
        report: called with a sentence about it.
    """
    trial = store.trial()
    start = None if trial is None else _note_start(store, trial, report)
    if trial is not None and start is not None:
        _start_trial(live, store, trial, report)
        with contextlib.suppress(ArtifactError):
            store.get_record(trial).forget_start(start)


def _note_start(store: VersionStore, trial: VersionTrial, report: Callable[[str], None]) -> int | None:
    """Note that this process uses the version of a trial; None, and the trial has ended, if others ended soon after they did.

    A version that ends its process, for instance because it needs too much memory, would otherwise keep the server from
    starting. Returns the number of the start, 0 if it cannot be noted.
    """
    try:
        start, n_ended = store.get_record(trial).note_start()
    except ArtifactError:  # told when counts are saved
        return 0
    if n_ended < _MAX_ENDED:
        return start
    reason = f"the server ended {n_ended} times within {_STABLE_SECONDS:.0f} s of a start with the version on trial"
    _abort_trial(store, trial, "the guard of the processes", reason)
    report(f"Version {trial.version} is on trial no more: {reason}.")
    return None


def _start_trial(live: LivePipeline, store: VersionStore, trial: VersionTrial, report: Callable[[str], None]) -> bool:
    """Load the version of a trial and start it. Returns False if that cannot be."""
    if live.pipeline.version == trial.version:  # it was promoted, and the store will say so
        return True
    try:
        with paced_work():
            pipeline = Pipeline.load(store.find(trial.version).path)
            running = store.trial()  # by now: loading takes time, and the share may have changed meanwhile
            if running is not None and running.salt == trial.salt:
                live.start_trial(pipeline, running)
    except LeanrecError as error:
        _abort_trial(store, trial, "the server", f"It cannot be served: {error}")
        report(f"Version {trial.version} cannot be tried, so its trial has ended: {error}")
        return False
    if live.trial is None:
        return True
    what = "as a shadow" if trial.is_shadow else "for users"
    report(f"Version {trial.version} is on trial {what}, with a share of {live.trial.trial.share:g}.")
    return True


def _abort_trial(store: VersionStore, trial: VersionTrial, who: str, reason: str) -> bool:
    """Write to the store that a trial is aborted. Returns False if it had ended already."""
    by = f"{who} in process {os.getpid()} on {socket.gethostname()}"
    return store.stop_trial(reason, by, outcome="aborted", trial=trial) is not None
