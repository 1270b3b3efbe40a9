"""Read-only access to an event store."""

import contextlib
import itertools
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest

from leanrec.errors import SourceError
from leanrec.events.records import LogSummary, ServedList
from leanrec.events.sqlite_reader import FORMAT_VERSION, SQLiteEventReader
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.user_events import UserEvent


def test_ranks_are_counted_over_lists_and_positive_events(tmp_path: Path) -> None:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        assert log.count_by_rank().shown.tolist() == []
        log.append_served(ServedList("a", 1, 1, (10, 11, 12), (3.0, 2.0, 1.0)))
        log.append_served(ServedList("b", 2, None, (10,), (3.0,)))
        log.append_served(ServedList("c", 2, None, (), ()))
        weights = {10: 1.0, 11: 1.0, 12: 0.0}
        log.append([UserEvent(str(item), 1, item, "click", 5, w, request="a") for item, w in weights.items()])
        counts = log.count_by_rank()
    assert counts.shown.tolist() == [2, 1, 1]
    assert counts.clicked.tolist() == [1, 1, 0]


def test_a_reader_sees_what_a_server_has_written(tmp_path: Path) -> None:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        log.append([UserEvent("a", "user", 7, "click", 5, 1.0)])
        reader = SQLiteEventReader(tmp_path / "events.db")
        assert reader.events().user.tolist() == ["user"]
        log.append([UserEvent("b", "user", 8, "click", 6, 1.0)])
        assert len(reader) == 2
        assert reader.id == log.id


def test_a_reader_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be used"):
        SQLiteEventReader(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    with pytest.raises(SourceError, match="It is an empty file"):
        SQLiteEventReader(tmp_path / "empty.db")


def fill_store(path: Path) -> None:
    with SQLiteEventStore(path) as log:
        log.append_served(ServedList("a", 1, 1, (10, 11, 12), (3.0, 2.0, 1.0)))
        log.add_items({77: {"title": "New"}})
        log.append([UserEvent(f"e{i}", i % 3, 10 + i % 5, "click", 5 + i, 1.0, request="a") for i in range(40)])


def read_store(path: Path) -> tuple[object, ...]:
    reader = SQLiteEventReader(path)
    columns = {name: column.tolist() for name, column in reader.events().columns().items() if name != "rating"}
    ids, table = reader.items()
    return columns, reader.events().event_types, ids.tolist(), table.row(0), list(reader.served_lists()), reader.id


def test_a_damaged_file_never_gives_other_events(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    fill_store(path)
    whole, content = read_store(path), path.read_bytes()
    rng = np.random.default_rng(5)
    used = np.flatnonzero(np.frombuffer(content, np.uint8))
    refused = 0
    for position in rng.choice(used, 150, replace=False).tolist():
        damaged = bytearray(content)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            assert read_store(path) == whole
        except SourceError:
            refused += 1
    assert refused > 50
    for length in (len(content) // 2, len(content) - 4096, 200):
        path.write_bytes(content[:length])
        with pytest.raises(SourceError):
            read_store(path)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET item = 11 WHERE seq = 1",
        "UPDATE event SET weight = 'x' WHERE seq = 3",
        "DELETE FROM event WHERE seq = 7",
        "UPDATE item SET content = '{}'",
        "UPDATE log SET id = 'other'",
        "DELETE FROM log",
        "UPDATE served SET items = '[]'",
    ],
)
def test_rows_that_were_changed_are_refused(tmp_path: Path, statement: str) -> None:
    fill_store(tmp_path / "events.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "events.db")) as connection:
        connection.execute(statement)
        connection.commit()
    with pytest.raises(SourceError, match="is damaged: .* Restore it from a backup"):
        read_store(tmp_path / "events.db")


def test_a_backup_is_one_state_in_one_file_while_events_are_written(tmp_path: Path) -> None:
    path, copies = tmp_path / "events.db", tmp_path / "copies"
    copies.mkdir()
    fill_store(path)
    stop = threading.Event()
    with SQLiteEventStore(path) as log:

        def write() -> None:
            for number in itertools.count(40):
                log.append([UserEvent(f"e{number}", 1, 10, "click", number, 1.0)])
                if stop.is_set():
                    return

        writer = threading.Thread(target=write)
        writer.start()
        summaries = [SQLiteEventReader(path).back_up(copies / f"{number}.db") for number in range(3)]
        stop.set()
        writer.join()
    assert len(list(copies.iterdir())) == 3
    counts = [each.events for each in summaries]
    assert sorted(counts) == counts
    with SQLiteEventStore(copies / "2.db") as restored:
        assert restored.events().time.tolist() == [5 + i for i in range(40)] + list(range(40, counts[-1]))
        assert restored.append([UserEvent("e1", 1, 10, "click", 1, 1.0)]).duplicates == 1
        assert restored.verify() == LogSummary(counts[-1], counts[-1], 1, 1, 0, FORMAT_VERSION)


def test_a_backup_of_damage_is_refused_and_no_file_is_replaced(tmp_path: Path) -> None:
    path, copy = tmp_path / "events.db", tmp_path / "copy.db"
    fill_store(path)
    SQLiteEventReader(path).back_up(copy)
    with pytest.raises(SourceError, match="must be a new file"):
        SQLiteEventReader(path).back_up(copy)
    with pytest.raises(SourceError, match="No file was written"):
        SQLiteEventReader(path).back_up(tmp_path / "no" / "copy.db")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE served SET scores = '[]'")
        connection.commit()
    with pytest.raises(SourceError, match="is damaged"):
        SQLiteEventReader(path).verify()
    copy.unlink()
    with pytest.raises(SourceError, match=r"events\.db is damaged"):
        SQLiteEventReader(path).back_up(copy)
    assert sorted(file.name for file in tmp_path.iterdir() if "copy" in file.name) == []
