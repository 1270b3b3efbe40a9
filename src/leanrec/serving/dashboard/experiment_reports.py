"""Reports of experiments for the dashboard."""

import math
from datetime import datetime
from pathlib import Path
from typing import Any

from leanrec.events.locations import open_reader
from leanrec.online.experiments import report_experiment
from leanrec.online.version_store import VersionStore
from leanrec.serving.dashboard.report_process import ReportProcess, print_answer

__all__ = ["ExperimentReports", "print_report"]

_KEEP_SECONDS = 30.0
_ADVICE = "Ask again, or use the command leanrec experiments, which says more."


class ExperimentReports:
    """The report of the last experiment of a log, at most every 30 seconds, or when there was a change of the trial. Thread-safe.

    Cost: a process that reads all lists and events of the log, O(lists + events); see `ReportProcess`.
    """

    def __init__(self, location: str | Path, store: VersionStore | None) -> None:
        """Take the event log, a path or a URL, and the store of versions, whose last trial is the experiment."""
        self._location, self._store = location, store
        self._process = ReportProcess(__name__, _KEEP_SECONDS, _ADVICE)

    def read(self) -> dict[str, Any]:
        """The report as JSON has it, with the trial and when it was made; ``problem``: why there is none.

        Raises SourceError if the process ends without a report.
        """
        trials = () if self._store is None else self._store.trials()
        trial = next((each for each in reversed(trials) if not each.is_shadow), None)  # the last one for users
        described = None if trial is None else {name: getattr(trial, name) for name in ("version", "started", "ended")}
        return self._process.read({"log": str(self._location), "trial": described}) | {"trial": described}


def print_report() -> None:
    """Print the report about the log and the trial of the question.

    The window of a trial is that of the trial, and its arms have equal shares.
    """
    print_answer(_report)


def _report(asked: dict[str, Any]) -> dict[str, Any]:
    trial, since, until = asked["trial"], -math.inf, math.inf
    if trial is not None:
        since = datetime.fromisoformat(trial["started"]).timestamp()
        until = math.inf if trial["ended"] is None else datetime.fromisoformat(trial["ended"]).timestamp()
    ratio = None if trial is None else {"control": 1.0, "candidate": 1.0}
    return report_experiment(open_reader(asked["log"]), ratio, since=since, until=until).to_dict()
