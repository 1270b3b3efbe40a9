"""The storage guard: lists are given up first, events last, and nothing is lost silently."""

import contextlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leanrec.errors import SettingError, SourceError
from leanrec.events import sqlite_store
from leanrec.events.records import ServedList, StorageLimits
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.storage_guard import StorageGuard
from leanrec.events.user_events import UserEvent
from leanrec.events.wal import check_wal

LIMITS = StorageLimits(lists_free_bytes=1000, events_free_bytes=100)


class Disk:
    """A disk with as much free space as a test says."""

    free = 10**12

    def __call__(self, _: Path) -> int:
        return self.free


@pytest.fixture
def disk() -> Disk:
    return Disk()


def make_event(number: int) -> UserEvent:
    return UserEvent(f"e{number}", 1, number, "click", number, 1.0)


def make_list(number: int) -> ServedList:
    return ServedList(f"r{number}", 1, "u", (1, 2), (1.0, 0.5))


def wait_until(is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def every_write_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_store, "_LOOK_WRITING_EVERY", 0.0)


@pytest.fixture
def log(tmp_path: Path, disk: Disk) -> Iterator[SQLiteEventStore]:
    with SQLiteEventStore(tmp_path / "events.db", limits=LIMITS, measure_free=disk) as log:
        yield log


def test_lists_are_given_up_first_and_events_last(log: SQLiteEventStore, disk: Disk) -> None:
    for number, free in enumerate((1000, 999, 100, 99, 0, 1000)):
        disk.free = free
        log.append_served(make_list(number))
        if free < 100:
            with pytest.raises(SourceError, match=rf"must have 100 B free. It has {free} B"):
                log.append([make_event(number)])
            with pytest.raises(SourceError, match="free some space, and send it again"):
                log.add_items({number: {}})
        else:
            assert len(log.append([make_event(number)]).new) == 1
    assert log.events().item.tolist() == [0, 1, 2, 5]  # reading goes on
    assert [each.request for each in log.served_lists()] == ["r0", "r5"]
    assert log.n_lost == 4


def test_a_disk_that_is_full_is_looked_at_again_without_requests(
    log: SQLiteEventStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "_LOOK_EVERY", 0.0)
    disk.free = 5
    wait_until(lambda: log.guard.find_problem() is not None)
    disk.free = 5000
    wait_until(lambda: log.guard.find_problem() is None)


def test_a_disk_that_cannot_be_measured_stops_nothing(tmp_path: Path) -> None:
    def fail(_: Path) -> int:
        raise PermissionError

    with SQLiteEventStore(tmp_path / "events.db", measure_free=fail) as log:
        assert len(log.append([make_event(1)]).new) == 1


def test_a_long_reader_bounds_the_write_ahead_log(tmp_path: Path) -> None:
    path, limit = tmp_path / "events.db", 400_000
    sizes = []
    with SQLiteEventStore(path, limits=StorageLimits(wal_bytes=limit)) as log:
        log.append([make_event(0)])
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchone()
            number, refusal = 0, None
            while refusal is None:
                number += 1
                assert number < 1000
                log.append_served(make_list(number))
                try:
                    log.append([make_event(number * 1000 + at) for at in range(50)])
                except SourceError as error:
                    refusal = str(error)
                sizes.append(log.guard.wal_bytes)
            assert re.search(r"events\.db-wal beside .* must have at most 400 kB.* end that program", refusal)
            assert limit / 2 < max(sizes) < limit + 200_000
            assert log.n_lost > 0
            assert len(log) == 1 + 50 * (number - 1)  # what was accepted is there
        assert len(log.append([make_event(1)]).new) == 1  # the reader is gone
        assert log.guard.wal_bytes < limit / 2
        check_wal(path)


def test_a_guard_keeps_the_waiting_time_of_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
        guard = StorageGuard(path, StorageLimits(wal_bytes=1))
        guard.prepare(connection)
        guard.look(connection)
        assert connection.execute("PRAGMA busy_timeout").fetchone() == (10_000,)
        assert guard.wal_bytes == 0


def test_limits_must_have_an_order() -> None:
    with pytest.raises(SettingError, match="lists_free_bytes"):
        StorageLimits(lists_free_bytes=1, events_free_bytes=2)
