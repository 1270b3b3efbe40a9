"""Reports on the responses to the lists of a version for the dashboard: whether they have fallen."""

from pathlib import Path
from typing import Any

from leanrec.events.locations import open_reader
from leanrec.online.refits.drift import MIN_LISTS, find_fall, read_responses
from leanrec.serving.dashboard.report_process import ReportProcess, print_answer

__all__ = ["DriftReports", "print_report"]

_KEEP_SECONDS = 300.0  # a lasting fall is one of thousands of lists, which are half an hour old


class DriftReports:
    """Whether people respond to fewer of the lists of a version than at first, read at most every five minutes. Thread-safe.

    Cost: a process that reads all lists and events of the log, O(lists + events); see `ReportProcess`.
    """

    def __init__(self, location: str | Path) -> None:
        """Take the event log, a path or a URL."""
        self._location = location
        self._process = ReportProcess(__name__, _KEEP_SECONDS, "Ask again.")

    def read(self, version: str) -> dict[str, Any]:
        """The number of lists, how many were needed, response rates, and the list at which a fall was noticed, as JSON has them.

        Raises SourceError if the process ends without a report.
        """
        return self._process.read({"log": str(self._location), "version": version})


def print_report() -> None:
    """Print the report about the log and the version of the question."""
    print_answer(_report)


def _report(asked: dict[str, Any]) -> dict[str, Any]:
    responses = read_responses(open_reader(asked["log"]), asked["version"])
    responded, has_rates = responses.responded, len(responses.responded) > MIN_LISTS
    return {
        "version": asked["version"],
        "lists": len(responded),
        "waiting": responses.n_waiting,
        "needed": MIN_LISTS,
        "first_rate": float(responded[:MIN_LISTS].mean()) if has_rates else None,
        "last_rate": float(responded[-MIN_LISTS:].mean()) if has_rates else None,
        "fall": find_fall(responded),
    }
