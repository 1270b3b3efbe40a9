"""Statements of the SQLite store: many rows at once are the rows one by one."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from leanrec.events.records import RetentionPolicy, ServedList
from leanrec.events.rows import build_list_row
from leanrec.events.seals import seal_row
from leanrec.events.sqlite_statements import append_batches, delete_old_lists, insert_lists, open_database
from leanrec.events.user_events import UserEvent

NOW = 1_800_000_000
DAY = 86_400


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(open_database(tmp_path / "events.db")) as connection:
        yield connection


def make_event(number: int, request: str | None = None, item: int = 7) -> UserEvent:
    return UserEvent(f"e-{number}", "ann", item, "click", NOW, 1.0, request=request)


def insert(connection: sqlite3.Connection, days: list[float]) -> None:
    lists = [ServedList(f"r-{at}", NOW + DAY * day, "ann", (7, 8), (2.0, 1.0), None) for at, day in enumerate(days)]
    rows = [build_list_row(each) for each in lists]
    insert_lists(connection, [(*row, seal_row(*row)) for row in rows])


def list_requests(connection: sqlite3.Connection) -> list[str]:
    return [each for (each,) in connection.execute("SELECT request FROM served ORDER BY seq")]


@pytest.mark.parametrize("n", [0, 1, 2, 31, 32, 33, 160, 300])
def test_any_number_of_events_is_written_in_order(connection: sqlite3.Connection, n: int) -> None:
    batches = [[make_event(number) for number in range(n)], [make_event(0), make_event(n)]]
    appended = list(append_batches(connection, batches, 0))
    rows = connection.execute("SELECT seq, id FROM event ORDER BY seq").fetchall()
    assert rows == [(number + 1, f"e-{number}") for number in range(n + 1)]
    assert [(len(each.new), each.duplicates, each.last_seq) for each in appended] == (
        [(n, 0, n), (1, 1, n + 1)] if n else [(0, 0, 0), (1, 1, 1)]
    )
    (again,) = append_batches(connection, [[make_event(0), make_event(n + 5)]], n + 1)
    assert (len(again.new), again.duplicates, again.last_seq) == (1, 1, n + 2)
    more = [make_event(number) for number in range(n + 6, n + 106)]
    (last,) = append_batches(connection, [[*more, make_event(0)]], n + 2)  # the last of several statements fails
    assert (len(last.new), last.duplicates, last.last_seq) == (100, 1, n + 102)
    assert connection.execute("SELECT count(*), max(seq) FROM event").fetchone() == (n + 102, n + 102)


def test_rows_that_another_program_wrote_stay(connection: sqlite3.Connection) -> None:
    list(append_batches(connection, [[make_event(number) for number in range(3)]], 0))
    (appended,) = append_batches(connection, [[make_event(9)]], 1)  # a number that is taken
    assert appended.last_seq == 4
    assert [each for (each,) in connection.execute("SELECT id FROM event ORDER BY seq")] == ["e-0", "e-1", "e-2", "e-9"]


def test_a_single_event_is_two_statements_with_the_lists_before_it(connection: sqlite3.Connection) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    insert(connection, [0.0] * 20)
    list(append_batches(connection, [[make_event(1)]], 0))
    assert [each.split(" (")[0] for each in statements] == ["INSERT OR REPLACE INTO served", "INSERT INTO event"]


def test_an_event_gets_the_rank_of_its_item_in_the_list_that_it_names(connection: sqlite3.Connection) -> None:
    insert(connection, [0])
    list(append_batches(connection, [[make_event(1, "r-0", 8), make_event(2, "r-0", 9), make_event(3)]], 0))
    assert connection.execute("SELECT rank FROM event ORDER BY seq").fetchall() == [(1,), (None,), (None,)]


def test_old_lists_are_deleted_by_the_median_of_the_latest_times(connection: sqlite3.Connection) -> None:
    insert(connection, [-40, -20, -1, 0, 0, 0, 0, 5000, -5000, 0])
    delete_old_lists(connection, RetentionPolicy(max_days=30, max_lists=100), 1000 * NOW)
    assert list_requests(connection) == [f"r-{at}" for at in (1, 2, 3, 4, 5, 6, 7, 9)]
    delete_old_lists(connection, RetentionPolicy(max_days=30, max_lists=3), 1000 * NOW)
    assert list_requests(connection) == ["r-6", "r-7", "r-9"]


def test_a_database_that_is_opened_again_keeps_its_id(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        with contextlib.closing(open_database(tmp_path / "events.db")) as connection:
            ids += connection.execute("SELECT id FROM log").fetchall()
    assert len(ids) == 2
    assert len(set(ids)) == 1
