"""``leanrec forget``: the id is in no file afterwards."""

import json
from pathlib import Path
from typing import Any

from leanrec.events import SQLiteEventStore, UserEvent
from leanrec.online.version_store import VersionStore
from leanrec.pipeline import Pipeline
from leanrec.pipeline.replay import default_log_path

USER = "ada@example.org"


def fit(run: Any, folder: Path) -> Path:
    log, model = folder / "ratings.csv", folder / "model"
    rows = [f"{user},{item},4" for user in (USER, "ben", "cy", "di") for item in ("x", "y", user[:1])]
    log.write_text("user,item,rating\n" + "\n".join(rows) + "\n")
    assert run("fit", "popularity", log, "--out", model)[0] == 0
    log.unlink()
    with SQLiteEventStore(default_log_path(model)) as store:
        store.append([UserEvent(f"{user}-1", user, "x", "click", 5, 1.0) for user in (USER, "ben")])
    return model


def holds_user(folder: Path) -> list[str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [file.name for file in files if USER.encode() in file.read_bytes()]


def test_a_forgotten_user_is_in_no_file(run: Any, tmp_path: Path) -> None:
    model = fit(run, tmp_path)
    assert len(holds_user(tmp_path)) >= 2
    code, out, err = run("forget", model, "--user", USER)
    assert code == 0, err
    assert "Deleted 1 events" in out
    assert "until the next fit" in err
    assert holds_user(tmp_path) == []
    assert [user for user, _ in Pipeline.load(model).find_users()] == ["ben", "cy", "di"]
    assert run("recommend", model, "--user", "ben")[0] == 0
    code, out, _ = run("forget", model, "--user", USER, "--json")
    assert json.loads(out) == {"events": 0, "was_in_model": False, "model_replaced": False}


def test_versions_of_a_store_are_not_changed(run: Any, tmp_path: Path) -> None:
    model = fit(run, tmp_path)
    store = VersionStore.create(tmp_path / "store")
    store.promote(store.add(model).id)
    log = default_log_path(model)
    code, _, err = run("forget", tmp_path / "store", "--user", USER, "--event-log", log)
    assert code == 0
    assert "versions clean" in err
    assert USER.encode() not in log.read_bytes()
    assert run("forget", model, "--user", USER, "--event-log", tmp_path / "none.db")[0] == 2


def test_a_log_is_checked_backed_up_and_restored(run: Any, tmp_path: Path) -> None:
    path, copy = tmp_path / "events.db", tmp_path / "copy.db"
    with SQLiteEventStore(path) as store:
        store.append([UserEvent(str(number), 1, 10, "click", number, 1.0) for number in range(1200)])
        store.append([UserEvent("last", USER, 10, "click", 7, 1.0)])
        counts = "1,201 events (the last has number 1,201), 0 served lists, 0 added items, 0 forgotten users. Format 6"
        assert run("log", "backup", path, copy)[:2] == (0, f"{copy} is a whole copy: {counts}.\n")
        assert run("forget", tmp_path / "none", "--user", USER)[0] == 2
        store.forget_user(USER)
    assert json.loads(run("log", "check", path, "--json")[1])["forgotten_users"] == 1
    path.write_bytes(copy.read_bytes())
    assert "1,201 events" in run("log", "check", path)[1]
    assert run("log", "backup", path, copy)[0] == 2
    path.write_bytes(path.read_bytes().replace(b"click", b"clack", 1))
    code, _, err = run("log", "check", path)
    assert code == 2
    assert "is damaged" in err
