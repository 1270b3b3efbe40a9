"""SQL of the event store in one SQLite file: the tables, and statements that write many rows at once."""

import functools
import itertools
import json
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from leanrec.events.records import AppendResult, RetentionPolicy
from leanrec.events.rows import build_event_row, index_shown, select_new
from leanrec.events.seals import seal_extended, seal_row
from leanrec.events.sqlite_reader import (
    APPLICATION_ID,
    FORMAT_VERSION,
    LATER_COLUMNS,
    check_format,
    find_last_seq,
)
from leanrec.events.user_events import UserEvent
from leanrec.events.wal import check_wal

__all__ = ["append_batches", "delete_old_lists", "insert_lists", "open_database"]

_LATEST = 9  # lists that tell the time; a wrong clock must be that of most of them
_DAY = 86_400_000  # milliseconds

# Columns of external ids have no type, so that 12 stays a number and "12" stays text.
_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT_VERSION};
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, user NOT NULL, item NOT NULL, event_type TEXT NOT NULL,
    time INTEGER NOT NULL, weight REAL NOT NULL, rating REAL, request TEXT, rank INTEGER, checksum INTEGER NOT NULL,
    propensity REAL
);
CREATE TABLE IF NOT EXISTS served (
    seq INTEGER PRIMARY KEY, request TEXT NOT NULL UNIQUE, time INTEGER NOT NULL, user, fallback TEXT,
    items TEXT NOT NULL, scores TEXT NOT NULL, checksum INTEGER NOT NULL,
    version TEXT, policy TEXT, arm TEXT, rung TEXT, propensities TEXT
);
CREATE INDEX IF NOT EXISTS served_by_time ON served (time);
CREATE TABLE IF NOT EXISTS item (
    seq INTEGER PRIMARY KEY, id NOT NULL UNIQUE, content TEXT NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS hidden (
    seq INTEGER PRIMARY KEY, id NOT NULL UNIQUE, hidden INTEGER NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS list_rules (
    revision INTEGER PRIMARY KEY, rules TEXT NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS origin (
    seq INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE, description TEXT NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS forgotten (
    number INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, n_events INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS log (id TEXT NOT NULL, checksum INTEGER NOT NULL);
"""
# One statement for many values: each step of a statement releases the interpreter's lock, and getting it back from a busy
# thread takes as long as a turn of that thread.
_FIND_IDS = "SELECT json_group_array(id) FROM event WHERE id IN (SELECT value FROM json_each(?))"
_FIND_LISTS = """
SELECT json_group_array(json_array(request, json(items), json(propensities))) FROM served
WHERE request IN (SELECT value FROM json_each(?))
"""
_INSERT_LISTS = (
    "INSERT OR REPLACE INTO served (request, time, user, fallback, items, scores, version, policy, arm, rung, propensities, "
    "checksum)"
)
_INSERT_EVENTS = (
    "INSERT INTO event (seq, id, user, item, event_type, time, weight, rating, request, rank, propensity, checksum)"
)
# Fewer than 33 rows are one statement; each number of rows has a statement of its own, which the connection keeps prepared.
_MANY_ROWS, _FEW_ROWS = 128, 32


def append_batches(
    connection: sqlite3.Connection, batches: Sequence[Sequence[UserEvent]], last: int
) -> Iterator[AppendResult]:
    """Write the events of all batches, except those whose id is there already or came before.

    Args:
        connection: in a transaction.
        batches: the events.
        last: sequence number of the last event that the store has had; it is looked up again where the rows do not fit.
    """
    if not batches:
        return
    new_of = select_new(batches, set())
    is_one_statement = sum(map(len, new_of)) <= _FEW_ROWS
    if not is_one_statement:
        connection.execute("SAVEPOINT batches")
    try:
        _insert_events(connection, new_of, last)
    except sqlite3.IntegrityError:  # an id is there already, which is rare: most batches need not look for their ids
        if not is_one_statement:
            connection.execute("ROLLBACK TO batches")
        found = connection.execute(_FIND_IDS, (json.dumps([str(each.id) for batch in batches for each in batch]),))
        new_of, last = select_new(batches, set(json.loads(found.fetchone()[0]))), find_last_seq(connection)
        _insert_events(connection, new_of, last)
    for batch, own in zip(batches, new_of, strict=True):
        last += len(own)
        yield AppendResult(tuple(own), len(batch) - len(own), last)


def _insert_events(connection: sqlite3.Connection, new_of: Sequence[Sequence[UserEvent]], last: int) -> None:
    new = [each for own in new_of for each in own]
    # Rank and propensity of each item of the served lists that the events name.
    requests = {each.request for each in new if each.request is not None}
    lists = connection.execute(_FIND_LISTS, (json.dumps(list(requests)),)).fetchone()[0] if requests else "[]"
    shown = index_shown(json.loads(lists))
    rows = []
    for seq, each in enumerate(new, last + 1):
        row = build_event_row(each, shown)
        rows.append((seq, *row, seal_extended(row, 1)))
    _insert_rows(connection, _INSERT_EVENTS, rows)


def insert_lists(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write rows of served lists; one with the request of another list takes its place."""
    _insert_rows(connection, _INSERT_LISTS, rows)


def _insert_rows(connection: sqlite3.Connection, insert: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows by statements of many rows each."""
    start = 0
    while left := len(rows) - start:
        size = _MANY_ROWS if left >= _MANY_ROWS else min(left, _FEW_ROWS)
        part = rows[start : start + size]
        connection.execute(_write_insert(insert, size, len(part[0])), list(itertools.chain.from_iterable(part)))
        start += size


@functools.cache
def _write_insert(insert: str, n_rows: int, n_columns: int) -> str:
    """A statement that inserts so many rows."""
    rows = ", ".join([f"({', '.join('?' * n_columns)})"] * n_rows)
    return f"{insert} VALUES {rows}"


def open_database(path: Path) -> sqlite3.Connection:
    """Open a file for writing, and create its tables or bring them up to date. Raises SourceError and sqlite3 errors."""
    check_wal(path)  # before SQLite opens it and drops what it cannot read
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        is_new = check_format(path, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten with zeros
        upgrade = "" if is_new else _write_upgrade(connection)
        connection.executescript(f"BEGIN IMMEDIATE; {upgrade} {_SCHEMA} COMMIT;")
        identifier = uuid.uuid4().hex
        insert = "INSERT INTO log SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM log)"
        connection.execute(insert, (identifier, seal_row(identifier)))
    except BaseException:
        connection.close()
        raise
    return connection


def _write_upgrade(connection: sqlite3.Connection) -> str:
    """The statements that give the tables of an older file the columns of today. They change no row."""
    statements = []
    for table, columns in LATER_COLUMNS.items():
        found = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))}
        kind = "REAL" if table == "event" else "TEXT"
        statements += [f"ALTER TABLE {table} ADD COLUMN {each} {kind};" for each in columns if each not in found]
    return " ".join(statements)


def delete_old_lists(connection: sqlite3.Connection, retention: RetentionPolicy, now: int) -> None:
    """Delete served lists that are too old or too many. O(K log S) for K of S lists.

    Old is measured from the median time of the latest lists, and not from a later time than ``now``: a list with a clock far
    ahead or behind deletes no other. Of too many, those that were written first are deleted, whatever their time.
    """
    latest = "SELECT time FROM (SELECT time FROM served ORDER BY seq DESC LIMIT ?) ORDER BY time"
    times = [each for (each,) in connection.execute(latest, (_LATEST,))]
    newest = min(now, times[(len(times) - 1) // 2])
    connection.execute("DELETE FROM served WHERE time < ?", (newest - retention.max_days * _DAY,))
    surplus = connection.execute("SELECT count(*) FROM served").fetchone()[0] - retention.max_lists
    if surplus > 0:
        connection.execute("DELETE FROM served WHERE seq IN (SELECT seq FROM served ORDER BY seq LIMIT ?)", (surplus,))
