"""Reports of experiments for the dashboard, made in a process of their own so that no request waits for them."""

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from leanrec.errors import LeanrecError, SourceError
from leanrec.events.locations import open_reader
from leanrec.online.experiments import report_experiment
from leanrec.online.version_store import VersionStore

__all__ = ["ExperimentReports", "print_report"]

_KEEP_SECONDS = 30.0
_MAX_SECONDS = 600.0
_NICENESS = 10
_PROGRAM = f"from {__name__} import print_report; print_report()"


class ExperimentReports:
    """The report of the last experiment of a log, at most every 30 seconds. Thread-safe: others wait for the one that reads.

    A report reads all lists and events of the log, in a process of low priority that ends with it. Cost: about a second to
    start the process, and O(lists + events).
    """

    def __init__(self, location: str | Path, store: VersionStore | None) -> None:
        """Take the event log, a path or a URL, and the store of versions, whose last trial is the experiment."""
        self._location, self._store = location, store
        self._lock = threading.Lock()
        self._made = -math.inf
        self._last: dict[str, Any] = {}

    def read(self) -> dict[str, Any]:
        """The report as JSON, with ``trial``, ``made`` and, where nothing can be reported, ``problem``.

        Raises SourceError if the process ends without a report.
        """
        with self._lock:
            if time.monotonic() > self._made + _KEEP_SECONDS:
                self._last = self._make()
                self._made = time.monotonic()
            return self._last

    def _make(self) -> dict[str, Any]:
        trials = () if self._store is None else self._store.trials()
        trial = next((each for each in reversed(trials) if not each.is_shadow), None)  # the last one for users
        described = None if trial is None else {name: getattr(trial, name) for name in ("version", "started", "ended")}
        asked = json.dumps({"log": str(self._location), "trial": described})  # no arguments: a URL may have a password
        command = [sys.executable, "-c", _PROGRAM]
        limits: dict[str, Any] = {"timeout": _MAX_SECONDS, "start_new_session": True}  # a Ctrl-C is for the server
        try:
            done = subprocess.run(command, input=asked.encode(), capture_output=True, check=True, **limits)
            found: dict[str, Any] = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise SourceError(
                f"The report must be made by another process. It failed: {error}. Ask again, or use the command leanrec "
                "experiments, which says more."
            ) from error
        return found | {"trial": described, "made": time.time()}


def print_report() -> None:
    """Read the log and the trial to report from standard input, and print the report; both as JSON.

    The window of a trial is that of the trial, and its arms have equal shares.
    """
    with contextlib.suppress(AttributeError, OSError):
        os.nice(_NICENESS)
    asked = json.load(sys.stdin)
    trial, since, until = asked["trial"], -math.inf, math.inf
    if trial is not None:
        since = datetime.fromisoformat(trial["started"]).timestamp()
        until = math.inf if trial["ended"] is None else datetime.fromisoformat(trial["ended"]).timestamp()
    ratio = None if trial is None else {"control": 1.0, "candidate": 1.0}
    try:
        report = report_experiment(open_reader(asked["log"]), ratio, since=since, until=until)
        found = _drop_infinite(report.to_dict())
    except LeanrecError as error:
        found = {"problem": str(error)}
    json.dump(found, sys.stdout)


def _drop_infinite(value: Any) -> Any:
    """The same with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _drop_infinite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_drop_infinite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
