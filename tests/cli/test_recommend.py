"""``leanrec recommend``, ``similar`` and ``explain``, also with the event log of a server."""

import json
from pathlib import Path
from typing import Any

import pytest

from leanrec import artifacts
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
        log.bind(Pipeline.load(model).data_origin)
        log.append(reactions)
    return path


def click(user: str, item: str) -> UserEvent:
    return UserEvent(f"{user}-{item}", user, item, "click", 2_000_000_000, 1.0)


def ids(out: str) -> list[str]:
    return [item["id"] for item in json.loads(out)["items"]]


def test_minimal_csv_gives_recommendations(run: Any, log: Path, tmp_path: Path) -> None:
    code, _, _ = run("fit", "content", log, "--out", tmp_path / "m")
    assert code == 0
    code, out, _ = run("recommend", tmp_path / "m", "--user", 1, "-n", 5, "--json")
    served = json.loads(out)
    assert code == 0
    assert [item["id"] for item in served["items"]][:1] == ["a3"]
    assert {"a1", "a2"}.isdisjoint(item["id"] for item in served["items"])
    assert served["items"][0]["title"] == "stars and wars in space"


def test_recommend_shows_titles_scores_and_reasons(run: Any, movies: Path, tmp_path: Path) -> None:
    plot = tmp_path / "top5.png"
    code, out, err = run("recommend", movies, "--user", 1, "-n", 5, "--plot", plot)
    assert code == 0
    assert "because you" in out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert str(plot) in err.replace("\n", "")


def test_new_user_with_and_without_history(run: Any, movies: Path) -> None:
    code, out, _ = run("recommend", movies, "--history", "1,260", "-n", 3, "--json")
    assert code == 0
    assert len(json.loads(out)["items"]) == 3
    code, out, _ = run("recommend", movies, "--history", "", "-n", 3, "--json")
    assert code == 0
    assert json.loads(out)["fallback"] == "popularity"


def test_recommend_applies_filters(run: Any, movies: Path) -> None:
    _, out, _ = run("recommend", movies, "--user", 1, "--where", "genres=Comedy", "--deny", "2918", "-n", 20, "--json")
    ids = [item["id"] for item in json.loads(out)["items"]]
    assert 2918 not in ids
    assert len(ids) == 20


def test_similar_and_explain(run: Any, movies: Path) -> None:
    _, out, _ = run("similar", movies, "--item", 260, "-n", 2, "--json")
    assert {item["id"] for item in json.loads(out)["items"]} == {1196, 1210}
    _, out, _ = run("explain", movies, "--user", 1, "--item", 589, "--json")
    assert json.loads(out)["contributions"]


def test_event_log_beside_the_model_is_used(run: Any, model: Path) -> None:
    code, out, err = run("recommend", model, "--user", 1, "--json")
    assert (code, sorted(ids(out)), "log" in err) == (0, ["c", "d"], False)
    path = served(model, Path(f"{model}.events.db"), click("1", "d"), click("new", "d"), click("1", "gone"))
    code, out, err = run("recommend", model, "--user", 1, "--json")
    assert (code, ids(out)) == (0, ["c"])
    assert f"With the event log {path}: 2 events and 0 items added since the fit." in err
    assert "1 events of the log cannot be used" in err
    assert run("explain", model, "--user", "new", "--item", "art, one", "--json")[0] == 0
    assert run("similar", model, "--item", "d", "--event-log", path)[0] == 0


def test_event_log_of_other_data_is_refused(run: Any, model: Path, source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(ITEMS.replace("3,", "9,"))
    run("fit", "content", other, "--out", tmp_path / "o")
    path = served(tmp_path / "o", Path(f"{model}.events.db"), click("1", "d"))
    code, out, err = run("recommend", model, "--user", 1, "--json")
    assert (code, sorted(ids(out))) == (0, ["c", "d"])
    assert "The event log beside the model was not used" in err
    code, _, err = run("recommend", model, "--user", 1, "--event-log", path)
    assert code == 2
    assert "belongs to other data" in " ".join(err.split())
    assert "serve it with --rebind-log" in " ".join(err.split())
    code, _, err = run("recommend", model, "--user", 1, "--event-log", tmp_path / "none.db")
    assert code == 2
    assert "cannot be used" in err


def test_fit_adds_the_event_log(run: Any, model: Path, source: Path) -> None:
    path = served(model, Path(f"{model}.events.db"), click("1", "d"), click("new", "gone"))
    code, _, err = run("fit", "ease", source, "--out", model)
    assert code == 0
    assert f"--event-log {path} adds them" in err
    code, out, err = run("fit", "ease", source, "--out", model, "--event-log", path)
    assert code == 0
    assert "8 events of 4 users and 5 items" in out
    assert f"2 events of {path} joined the data" in err
    code, out, err = run("recommend", model, "--user", 1, "--json")
    assert "0 events and 0 items added since the fit" in err
    assert sorted(ids(out)) == ["c", "gone"]


def test_ids_may_contain_commas(run: Any, model: Path) -> None:
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


def test_item_without_contributions_is_explained(run: Any, model: Path) -> None:
    code, out, _ = run("explain", model, "--history", "art, one", "--item", "c")
    assert code == 0
    assert "no item of the history contributes to its score" in out


@pytest.mark.parametrize("damage", ["truncate", "swap", "delete", "not json"])
def test_damaged_model_does_not_load(run: Any, log: Path, tmp_path: Path, damage: str) -> None:
    model = tmp_path / "m"
    run("fit", "ease", log, "--out", model)
    array = model / "value.model.weights.npy"
    data = array.read_bytes()
    if damage == "truncate":
        array.write_bytes(data[:-4])
    elif damage == "swap":
        array.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "delete":
        array.unlink()
    else:
        (model / "manifest.json").write_text("{")
    code, _, err = run("recommend", model, "--user", 1)
    assert code == 2
    assert "damaged" in " ".join(err.split())


def test_model_with_a_foreign_class_is_not_loaded(run: Any, log: Path, tmp_path: Path) -> None:
    model = tmp_path / "m"
    run("fit", "popularity", log, "--out", model)
    manifest = json.loads((model / "manifest.json").read_text())
    manifest.pop("sha256")
    manifest["value"]["$type"] = "subprocess:Popen"
    # Whoever forges a manifest can seal it too: what a class may be is checked by itself.
    (model / "manifest.json").write_text(json.dumps(manifest | {"sha256": artifacts._manifest_digest(manifest)}))
    code, _, err = run("recommend", model, "--user", 1)
    assert code == 2
    assert "It was not loaded" in " ".join(err.split())


def test_lists_of_all_users_go_to_a_file(run: Any, model: Path, tmp_path: Path) -> None:
    target = tmp_path / "lists.csv"
    code, out, _ = run("recommend", model, "--all-users", "--out", target, "-n", 2)
    assert code == 0
    assert f"for 3 users in {target}" in out
    assert target.read_text().startswith("user,rank,item,title,score,source")
    code, out, _ = run("recommend", model, "--all-users", "--out", target, "--json")
    assert json.loads(out)["users"] == 3
    for words, expected in (
        (("--all-users",), "--out lists.parquet"),
        (("--out", target), "--all-users"),
        (("--all-users", "--out", target, "--user", "1"), "leave out --user"),
        (("--all-users", "--out", tmp_path / "x.txt"), ".parquet or .csv"),
        ((), "--all-users --out FILE"),
    ):
        code, _, err = run("recommend", model, *words)
        assert code == 2
        assert expected in err
