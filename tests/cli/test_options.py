"""Options: texts of the command line become settings, sources and conditions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leanrec.cli.options import parse_conditions, parse_limit, parse_model, parse_pairs, parse_sources
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.units import parse_seconds


def test_pairs_need_a_name_and_an_equals_sign() -> None:
    assert parse_pairs(["a=1", "b=x=y"], "--set") == {"a": "1", "b": "x=y"}
    for text in ("a", "=1"):
        with pytest.raises(SettingError, match="--set must have the form NAME=VALUE"):
            parse_pairs([text], "--set")


def test_model_settings_come_after_commas_and_from_set() -> None:
    assert parse_model("ease,l2=5").l2 == 5
    assert parse_model("ease,l2=5", ["l2=7"]).l2 == 7


def test_limits_name_their_flag() -> None:
    assert parse_limit("--time-limit", None, parse_seconds) is None
    assert parse_limit("--time-limit", "2min", parse_seconds) == 120
    with pytest.raises(SettingError, match="--time-limit: A duration must be"):
        parse_limit("--time-limit", "soon", parse_seconds)


def test_sources_are_paths_or_event_types(tmp_path: Path) -> None:
    assert parse_sources(["a.csv"]) == "a.csv"
    assert parse_sources(["a.csv", "b.csv"]) == ["a.csv", "b.csv"]
    assert parse_sources(["view=a.csv", "buy=b.csv"]) == {"view": "a.csv", "buy": "b.csv"}
    with pytest.raises(SettingError, match="TYPE=PATH"):
        parse_sources(["view=a.csv", "b.csv"])


def test_conditions_on_numbers_may_be_ranges() -> None:
    items = Table({"year": np.array([1990.0, 2000.0])})
    assert parse_conditions(["year=1990..1999"], items) == {"year": {"min": 1990.0, "max": 1999.0}}
    assert parse_conditions(["year=1990"], items) == {"year": 1990.0}
    assert parse_conditions(None, items) is None


def test_every_command_that_opens_a_log_tells_how_it_was_read(run: Any, log: Path, tmp_path: Path) -> None:
    rows = log.read_text().splitlines()
    log.write_text("\n".join([*rows, ",click,a1,"]))
    for words in (
        ("fit", "popularity", log, "--out", tmp_path / "m"),
        ("evaluate", log, "-m", "popularity", "--split", "random"),
        ("frontier", log, "-m", "popularity", "--split", "random", "--valid-share", 0.3, "--out", tmp_path / "f"),
        ("tune", "popularity", log, "--split", "random", "--valid-share", 0.3, "--trials", 1),
    ):
        code, out, err = run(*words, "--json")
        assert code == 0, err
        assert f"Read 8 rows of {log}: user=user_id, item=content_id, event_type=behavior" in err
        assert "Rejected 1: missing user 1. --rejected FILE.csv lists them." in err
        data = json.loads(out)["data"]
        assert (data["rows_read"], data["rejected"]) == (8, {"missing user": 1})


def test_a_log_that_is_mostly_unusable_needs_a_flag(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("user,item\n" + "".join(f"u{i},{'' if i % 3 else 'x'}\n" for i in range(30)))
    code, _, err = run("fit", "popularity", log, "--out", tmp_path / "m")
    assert code == 2
    assert "To go on with the other rows, pass --allow-rejects." in err
    assert run("fit", "popularity", log, "--out", tmp_path / "m", "--allow-rejects")[0] == 0


def test_held_out_files_are_read_by_what_the_log_settled(run: Any, tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text(
        "who,item,what,when\n"
        + "".join(f"{u},{100 + (u + k) % 9},view,{1 + (u + k) % 28}/03/2024\n" for u in range(20) for k in range(5))
    )
    test.write_text("who,item,what,when\n" + "".join(f"{u},B00005N5PF,Purchase,05/04/2024\n" for u in range(20)))
    words = ("-c", "user=who", "-c", "event_type=what", "--event-weight", "view=1", "--event-weight", "purchase=4")
    code, out, err = run(
        "evaluate", train, "--test", test, *words, "-m", "popularity", "--until", "2024-04-01", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["models"]["popularity"]["n_queries"] == 20
    prepared = tmp_path / "prepared"
    assert run("ingest", train, *words, "--out", prepared)[0] == 0
    code, out, err = run("evaluate", prepared, "--test", test, "-m", "popularity", "--json")
    assert code == 0, err
    assert json.loads(out)["models"]["popularity"]["n_queries"] == 20


def test_repeats_count_where_they_are_allowed(run: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    plays = [f"u{u},i{k % 2},{1_600_000_000 + 100 * u + k}" for u in range(30) for k in range(4)]
    log.write_text("\n".join(["user,item,timestamp", *plays]))
    words = ("evaluate", log, "-m", "popularity", "--split", "leave-one-out")
    code, _, err = run(*words)
    assert code == 2
    assert "(100.0%) are repeats of the history" in err
    assert "count them with --allow-repeats." in err
    code, out, _ = run(*words, "--allow-repeats", "--json")
    assert code == 0
    assert json.loads(out)["models"]["popularity"]["metrics"]["hit_rate@10"]["mean"] == 1
