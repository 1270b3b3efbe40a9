"""Estimates for the dashboard of what another version would have earned, from lists that explored."""

import dataclasses
from pathlib import Path
from typing import Any

from leanrec.events.locations import open_reader
from leanrec.online.experiments import replay_policy
from leanrec.online.versions import Version
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.dashboard.report_process import ReportProcess, print_answer

__all__ = ["OffPolicyReports", "print_report"]

_KEEP_SECONDS = 300.0
_ADVICE = "The command leanrec experiments says more."


class OffPolicyReports:
    """Off-policy estimates of a version, made when they are asked for and kept for five minutes. Thread-safe.

    Cost: a process that loads the version and makes one list for each list of the log that explored; see `ReportProcess`.
    """

    def __init__(self, location: str | Path) -> None:
        """Take the event log, a path or a URL."""
        self._location = location
        self._process = ReportProcess(__name__, _KEEP_SECONDS, _ADVICE)

    def read(self, version: Version) -> dict[str, Any]:
        """The estimates, the number of lists, and how many were left out for which reason; ``problem``: why there are none.

        Raises SourceError if the process ends without a report.
        """
        asked = {"log": str(self._location), "path": str(version.path)}
        return self._process.read(asked) | {"version": version.id}


def print_report() -> None:
    """Print the estimates about the log and the version of the question."""
    print_answer(_report)


def _report(asked: dict[str, Any]) -> dict[str, Any]:
    replayed = replay_policy(open_reader(asked["log"]), Pipeline.load(asked["path"]))
    estimates = [dataclasses.asdict(each) for each in replayed.estimate_values(level=0.95)]
    return {"lists": replayed.n_lists, "skipped": dict(replayed.skipped), "estimates": estimates}
