"""Errors of every command: one message, exit code 2, no traceback."""

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("command", [("fit", "popularity"), ("frontier", "-m", "popularity", "--split", "random")])
def test_unwritable_path_is_one_message(run: Any, log: Path, command: tuple[str, ...]) -> None:
    code, _, err = run(*command[:2], *command[2:], log, "--out", "/proc/nowhere")
    assert code == 2
    assert "/proc/nowhere" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fit", "eaze", "{log}", "--out", "m"), "Did you mean 'ease'?"),
        (("fit", "ease", "{log}", "--set", "l3=1", "--out", "m"), "has no setting 'l3'"),
        (("fit", "ease", "{log}", "--set", "l2=-1", "--out", "m"), "l2 must be a positive number"),
        (("fit", "ease,l2=-2", "{log}", "--out", "m"), "l2 must be a positive number. Got -2"),
        (("fit", "ease,l2=5", "{log}", "--set", "l2=-3", "--out", "m"), "l2 must be a positive number. Got -3"),
        (("fit", "ease", "{log}", "--set", "l2", "--out", "m"), "--set must have the form NAME=VALUE"),
        (("fit", "ease", "missing.csv", "--out", "m"), "missing.csv"),
        (("fit", "ease", "{log}", "--checkpoint", "c", "--out", "m"), "--checkpoint must be left out"),
        (("fit", "sasrec", "{log}", "--device", "cuda:99", "--out", "m"), "--device must exist. Got 'cuda:99'"),
        (("fit", "sasrec", "{log}", "--device", "gpu", "--out", "m"), "--device must be cpu, cuda or cuda:N"),
        (("fit", "ease", "{log}", "--memory-limit", "lots", "--out", "m"), "A size must be a number and a unit"),
        (("ingest", "{log}", "--column", "user=nobody"), "nobody"),
        (("recommend", "{log}", "--user", "1"), "is not a leanrec artifact"),
        (
            ("recommend", "nowhere", "--user", "1"),
            "nowhere does not exist, so it is not a leanrec artifact. Check the path.",
        ),
        (("ingest", "{log}", "--time-format", "%Y"), "--time-format needs a time column of text or numbers."),
        (("frontier", "{log}", "--max-p99", "fast"), "--max-p99: A duration must be"),
        (("ingest", "view={log}", "{log}"), "TYPE=PATH"),
    ],
)
def test_invalid_input_is_one_message(
    run: Any, log: Path, tmp_path: Path, monkeypatch: Any, words: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*(word.format(log=log) for word in words))
    assert code == 2
    assert out == ""
    # Commands that open a log tell how they read it before they find the fault.
    assert err.startswith(("error:", "Reading "))
    assert err.count("error:") == 1
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_data_sets_models_and_logs_are_distinguished(run: Any, log: Path, tmp_path: Path) -> None:
    data, model = tmp_path / "data", tmp_path / "m"
    run("ingest", log, "--out", data)
    run("fit", "popularity", data, "--out", model)
    code, _, err = run("recommend", data, "--user", "1")
    assert code == 2
    assert f"is a data set, not a fitted model. Fit a model on it first: leanrec fit MODEL {data}" in " ".join(
        err.split()
    )
    code, _, err = run("evaluate", model)
    assert code == 2
    assert "is a fitted model, not a data set. Name a data set" in " ".join(err.split())
    code, _, err = run("evaluate", data, log)
    assert code == 2
    assert "is a folder that leanrec wrote, not a log" in " ".join(err.split())
