"""JSON documents that are a table in another form: frames of pandas, dictionaries of users, arrays of arrays."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import leanrec

USERS = [f"u{i % 4}" for i in range(24)]
ITEMS = [f"i{i % 6}" for i in range(24)]
FRAME = pd.DataFrame(
    {"user_id": USERS, "item_id": ITEMS, "rating": np.arange(24) % 5 + 1, "ts": np.arange(24) + 1_600_000_000}
)
ROWS = FRAME.to_dict("records")


def read_events(path: Path, document: Any, **options: Any) -> list[tuple[Any, ...]]:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    data, _ = leanrec.ingest(path, **options)
    events = data.events
    ratings = [None] * len(events) if events.rating is None else events.rating.tolist()
    users, items = (each.ids[rows].tolist() for each, rows in ((data.users, events.user), (data.items, events.item)))
    return sorted(zip(users, items, ratings, events.time.tolist(), strict=True))


EXPECTED = sorted(zip(USERS, ITEMS, (FRAME.rating * 1.0).tolist(), FRAME.ts.tolist(), strict=True))


@pytest.mark.parametrize("orient", ["columns", "index", "split", "records", "table"])
def test_every_orientation_of_pandas(orient: Any, tmp_path: Path) -> None:
    assert read_events(tmp_path / "log.json", FRAME.to_json(orient=orient)) == EXPECTED


def test_filtered_and_numeric_frames(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user_id": np.arange(50) % 4, "item_id": np.arange(50) % 6})[3::2]
    for orient in ("columns", "index"):
        found = read_events(tmp_path / "log.json", frame.to_json(orient=orient))
        assert [row[:2] for row in found] == sorted(zip(frame.user_id.tolist(), frame.item_id.tolist(), strict=True))


@pytest.mark.parametrize(
    "document",
    [
        [list(FRAME), *FRAME.to_dict("split")["data"]],
        FRAME.to_dict("list"),
        {"ratings": {f"-N{i}": row for i, row in enumerate(ROWS)}},
        {f"-N{i}": row for i, row in enumerate(ROWS)},
        {"data": ROWS, "meta": {"count": 24}},
        {"results": ROWS, "errors": []},
    ],
    ids=["header", "lists", "pushed", "keys", "data", "results"],
)
def test_other_tables(document: Any, tmp_path: Path) -> None:
    assert read_events(tmp_path / "log.json", document) == EXPECTED


def test_arrays_without_names_are_numbered(tmp_path: Path) -> None:
    columns = {"user": "1", "item": "2", "rating": "3", "time": "4"}
    assert read_events(tmp_path / "log.json", FRAME.to_dict("split")["data"], columns=columns) == EXPECTED


@pytest.mark.parametrize("ids", [("Ann", "Film A", "Film B"), ("u1", "0", "1"), ("7", "10", "20")])
def test_ratings_of_users(ids: tuple[str, str, str], tmp_path: Path) -> None:
    user, one, two = ids
    document = {user: {one: 2.5, two: 3}, "12": {one: 4, two: 1}}
    expected = sorted([(user, one, 2.5, 0), (user, two, 3.0, 0), ("12", one, 4.0, 0), ("12", two, 1.0, 0)])
    found = read_events(tmp_path / "critics.json", json.dumps(document, indent=1))
    assert sorted((str(u), str(i), r, t) for u, i, r, t in found) == expected


def test_items_of_users(tmp_path: Path) -> None:
    found = read_events(tmp_path / "history.json", {"u1": ["a", "b"], "u2": ["c"]})
    assert found == [("u1", "a", None, 0), ("u1", "b", None, 0), ("u2", "c", None, 0)]
