"""``leanrec simulate``, as somebody types it, and what comes out read by ``leanrec ingest``."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from leanrec.cli import main

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["leanrec", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


SIZES = ("--n-users", 50, "--n-items", 40, "--n-events", 500)


def test_a_simulated_log_is_a_log(run: Call, tmp_path: Path) -> None:
    code, out, _ = run("simulate", tmp_path / "log.parquet", *SIZES, "--set", "drift=0.5")
    assert code == 0
    assert "500 events of 50 users and 40 items" in out
    code, out, _ = run("ingest", tmp_path / "log.parquet", "--json")
    assert code == 0
    assert json.loads(out)["events"] == 500


def test_a_seed_gives_one_file(run: Call, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("simulate", tmp_path / f"{name}.csv", *SIZES, "--seed", seed)[0] == 0
    a, b, c = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert a == b != c


def test_json_has_settings_and_cost(run: Call, tmp_path: Path) -> None:
    _, out, _ = run("simulate", tmp_path / "log.csv", *SIZES, "--json")
    report = json.loads(out)
    assert report["settings"]["events"] == 500
    assert report["bytes"] == (tmp_path / "log.csv").stat().st_size
    assert report["cost"]["wall"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--n-events", 3), "events must be from 50"),
        (("--set", "drit=1"), "Did you mean 'drift'?"),
    ],
)
def test_what_cannot_be_simulated_is_said(run: Call, tmp_path: Path, words: tuple, message: str) -> None:
    code, out, err = run("simulate", tmp_path / "log.csv", *SIZES, *words)
    assert code == 2
    assert message in out + err
    assert not (tmp_path / "log.csv").exists()
