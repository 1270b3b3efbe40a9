"""The reader proxy: it answers as the reader behind it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.event_store import fill_store
from leanrec.events.sqlite_reader import SQLiteEventReader
from leanrec.serving.workers.reader_proxy import ReaderProxy


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> SQLiteEventReader:
    path = tmp_path_factory.mktemp("log") / "events.db"
    fill_store(path)
    return SQLiteEventReader(path)


def _ask(reader: Any, name: str, arguments: dict[str, Any]) -> Any:
    found = getattr(reader, name)
    found = found(**arguments) if callable(found) else found
    return list(found) if name == "served_lists" else found


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("name", {}),
        ("location", {}),
        ("id", {}),
        ("origins", {}),
        ("is_empty", {}),
        ("last_seq", {}),
        ("user_events", {"after": 1, "until": 3}),
        ("find_seal", {"seq": 3}),
        ("snapshot_path", {}),
        ("snapshot_table", {}),
        ("user_events_of", {"items": [12], "until": 5}),
        ("forgotten_users", {"after": 0}),
        ("item_contents", {}),
        ("hidden_items", {}),
        ("shown_items", {}),
        ("served_lists", {}),
        ("verify", {}),
        ("__len__", {}),
    ],
)
def test_it_answers_as_its_reader(reader: SQLiteEventReader, name: str, arguments: dict[str, Any]) -> None:
    assert _ask(ReaderProxy(reader), name, arguments) == _ask(reader, name, arguments)


def test_arrays_and_copies_are_those_of_its_reader(reader: SQLiteEventReader, tmp_path: Path) -> None:
    proxy = ReaderProxy(reader)
    ((events, seal),) = proxy.event_blocks(after=0, until=5)
    assert (len(events), seal) == (3, reader.find_seal(5))
    np.testing.assert_array_equal(proxy.count_by_rank().shown, reader.count_by_rank().shown)
    assert proxy.back_up(tmp_path / "copy.db") == reader.verify()
