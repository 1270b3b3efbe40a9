"""Trees of JSON by user and item: each form of leaf is read as what it says, and several tables stay separate."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.followed_advice import list_pairs, run_command
from leanrec.data.ingest.ingest import ingest
from leanrec.errors import LeanrecError, SourceError

EVENTS = [
    ("7", "12", 5, 1_600_000_000),
    ("7", "13", 1, 1_600_000_060),
    ("8", "12", 4, 1_600_000_120),
    ("9", "14", 2, 1_600_000_180),
]
RATED = [(user, item, float(rating)) for user, item, rating, _ in EVENTS]
PAIRS = [each[:2] for each in RATED]
TIMES = [each[3] for each in EVENTS]


def grow(leaf: Any) -> dict[str, dict[str, Any]]:
    """A tree whose leaves are made of user, item, rating and time."""
    tree: dict[str, dict[str, Any]] = {}
    for event in EVENTS:
        tree.setdefault(event[0], {})[event[1]] = leaf(*event)
    return tree


FIELDS = grow(lambda _user, _item, rating, time: {"rating": rating, "ts": time})


def read(path: Path, document: Any) -> Any:
    path.write_text(json.dumps(document, indent=1))
    return ingest(path)


@pytest.mark.parametrize(
    "document", [FIELDS, {"ratings": FIELDS}, {"app": {"ratings": FIELDS}}, {"version": 3, "ratings": FIELDS}]
)
def test_fields_below_users_and_items(tmp_path: Path, document: Any) -> None:
    result = read(tmp_path / "tree.json", document)
    assert list_pairs(result) == RATED
    assert result.data.events.time.tolist() == TIMES


def test_events_below_users(tmp_path: Path) -> None:
    tree = grow(lambda _user, item, rating, time: {"itemId": item, "rating": rating, "ts": time})
    pushed = {user: {f"-N{i}": event for i, event in enumerate(items.values())} for user, items in tree.items()}
    result = read(tmp_path / "tree.json", {"events": pushed})
    assert list_pairs(result) == RATED
    assert result.data.events.time.tolist() == TIMES


def test_events_below_two_other_keys(tmp_path: Path) -> None:
    tree = {"2024": {"a": {"user": "7", "item": "12", "rating": 5}, "b": {"user": "7", "item": "13", "rating": 1}}}
    tree["2025"] = {"c": {"user": "8", "item": "12", "rating": 4}, "d": {"user": "9", "item": "14", "rating": 2}}
    assert list_pairs(read(tmp_path / "tree.json", tree)) == RATED


def test_plain_leaves(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    assert list_pairs(read(path, grow(lambda _user, _item, rating, _time: rating))) == RATED
    assert [each[:2] for each in list_pairs(read(path, {"likes": grow(lambda *_: True)}))] == PAIRS
    timed = read(path, {"views": grow(lambda *event: event[3])})
    assert timed.data.events.time.tolist() == TIMES
    assert timed.data.events.rating is None
    dated = read(path, {"views": grow(lambda *event: f"2024-03-0{event[2]}")})
    assert sorted(each[:2] for each in list_pairs(dated)) == PAIRS
    assert dated.report.has_clock


def test_false_is_no_liking(tmp_path: Path) -> None:
    result = read(tmp_path / "tree.json", grow(lambda _user, _item, rating, _time: rating > 3))
    assert result.data.events.weight.tolist() == [1, 0, 1, 0]


def test_several_tables_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "it's all.json"
    people = {user: {"name": f"N{user}", "age": 30} for user in "789"}
    with pytest.raises(
        SourceError, match="holds several tables: users, ratings. Write the one that is the log, such as ratings"
    ) as refusal:
        read(path, {"users": people, "ratings": FIELDS})
    assert list_pairs(ingest(run_command(str(refusal.value), tmp_path))) == RATED


@pytest.mark.parametrize("leaf", [lambda *_: "tea", lambda *_: {"name": "tea"}, lambda *_: [1]])
def test_other_trees_are_refused(tmp_path: Path, leaf: Any) -> None:
    with pytest.raises(LeanrecError):
        read(tmp_path / "tree.json", grow(leaf))
