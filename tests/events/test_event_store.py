"""The event store of a server: what a server needs of every one."""

import contextlib
import inspect
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.event_store import EventStoreContract
from leanrec.events.event_reader import EventReader
from leanrec.events.event_store import EventStore
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.serving.workers.remote_store import RemoteEventStore


def test_a_store_without_a_way_to_write_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        EventStore()  # type: ignore[abstract]


@pytest.mark.parametrize("name", sorted(EventStore.__abstractmethods__ - EventReader.__abstractmethods__))
def test_all_stores_are_written_in_the_same_way(name: str) -> None:
    expected = list(inspect.signature(getattr(EventStore, name)).parameters)
    for store in (SQLiteEventStore, RemoteEventStore):
        assert list(inspect.signature(getattr(store, name)).parameters) == expected


class TestSQLite(EventStoreContract):
    @pytest.fixture
    def location(self, tmp_path: Path) -> Path:
        return tmp_path / "events.db"

    @pytest.fixture
    def damage(self, location: Path) -> Callable[[str, str], None]:
        def change_rows(table: str, change: str) -> None:
            with contextlib.closing(sqlite3.connect(location)) as connection, connection:
                connection.execute(f"UPDATE {table} SET {change}")

        return change_rows
