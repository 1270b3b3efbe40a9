"""Backup of an event log in PostgreSQL: an SQLite event log with the same id, numbers and checksums."""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from leanrec.events.records import LogSummary
from leanrec.events.seals import seal_row
from leanrec.events.sqlite_reader import SQLiteEventReader
from leanrec.events.sqlite_store import SQLiteEventStore

__all__ = ["write_backup"]

_COLUMNS = {
    "event": "seq, id, user, item, event_type, time, weight, rating, request, rank, propensity, checksum",
    "served": "seq, request, time, user, fallback, items, scores, version, policy, arm, rung, propensities, checksum",
    "item": "seq, id, content, checksum",
    "hidden": "seq, id, hidden, checksum",
    "list_rules": "revision, rules, checksum",
    "origin": "seq, fingerprint, description, checksum",
    "forgotten": "number, digest, n_events, last_seq, checksum",
}


def write_backup(path: Path, log_id: str, blocks: Iterable[tuple[str, Sequence[tuple[Any, ...]]]]) -> LogSummary:
    """Write the rows of all tables to a new file, which is on disk at the return, and verify it.

    Args:
        path: the new file.
        log_id: id of the log.
        blocks: rows by table, each with its number first and its checksum last.
    """
    try:
        SQLiteEventStore(path).close()  # makes the tables
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE log SET id = ?, checksum = ?", (log_id, seal_row(log_id)))
            for table, rows in blocks:
                columns = _COLUMNS[table]
                places = ", ".join("?" * len(columns.split(",")))
                kept = [row[1:] for row in rows] if table in {"forgotten", "list_rules"} else rows
                connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", kept)  # noqa: S608
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
        return SQLiteEventReader(path).verify()
    finally:
        Path(f"{path}.lock").unlink(missing_ok=True)
