"""``leanrec versions``: add, list, promote, roll back, clean."""

import json
from pathlib import Path
from typing import Any

from leanrec.online import VersionStore


def test_versions_are_added_promoted_and_rolled_back(run: Any, log: Path, tmp_path: Path) -> None:
    store, ids = tmp_path / "store", []
    for model in ("popularity", "item_knn"):
        assert run("fit", model, log, "--out", tmp_path / model)[0] == 0
        code, out, _ = run("versions", "add", store, tmp_path / model, "--promote", "--json")
        assert code == 0
        ids.append(json.loads(out)["version"])
    _, out, _ = run("versions", "list", store, "--json")
    listed = json.loads(out)
    assert [(each["id"], each["model"], each["is_current"]) for each in listed["versions"]] == [
        (ids[0], "popularity", False),
        (ids[1], "item_knn", True),
    ]
    assert [each["fence"] for each in listed["promotions"]] == [1, 2]
    _, out, _ = run("versions", "rollback", store)
    assert f"Rolled back to {ids[0]}" in out
    code, _, err = run("versions", "promote", store, ids[1], "--fence", 2)
    assert code == 2
    assert "must be number 2. It is number 3" in err
    _, out, err = run("versions", "list", store)
    assert "current" in out
    assert "number 3" in err
    assert "Nothing to remove" in run("versions", "clean", store, "--keep", 2)[1]
    assert f"Removed 1 versions: {ids[1]}" in run("versions", "clean", store, "--keep", 1)[1]


def test_a_version_is_tried_and_the_trial_stopped(run: Any, log: Path, tmp_path: Path) -> None:
    store, ids = tmp_path / "store", []
    for model in ("popularity", "item_knn"):
        assert run("fit", model, log, "--out", tmp_path / model)[0] == 0
        ids.append(json.loads(run("versions", "add", store, tmp_path / model, "--json")[1])["version"])
    run("versions", "promote", store, ids[0])
    _, out, err = run("versions", "try", store, ids[1], "--share", "0.1")
    assert f"On trial: {ids[1]} (canary), 10.00% of the users get its lists" in out
    assert "leanrec versions stop" in err
    assert "on trial" in run("versions", "list", store)[1]
    opened = VersionStore(store)
    opened.get_record(opened.trials()[-1]).add({"lists candidate": 12.0, "lists without user": 3450.0}, [])
    for command in (("list", store), ("try", store, ids[1], "--share", "0.1")):
        _, _, err = run("versions", *command)
        assert "12 of the version on trial for 0 users" in err
        assert "3,450 of requests without a user" in err
    code, _, err = run("versions", "try", store, ids[1], "--shadow")
    assert code == 2
    assert "Stop that trial first (leanrec versions stop)" in err
    code, _, err = run("versions", "try", store, ids[1], "--share", "0.7")
    assert code == 2
    assert "--share must be a number from 0.0001 to 0.5" in err
    _, out, _ = run("versions", "stop", store, "--reason", "enough seen")
    assert f"Last trial: {ids[1]} (canary), stopped by" in out
    assert "enough seen" in out
    listed = json.loads(run("versions", "list", store, "--json")[1])
    assert (listed["fence"], listed["trials"][0]["outcome"]) == (4, "stopped")
    assert listed["trial_counts"]["lists candidate"] == 12
    assert "Start one with leanrec versions try" in run("versions", "stop", store)[2]


def test_a_folder_that_is_no_store_is_told(run: Any, tmp_path: Path) -> None:
    code, _, err = run("versions", "list", tmp_path)
    assert code == 2
    assert "must be a store of versions" in err
    assert "leanrec versions add" in err
