"""Asking a fitted model, with what a server has recorded since: recommend, similar, explain, fit --event-log."""

import json
from pathlib import Path
from typing import Any

import pytest

from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.user_events import UserEvent
from leanrec.pipeline.pipeline import Pipeline

ITEMS = """user,item,title
1,"art, one",Python for data science
1,b,Sourdough bread for beginners
2,"art, one",Python for data science
2,c,Rust for the impatient
3,d,Data science with Python
3,c,Rust for the impatient
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "log.csv"
    file.write_text(ITEMS)
    return file


@pytest.fixture
def model(run: Any, source: Path, tmp_path: Path) -> Path:
    assert run("fit", "content", source, "--out", tmp_path / "m")[0] == 0
    return tmp_path / "m"


def served(model: Path, path: Path, *reactions: UserEvent) -> Path:
    """What a server of the model leaves behind."""
    with SQLiteEventStore(path) as log:
        log.bind(Pipeline.load(model).origin)
        log.append(reactions)
    return path


def click(user: str, item: str) -> UserEvent:
    return UserEvent(f"{user}-{item}", user, item, "click", 2_000_000_000, 1.0)


def ids(out: str) -> list[str]:
    return [item["id"] for item in json.loads(out)["items"]]


def test_clicks_of_the_server_count_outside_of_it(run: Any, model: Path) -> None:
    code, out, err = run("recommend", model, "--user", 1, "--json")
    assert (code, sorted(ids(out)), "log" in err) == (0, ["c", "d"], False)
    path = served(model, Path(f"{model}.events.db"), click("1", "d"), click("new", "d"), click("1", "gone"))
    code, out, err = run("recommend", model, "--user", 1, "--json")
    assert (code, ids(out)) == (0, ["c"])
    assert f"With the log {path}: 2 events and 0 items that the fit did not see." in err
    assert "1 events of the log cannot be used" in err
    assert run("explain", model, "--user", "new", "--item", "art, one", "--json")[0] == 0
    assert run("similar", model, "--item", "d", "--event-log", path)[0] == 0


def test_a_log_of_other_data_counts_only_if_it_is_named(run: Any, model: Path, source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(ITEMS.replace("3,", "9,"))
    run("fit", "content", other, "--out", tmp_path / "o")
    path = served(tmp_path / "o", Path(f"{model}.events.db"), click("1", "d"))
    code, out, err = run("recommend", model, "--user", 1, "--json")
    assert (code, sorted(ids(out))) == (0, ["c", "d"])
    assert "Without the log beside the model" in err
    code, _, err = run("recommend", model, "--user", 1, "--event-log", path)
    assert code == 2
    assert "was kept for other data" in " ".join(err.split())
    code, _, err = run("recommend", model, "--user", 1, "--event-log", tmp_path / "none.db")
    assert code == 2
    assert "cannot be used" in err


def test_a_fit_takes_the_log_in(run: Any, model: Path, source: Path) -> None:
    path = served(model, Path(f"{model}.events.db"), click("1", "d"), click("new", "gone"))
    code, _, err = run("fit", "ease", source, "--out", model)
    assert code == 0
    assert f"--event-log {path} adds them" in err
    code, out, err = run("fit", "ease", source, "--out", model, "--event-log", path)
    assert code == 0
    assert "8 events of 4 users and 5 items" in out
    assert f"2 events of {path} joined the data" in err
    code, out, err = run("recommend", model, "--user", 1, "--json")
    assert "0 events and 0 items that the fit did not see" in err
    assert sorted(ids(out)) == ["c", "gone"]


def test_ids_may_hold_commas(run: Any, model: Path) -> None:
    for words in (
        ("--history", "art, one"),
        ("--history", '"art, one",zz'),
        ("--history", "zz", "--history", "art, one"),
    ):
        code, out, _ = run("recommend", model, *words, "--json")
        assert code == 0
        assert "art, one" not in ids(out)
    assert json.loads(out)["ignored"] == ["zz"]
    _, out, _ = run("recommend", model, "--history", "b,c", "--deny", "art, one", "--json")
    assert ids(out) == ["d"]


def test_an_item_that_nothing_speaks_for_is_told_so(run: Any, model: Path) -> None:
    code, out, _ = run("explain", model, "--history", "art, one", "--item", "c")
    assert code == 0
    assert "nothing in the history speaks for it" in out


def test_a_wrong_setting_of_the_server_is_refused(run: Any, model: Path) -> None:
    code, _, err = run("serve", model, "--retention-days", 0)
    assert code == 2
    assert "days must be a positive number" in err
