"""Reports about the event log for the dashboard, made in a process of their own so that no request waits for them."""

import contextlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from leanrec.errors import LeanrecError, SourceError

__all__ = ["ReportProcess", "print_answer"]

_MAX_SECONDS = 600.0
_NICENESS = 10


class ReportProcess:
    """Answers of a module to questions, each kept for some seconds. Thread-safe: others wait for the one that asks.

    The process has a low priority and ends with its answer. Cost: about a second to start it, and what the module does.
    """

    def __init__(self, module: str, keep_seconds: float, advice: str) -> None:
        """Take the name of the module.

        Args:
            module: has a function ``print_report`` that calls `print_answer`.
            keep_seconds: for which an answer is given again to the same question.
            advice: a sentence for the error of a process that fails.
        """
        self._command = [sys.executable, "-c", f"from {module} import print_report; print_report()"]
        self._keep_seconds, self._advice = keep_seconds, advice
        self._lock = threading.Lock()
        self._made = -math.inf
        self._asked: dict[str, Any] | None = None
        self._last: dict[str, Any] = {}

    def read(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer and the time in seconds since 1970 at which it was ``made``.

        Where the module raises an error of leanrec, its sentence is the ``problem`` of the answer. Raises SourceError if the process
        ends without an answer.
        """
        with self._lock:
            if time.monotonic() > self._made + self._keep_seconds or question != self._asked:
                self._last = self._make(question)
                self._asked, self._made = question, time.monotonic()
            return self._last

    def _make(self, question: dict[str, Any]) -> dict[str, Any]:
        # The question goes through the input, because a URL among the arguments may show a password to other users. A session of its
        # own: a Ctrl-C is for the server.
        limits: dict[str, Any] = {"timeout": _MAX_SECONDS, "start_new_session": True}
        try:
            asked = json.dumps(question).encode()
            done = subprocess.run(self._command, input=asked, capture_output=True, check=True, **limits)
            found: dict[str, Any] = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise SourceError(
                f"The report must be made by another process. It failed: {error}. {self._advice}"
            ) from error
        return found | {"made": time.time()}


def print_answer(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read a question from standard input and print its answer, both as JSON, at low priority."""
    with contextlib.suppress(AttributeError, OSError):
        os.nice(_NICENESS)
    try:
        found = _drop_infinite(answer(json.load(sys.stdin)))
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
