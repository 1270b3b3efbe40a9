"""Trial follower: a thread that starts and ends the trial of a store, and tells the store what the guards say."""

import os
import socket
from collections.abc import Callable

from leanrec.errors import LeanrecError
from leanrec.online.background_loop import BackgroundLoop, long_turns
from leanrec.online.live_pipeline import LivePipeline
from leanrec.online.version_store import VersionStore
from leanrec.online.versions import VersionTrial
from leanrec.pipeline.pipeline import Pipeline

__all__ = ["TrialFollower", "start_stored_trial"]

_PAUSE_SECONDS = 2.0  # after a store that cannot be read or written


class TrialFollower(BackgroundLoop):
    """Looks at the store four times a second.

    A trial that a guard ends gets no users from that moment on in this process; the store has it at the next look, and all
    other processes end it at theirs. A version that cannot be loaded ends its trial too.
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
        # The first look is at once: something else may have started a trial that has ended since.
        super().__init__("leanrec-trials", report, interval, first_wait=0.0, error_pause=_PAUSE_SECONDS)

    def close(self) -> None:
        """Stop following, after a change that is under way."""
        super().close()
        self._live.stop_trial()

    def look(self) -> None:
        """Bring the trial of this process to the state of the store, and a verdict of this process into the store."""
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
        if running is None or running.salt in self._told:
            return
        if live is not None:
            if running != live.trial:
                live.change_share(running)
        elif self._loads and not _start_trial(self._live, self._store, running, self.report):
            self._told.add(running.salt)


def start_stored_trial(live: LivePipeline, store: VersionStore, report: Callable[[str], None]) -> None:
    """Start the trial that runs in a store, if there is one. A version that cannot be loaded ends it.

    Args:
        live: what serves.
        store: the store of versions.
        report: called with a sentence about it.
    """
    trial = store.trial()
    if trial is not None:
        _start_trial(live, store, trial, report)


def _start_trial(live: LivePipeline, store: VersionStore, trial: VersionTrial, report: Callable[[str], None]) -> bool:
    """Load the version of a trial and start it. Returns False if that cannot be."""
    if live.pipeline.version == trial.version:  # it was promoted, and the store will say so
        return True
    try:
        with long_turns():
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
