"""``leanrec simulate``, and its log read by ``leanrec ingest``."""

import json
from pathlib import Path
from typing import Any

import pytest

SIZES = ("--n-users", 50, "--n-items", 40, "--n-events", 500)


def test_simulated_log_can_be_ingested(run: Any, tmp_path: Path) -> None:
    code, out, _ = run("simulate", tmp_path / "log.parquet", *SIZES, "--set", "drift=0.5")
    assert code == 0
    assert "500 events of 50 users and 40 items" in out
    code, out, _ = run("ingest", tmp_path / "log.parquet", "--json")
    assert code == 0
    assert json.loads(out)["events"] == 500


def test_seed_determines_the_file(run: Any, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("simulate", tmp_path / f"{name}.csv", *SIZES, "--seed", seed)[0] == 0
    a, b, c = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert a == b != c


def test_json_has_settings_and_cost(run: Any, tmp_path: Path) -> None:
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
def test_invalid_settings_are_one_message(run: Any, tmp_path: Path, words: tuple, message: str) -> None:
    code, out, err = run("simulate", tmp_path / "log.csv", *SIZES, *words)
    assert code == 2
    assert message in out + err
    assert not (tmp_path / "log.csv").exists()
