"""Read-only access to an SQLite event store, and the checks of its file format."""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leanrec.data.vocabulary import Id
from leanrec.errors import SourceError
from leanrec.events.event_reader import EventReader, build_event_block
from leanrec.events.lock import is_locked
from leanrec.events.records import DataOrigin, ForgottenUser, LogSummary, RankCounts, ServedList, StoredRules
from leanrec.events.rows import read_list_row
from leanrec.events.seals import seal_extended
from leanrec.events.user_events import UserEvent
from leanrec.events.wal import check_wal
from leanrec.types import Events

__all__ = [
    "APPLICATION_ID",
    "FORMAT_VERSION",
    "LATER_COLUMNS",
    "SQLiteEventReader",
    "check_format",
    "find_last_seq",
    "make_source_error",
]

APPLICATION_ID = 0x6C656172  # "lear": marks our files among other SQLite files
_MAX_CHECKED_BYTES = 128 * 2**20  # a larger file takes longer to check than a server may take to start
_BLOCK_SIZE = 2_000  # events; work beside a server pauses after each block
FORMAT_VERSION = 6  # what made each served list, and propensities
_OLDEST_FORMAT = 5  # times in milliseconds, served lists by sequence
# Columns that format 5 lacks. They follow the checksum, so that a file gets them without a new row.
LATER_COLUMNS = {"event": ("propensity",), "served": ("version", "policy", "arm", "rung", "propensities")}
_EVENT_COLUMNS = "id, user, item, event_type, time, weight, rating, request, rank, propensity, checksum"
_LIST_COLUMNS = "request, time, user, fallback, items, scores, version, policy, arm, rung, propensities, checksum"


class SQLiteEventReader(EventReader):
    """Reads an event store, also while a server writes to it.

    Every row has a checksum, which is compared whenever the row is read, and the structure of the file is checked when it
    is opened: a damaged file raises SourceError instead of giving other events. Cost of opening: O(E log E), about 2 s for
    a million events. The structure of a file of more than 128 MB is checked by ``verify`` only.
    """

    def __init__(self, path: str | Path) -> None:
        """Open an existing store. Raises SourceError if there is none, or if the file is something else."""
        self.path = self.location = Path(path)
        self.name = str(path)
        with self._open_file() as connection:
            if not is_locked(self.path):  # by a server, which has checked it and goes on writing
                check_wal(self.path)
            if check_format(self.path, connection):
                raise SourceError(f"{self.path} must be an event log. It is an empty file. Choose another path.")

    @property
    def id(self) -> str:
        """Unique id of this store, which stays when the file is moved."""
        with self._connect() as connection:
            rows = list(self._read(connection, "SELECT id, checksum FROM log"))
        if len(rows) != 1:
            raise _make_damage_error(self.path, "it must have one id")
        return str(rows[0][0])

    def origins(self) -> tuple[DataOrigin, ...]:
        """The data sets that this store was bound to, oldest first."""
        with self._connect() as connection:
            rows = list(self._read(connection, "SELECT fingerprint, description, checksum FROM origin ORDER BY seq"))
        return tuple(DataOrigin(fingerprint, description) for fingerprint, description in rows)

    @property
    def is_empty(self) -> bool:
        """Whether it has no event and no item."""
        with self._connect() as connection:
            later = [name for name in ("hidden", "list_rules") if _has_table(connection, name)]
            others = " ".join(f"UNION ALL SELECT 1 FROM {name}" for name in later)  # noqa: S608
            query = f"SELECT EXISTS (SELECT 1 FROM event UNION ALL SELECT 1 FROM item {others})"  # noqa: S608
            return not connection.execute(query).fetchone()[0]

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event, 0 if there is none. The events are numbered from 1.

        There are gaps where the events of a user were forgotten; a number is never used again.
        """
        with self._connect() as connection:
            return find_last_seq(connection)

    def user_events(self, *, after: int = 0, until: int | None = None) -> list[UserEvent]:
        """Events one by one in the order of arrival, with their ids and with times of milliseconds. O(E).

        Args:
            after: sequence number of the last event that is left out.
            until: sequence number of the last event; None = the last of the store.
        """
        last = "" if until is None else f"AND seq <= {int(until)}"
        with self._connect() as connection:
            select = f"SELECT {_EVENT_COLUMNS} FROM event WHERE seq > {int(after)} {last} ORDER BY seq"  # noqa: S608
            return [
                UserEvent(name, user, item, event_type, time / 1000, *others)
                for name, user, item, event_type, time, *others in self._read(connection, select, n_later=1)
            ]

    def event_blocks(self, *, after: int = 0, until: int) -> Iterator[tuple[Events, int]]:
        """The same events in blocks of 2,000, each with the checksum of its last event. Memory: one block.

        Raises SourceError if an event is missing.
        """
        with self._connect() as connection:
            columns = "seq, user, item, event_type, time, weight, rating, id, request, rank, propensity, checksum"
            select = f"SELECT {columns} FROM event WHERE seq > ? AND seq <= ? ORDER BY seq"  # noqa: S608
            rows = connection.execute(select, (after, until))
            n_read = 0
            while block := rows.fetchmany(_BLOCK_SIZE):
                n_read += len(block)
                for _, user, item, event_type, time, weight, rating, name, request, rank, propensity, checksum in block:
                    values = (name, user, item, event_type, time, weight, rating, request, rank, propensity)
                    if seal_extended(values, 1) != checksum:
                        raise _make_damage_error(self.path, f"the checksum of a row is wrong: {values!r:.100}")
                yield build_event_block(list(zip(*block, strict=True))[1:7]), block[-1][-1]
            n_forgotten = sum(each.n_events for each in self.forgotten_users() if each.last_seq > after)
            is_last = until == find_last_seq(connection)
        n_missing = until - after - n_read
        # Behind the first block some of the events of a user who was forgotten later may be missing.
        if is_last and (n_missing > n_forgotten or (after == 0 and n_missing != n_forgotten)):
            raise _make_damage_error(self.path, f"it has {n_read} of {until - after - n_forgotten} events")

    def find_seal(self, seq: int) -> int:
        """The checksum of the last event up to a sequence number, 0 if there is none."""
        select = "SELECT checksum FROM event WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
        with self._connect() as connection:
            found = connection.execute(select, (seq,)).fetchone()
        return 0 if found is None else int(found[0])

    @property
    def snapshot_path(self) -> Path:
        """Folder beside the store for the state of the histories."""
        return Path(f"{self.path.resolve()}.snapshot")

    def user_events_of(self, items: Sequence[Id], *, until: int) -> list[UserEvent]:
        """All events of the users who have events on some of these items, in the order of arrival. O(E).

        Args:
            items: external ids.
            until: sequence number of the last event.
        """
        names = json.dumps([str(item) for item in items])
        of_items = "SELECT user FROM event WHERE seq <= ? AND CAST(item AS TEXT) IN (SELECT value FROM json_each(?))"
        select = f"""
            SELECT {_EVENT_COLUMNS} FROM event
            WHERE seq <= ? AND user IN ({of_items}) ORDER BY seq
        """  # noqa: S608
        with self._connect() as connection:
            return [
                UserEvent(name, user, item, event_type, time / 1000, *others)
                for name, user, item, event_type, time, *others in self._read(
                    connection, select, (until, until, names), n_later=1
                )
            ]

    def forgotten_users(self, *, after: int = 0) -> tuple[ForgottenUser, ...]:
        """The users who were forgotten, oldest first.

        Args:
            after: number of the last one that is left out.
        """
        with self._connect() as connection:
            if not _has_table(connection, "forgotten"):
                return ()
            select = "SELECT number, digest, n_events, last_seq, checksum FROM forgotten ORDER BY number"
            rows = self._read(connection, select)
            return tuple(ForgottenUser(*row) for row in rows if row[0] > after)

    def item_contents(self) -> list[tuple[Id, dict[str, Any]]]:
        """Items that were added while serving, with their content, in the order in which they were added first."""
        with self._connect() as connection:
            rows = list(self._read(connection, "SELECT id, content, checksum FROM item ORDER BY seq"))
        return [(item, json.loads(content)) for item, content in rows]

    def hidden_items(self) -> tuple[Id, ...]:
        """External ids of the items that are hidden."""
        return tuple(item for item, hidden in self._read_hidden() if hidden)

    def shown_items(self) -> tuple[Id, ...]:
        """External ids of the items that were hidden and are shown again."""
        return tuple(item for item, hidden in self._read_hidden() if not hidden)

    def _read_hidden(self) -> list[tuple[Any, ...]]:
        with self._connect() as connection:
            if not _has_table(connection, "hidden"):
                return []
            return list(self._read(connection, "SELECT id, hidden, checksum FROM hidden ORDER BY seq"))

    def list_rules(self) -> StoredRules:
        """The rules of lists of the servers of this store."""
        with self._connect() as connection:
            return self._read_rules(connection)

    def _read_rules(self, connection: sqlite3.Connection) -> StoredRules:
        if not _has_table(connection, "list_rules"):
            return StoredRules()
        rows = list(self._read(connection, "SELECT revision, rules, checksum FROM list_rules"))
        return StoredRules(*rows[0]) if rows else StoredRules()

    def served_lists(self) -> Iterator[ServedList]:
        """The served lists that are still kept, in the order in which they were written."""
        with self._connect() as connection:
            select = f"SELECT {_LIST_COLUMNS} FROM served ORDER BY seq"  # noqa: S608
            yield from map(read_list_row, self._read(connection, select, n_later=5))

    def count_by_rank(self) -> RankCounts:
        """Impressions and positive events by rank: the raw numbers of click-through rate and position bias."""
        with self._connect() as connection:
            lengths = connection.execute("SELECT json_array_length(items) FROM served").fetchall()
            ranks = connection.execute(
                "SELECT rank FROM event JOIN served USING (request) WHERE rank >= 0 AND weight > 0"
            ).fetchall()
        longest = max((length for (length,) in lengths), default=0)
        ends = np.bincount([length for (length,) in lengths], minlength=longest + 1)
        shown = np.cumsum(ends[::-1])[::-1][1:]
        inside = [rank for (rank,) in ranks if rank < longest]
        return RankCounts(shown.astype(np.int64), np.bincount(inside, minlength=longest).astype(np.int64))

    def verify(self) -> LogSummary:
        """Read every row and compare its checksum. Raises SourceError for the first one that was changed. O(E)."""
        with self._connect() as connection:
            connection.execute("BEGIN")  # one state of the store while a server writes
            _check_structure(self.path, connection)
            counts = {}
            for name in ("event", "served", "item", "hidden", "list_rules", "forgotten", "origin", "log"):
                if not _has_table(connection, name):
                    continue
                described = connection.execute("SELECT name FROM pragma_table_info(?)", (name,)).fetchall()
                columns = [column for (column,) in described if column not in {"seq", "checksum"}]
                select = f"SELECT {', '.join(columns)}, checksum FROM {name}"  # noqa: S608
                rows = self._read(connection, select, n_later=len(LATER_COLUMNS.get(name, ())))
                counts[name] = sum(1 for _ in rows)
            last, version = find_last_seq(connection), _read_version(connection)
        return LogSummary(counts["event"], last, counts["served"], counts["item"], counts.get("forgotten", 0), version)

    def back_up(self, target: str | Path) -> LogSummary:
        """Copy the store to a new file, while a server may be writing to it, and verify the copy.

        The copy is one state of the store, in one file. To restore it, stop the server, move the store and the files
        beside it away (the ones with the endings ``-wal`` and ``-shm`` too), and copy the backup to the place of the store.

        Raises SourceError if the file exists or cannot be written, or if a row was changed. Memory: 4 MB; the disk needs the
        size of the store.
        """
        path = Path(target)
        if path.exists():
            raise SourceError(f"{path} must be a new file. It exists, so it is left alone. Choose another path.")
        staging = path.with_name(f".{path.name}-{os.getpid()}")
        try:
            with self._connect() as source:
                _copy_database(source, staging)
            summary = SQLiteEventReader(staging).verify()
            staging.rename(path)
        except _CopyError as error:
            raise SourceError(f"Cannot copy {self.path} to {path}: {error}. No file was written.") from error
        except SourceError as error:  # what is wrong in the copy is wrong in the store
            raise SourceError(str(error).replace(str(staging), str(self.path))) from error
        finally:
            staging.unlink(missing_ok=True)
        return summary

    def __len__(self) -> int:
        with self._connect() as connection:
            return int(connection.execute("SELECT count(*) FROM event").fetchone()[0])

    def _read(
        self, connection: sqlite3.Connection, query: str, parameters: tuple[Any, ...] = (), *, n_later: int = 0
    ) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, without the checksum that ends each. Raises SourceError where it is not that of the row.

        The last ``n_later`` values before it are those of `LATER_COLUMNS`.
        """
        for *values, checksum in connection.execute(query, parameters):
            if seal_extended(values, n_later) != checksum:
                raise _make_damage_error(self.path, f"the checksum of a row is wrong: {tuple(values)!r:.100}")
            yield tuple(values)

    @contextlib.contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with self._open_file() as connection:
            if _read_version(connection) == _OLDEST_FORMAT:
                _add_views(connection)
            yield connection

    @contextlib.contextmanager
    def _open_file(self) -> Iterator[sqlite3.Connection]:
        try:
            # mode=rw does not create a missing file.
            with contextlib.closing(sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=rw", uri=True)) as connection:
                yield connection
        except SourceError:
            raise
        except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
            raise make_source_error(self.path, error) from error


def _read_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _add_views(connection: sqlite3.Connection) -> None:
    """Let a file of format 5, which is only read, look like one of today: queries find the views before the tables."""
    for table, columns in LATER_COLUMNS.items():
        missing = ", ".join(f"NULL AS {each}" for each in columns)
        connection.execute(f"CREATE TEMP VIEW {table} AS SELECT *, {missing} FROM main.{table}")  # noqa: S608


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether the file has this table; some are made when a server opens an older file."""
    select = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
    return bool(connection.execute(select, (name,)).fetchone()[0])


class _CopyError(Exception):
    """A copy that cannot be written."""


def _copy_database(source: sqlite3.Connection, path: Path) -> None:
    """Copy a database to a file that is on disk at the return, without a write-ahead log beside it."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    except (sqlite3.Error, OSError) as error:
        raise _CopyError(str(error)) from error


def find_last_seq(connection: sqlite3.Connection) -> int:
    """Sequence number of the last event that a store has had."""
    last = int(connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0])
    if not _has_table(connection, "forgotten"):
        return last
    return max(last, int(connection.execute("SELECT coalesce(max(last_seq), 0) FROM forgotten").fetchone()[0]))


def _make_damage_error(path: Path, what: str) -> SourceError:
    return SourceError(
        f"The event log {path} is damaged: {what}. Nothing was read from it. Restore it from a backup; or move it away, and "
        "a new one starts empty."
    )


def make_source_error(path: Path, error: BaseException) -> SourceError:
    """The SourceError for a store that cannot be opened, read or written."""
    if "malformed" in str(error):
        return _make_damage_error(path, str(error))
    return SourceError(
        f"The event log {path} cannot be used: {error}. Check the path, its permissions and the free space on the disk."
    )


def check_format(path: Path, connection: sqlite3.Connection) -> bool:
    """Whether the file is new and empty. Raises SourceError if it is not an event store of this version."""
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return True
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = _read_version(connection)
    if application_id != APPLICATION_ID:
        raise SourceError(f"{path} must be an event log. It is a file of another program. Choose another path.")
    if not _OLDEST_FORMAT <= version <= FORMAT_VERSION:
        raise SourceError(
            f"{path} must be an event log of version {_OLDEST_FORMAT} or {FORMAT_VERSION}. It has version {version}, of another version of "
            "leanrec. Fit the model with this log in that version, which merges its events into the data; or move the file "
            "away, and a new log starts empty."
        )
    pages, page_size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    if pages * page_size <= _MAX_CHECKED_BYTES:
        _check_structure(path, connection)
    return False


def _check_structure(path: Path, connection: sqlite3.Connection) -> None:
    """Raise SourceError if the structure of the file is damaged, or if an event is missing."""
    faults = [fault for (fault,) in connection.execute("PRAGMA integrity_check(1)")]
    if faults != ["ok"]:
        raise _make_damage_error(path, faults[0])
    connection.execute("SAVEPOINT counting")  # one state of the store while a server writes
    first, count = connection.execute("SELECT coalesce(min(seq), 1), count(*) FROM event").fetchone()
    n_forgotten = 0
    if _has_table(connection, "forgotten"):
        n_forgotten = connection.execute("SELECT coalesce(sum(n_events), 0) FROM forgotten").fetchone()[0]
    last = find_last_seq(connection)
    connection.execute("RELEASE counting")
    if first < 1 or count + n_forgotten != last:
        raise _make_damage_error(path, f"it has {count} of {last - n_forgotten} events")
