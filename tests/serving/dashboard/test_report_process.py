"""The process of a report: its questions, how long answers are kept, and failures."""

import io
import json
import math
import os
import subprocess
import sys
import time
from typing import Any

import pytest

from leanrec.errors import SourceError
from leanrec.serving.dashboard.report_process import ReportProcess, print_answer


def make_process() -> ReportProcess:
    return ReportProcess("some.module", 30.0, "Ask again.")


def test_an_answer_is_kept_for_a_while_and_for_its_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def answer(command: list[str], *, input: bytes, **__: object) -> Any:  # noqa: A002 - the name of subprocess
        asked.append(json.loads(input))
        assert command == [sys.executable, "-c", "from some.module import print_report; print_report()"]
        return subprocess.CompletedProcess([], 0, b'{"number": %d}' % len(asked))

    now = [100.0]
    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    process = make_process()
    assert [process.read({"version": "a"})["number"] for _ in range(2)] == [1, 1]
    now[0] += 29
    assert process.read({"version": "a"})["number"] == 1
    now[0] += 2
    assert process.read({"version": "a"})["number"] == 2
    assert process.read({"version": "b"})["number"] == 3
    assert process.read({"version": "b"})["made"] > 1e9
    assert asked == [{"version": "a"}, {"version": "a"}, {"version": "b"}]


@pytest.mark.parametrize(
    "error", [OSError("no process"), subprocess.CalledProcessError(1, "x"), subprocess.TimeoutExpired("x", 1)]
)
def test_a_process_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    process = make_process()
    with pytest.raises(SourceError, match=r"It failed: .*\. Ask again\."):
        process.read({})
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, b'{"first": 1}'))
    assert process.read({})["first"] == 1  # the failure is not kept


def test_an_answer_that_is_no_json_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, b"killed"))
    with pytest.raises(SourceError, match="It failed"):
        make_process().read({})


@pytest.fixture
def question(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A question at the standard input."""
    question = {"log": "events.db", "version": "ä"}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(question)))
    monkeypatch.setattr(os, "nice", lambda _: None)
    return question


def test_numbers_that_json_does_not_have_are_null(question: dict[str, Any], capsys: Any) -> None:
    print_answer(lambda asked: asked | {"parts": [(1.5, math.inf), {"rate": math.nan}], "n": 3})
    assert json.loads(capsys.readouterr().out) == question | {"parts": [[1.5, None], {"rate": None}], "n": 3}


@pytest.mark.usefixtures("question")
def test_an_error_of_leanrec_is_the_problem(capsys: Any) -> None:
    def fail(_: object) -> dict[str, Any]:
        raise SourceError("The log must exist.")

    print_answer(fail)
    assert json.loads(capsys.readouterr().out) == {"problem": "The log must exist."}
