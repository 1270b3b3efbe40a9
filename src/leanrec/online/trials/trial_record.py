"""Trial record: what all processes have counted of a trial, in a file that outlives them."""

import contextlib
import itertools
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from leanrec.errors import ArtifactError

__all__ = ["TrialRecord", "TrialUser"]

_WAIT_SECONDS = 2.0
_SAME_START_SECONDS = 1.0  # workers that start together and are killed together are one crash
_TABLES = """
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS users (
    position INTEGER PRIMARY KEY, key INTEGER NOT NULL UNIQUE, is_candidate INTEGER NOT NULL,
    lists INTEGER NOT NULL, rewards INTEGER NOT NULL, has_failed INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS starts (id INTEGER PRIMARY KEY, host TEXT NOT NULL, process INTEGER NOT NULL, time REAL NOT NULL);
"""
_ADD_TOTAL = "INSERT INTO totals VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
# Each process sees all events of a user, but not all lists: of two counts of the same the larger one is right.
_ADD_USER = """
INSERT INTO users (key, is_candidate, lists, rewards, has_failed) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
    lists = max(lists, excluded.lists), rewards = max(rewards, excluded.rewards), has_failed = max(has_failed, excluded.has_failed)
"""


class TrialUser(NamedTuple):
    """What is counted of a user.

    Attributes:
        key: keyed hash of the id.
        is_candidate: whether the user gets lists of the version on trial.
        lists: number of lists that are judged.
        rewards: number of positive events.
        has_failed: whether the version failed to make a list.
    """

    key: int
    is_candidate: bool
    lists: int
    rewards: int
    has_failed: bool


class TrialRecord:
    """Counts of a trial in an SQLite file. Several processes may add to it at once.

    It has no ids of users, only hashes of them with the key of the trial. Each call opens the file anew, so no count goes
    to a file that was removed. All methods raise ArtifactError if the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        """Name the file.

        Args:
            path: the file; ``add`` creates it.
        """
        self.path = path

    def add(self, totals: Mapping[str, float], users: Iterable[TrialUser]) -> None:
        """Add numbers to the totals, and bring users to these counts. On disk at the return. O(users).

        Args:
            totals: by how much each number has grown.
            users: users whose counts have changed.
        """
        with self._open("rwc") as database:
            database.executescript(_TABLES)
            database.executemany(_ADD_TOTAL, [each for each in totals.items() if each[1]])
            database.executemany(_ADD_USER, users)

    def read(self) -> tuple[dict[str, float], list[TrialUser]]:
        """The totals, and the users in the order in which they came; both are empty before the first ``add``."""
        if not self.path.exists():
            return {}, []
        with self._open("ro") as database:
            users = database.execute(
                "SELECT key, is_candidate, lists, rewards, has_failed FROM users ORDER BY position"
            )
            return self._read_totals(database), [
                TrialUser(key, bool(arm), lists, rewards, bool(failed)) for key, arm, lists, rewards, failed in users
            ]

    def count_lists(self) -> dict[str, int]:
        """Number of lists of each kind, and of users of each arm, in all processes together."""
        if not self.path.exists():
            return {}
        with self._open("ro") as database:
            users = dict(database.execute("SELECT is_candidate, count(*) FROM users GROUP BY is_candidate"))
            lists = {
                name: int(value) for name, value in self._read_totals(database).items() if name.startswith("lists ")
            }
        return lists | {"users control": users.get(0, 0), "users candidate": users.get(1, 0)}

    def note_start(self) -> tuple[int, int]:
        """Note that this process begins to use the version on trial; see `forget_start`.

        Returns the number of the start, and how many starts on this machine before it were followed by the end of their
        process. Processes that started within a second count once.
        """
        host, process = socket.gethostname(), os.getpid()
        with self._open("rwc") as database:
            database.executescript(_TABLES)
            rows = database.execute("SELECT process, time FROM starts WHERE host = ? ORDER BY time", (host,))
            # A process of a container may have the number of one before it.
            ended = [started for other, started in rows if other == process or not _is_running(other)]
            start = database.execute(
                "INSERT INTO starts (host, process, time) VALUES (?, ?, ?)", (host, process, time.time())
            )
        gaps = itertools.pairwise(ended)
        return start.lastrowid or 0, bool(ended) + sum(after - before > _SAME_START_SECONDS for before, after in gaps)

    def forget_start(self, start: int) -> None:
        """Note that the process of a start has run for long enough, or is about to end as it should."""
        with self._open("rw") as database:
            database.execute("DELETE FROM starts WHERE id = ?", (start,))

    def _read_totals(self, database: sqlite3.Connection) -> dict[str, float]:
        return dict(database.execute("SELECT name, value FROM totals"))

    @contextlib.contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        """A transaction."""
        try:
            self.path.parent.mkdir(exist_ok=True)
            uri = f"{self.path.absolute().as_uri()}?mode={mode}"
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_WAIT_SECONDS)) as database, database:
                yield database
        except (sqlite3.Error, OSError) as error:
            raise ArtifactError(
                f"{self.path} must be a file in which the counts of a trial are kept. It cannot be used: {error}. Stop the "
                "trial, and start it again."
            ) from error


def _is_running(process: int) -> bool:
    """Whether there is a process of this number; on Windows, where to ask would end it, always True."""
    if sys.platform != "win32":
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
    return True
