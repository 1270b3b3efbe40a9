"""What an event log holds: reactions, new items, served lists, and the data that it belongs to."""

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leanrec.data.table import Table
from leanrec.data.vocabulary import Id, id_array
from leanrec.errors import SourceError
from leanrec.events.user_events import Reaction, to_events
from leanrec.types import Events, IdArray, Int64Array

__all__ = [
    "APPLICATION",
    "VERSION",
    "LogReader",
    "Origin",
    "Reactions",
    "ServedList",
    "check_ours",
    "table_of",
    "unusable",
]

APPLICATION = 0x6C656172  # "lear": tells our files from other SQLite files
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Origin:
    """The data that a model was fitted on.

    Attributes:
        fingerprint: of the data set.
        about: in words.
        log: id of the event log that was part of it, or None.
    """

    fingerprint: str
    about: str
    log: str | None = None


@dataclasses.dataclass(frozen=True)
class ServedList:
    """One list as it was shown; its position in ``items`` is the rank of an item."""

    request: str
    time: int
    user: Id | None
    items: tuple[Id, ...]
    scores: tuple[float, ...]
    fallback: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Reactions:
    """What happened at each rank.

    Attributes:
        shown: (K,) lists that were long enough to show an item at this rank.
        reacted: (K,) reactions with positive weight that name the list and this rank.
    """

    shown: Int64Array
    reacted: Int64Array


class LogReader:
    """An event log to read, also while a server writes to it."""

    def __init__(self, path: str | Path) -> None:
        """Take an existing log. Raises SourceError if there is none, or something else."""
        self.path = Path(path)
        with self._reader() as connection:
            if check_ours(self.path, connection):
                raise SourceError(f"{self.path} is empty: it is no event log yet. `leanrec serve` makes one.")

    @property
    def id(self) -> str:
        """What tells this log from all others, wherever it is moved; "" for one that no server has opened yet."""
        with self._reader() as connection:
            found = connection.execute("SELECT id FROM log").fetchone() if _has(connection, "log") else None
        return "" if found is None else str(found[0])

    def origins(self) -> tuple[Origin, ...]:
        """The data sets whose models have used this log, oldest first."""
        with self._reader() as connection:
            known = _has(connection, "origin")
            rows = connection.execute("SELECT fingerprint, about FROM origin ORDER BY seq").fetchall() if known else []
        return tuple(Origin(fingerprint, about) for fingerprint, about in rows)

    def check_origin(self, origin: Origin) -> None:
        """Raise SourceError if the log was kept for other data, whose ids may mean other people and other items.

        It belongs to every data set that has used it, and to one that it was merged into. An empty one belongs
        to anybody.
        """
        known = self.origins()
        mine = origin.fingerprint in {each.fingerprint for each in known} or (origin.log and origin.log == self.id)
        if known and not mine and not self._empty():
            raise SourceError(
                f"The event log {self.path} was kept for other data ({known[-1].about}; fingerprint "
                f"{known[-1].fingerprint[:12]}) than this model's ({origin.about}; fingerprint "
                f"{origin.fingerprint[:12]}). Its ids may mean other people and other items. If they are the same, "
                "fit with --log, which takes its events in, or serve with --adopt-log; otherwise choose another log."
            )

    def events(self) -> Events:
        """Every reaction, in the order of arrival, in own ids, with request and rank where known. O(E)."""
        with self._reader() as connection:
            rows = connection.execute(
                "SELECT id, user, item, kind, time, weight, value, request, rank FROM event ORDER BY seq"
            )
            return to_events([Reaction(*row) for row in rows])

    def items(self) -> tuple[IdArray, Table]:
        """Ids and content of the items that were added while serving."""
        with self._reader() as connection:
            rows = connection.execute("SELECT id, content FROM item ORDER BY seq").fetchall()
        contents = [json.loads(content) for _, content in rows]
        return id_array([own for own, _ in rows]), table_of(contents)

    def lists(self) -> Iterator[ServedList]:
        """Every served list that is still kept, oldest first."""
        with self._reader() as connection:
            for row in connection.execute(
                "SELECT request, time, user, items, scores, fallback FROM served ORDER BY time"
            ):
                request, time, user, items, scores, fallback = row
                yield ServedList(request, time, user, tuple(json.loads(items)), tuple(json.loads(scores)), fallback)

    def reactions(self) -> Reactions:
        """How often each rank was shown and answered: the raw numbers of position bias and click-through."""
        with self._reader() as connection:
            lengths = connection.execute("SELECT json_array_length(items) FROM served").fetchall()
            ranks = connection.execute(
                "SELECT rank FROM event JOIN served USING (request) WHERE rank >= 0 AND weight > 0"
            ).fetchall()
        longest = max((length for (length,) in lengths), default=0)
        ends = np.bincount([length for (length,) in lengths], minlength=longest + 1)
        shown = np.cumsum(ends[::-1])[::-1][1:]
        inside = [rank for (rank,) in ranks if rank < longest]
        return Reactions(shown.astype(np.int64), np.bincount(inside, minlength=longest).astype(np.int64))

    def __len__(self) -> int:
        with self._reader() as connection:
            return int(connection.execute("SELECT count(*) FROM event").fetchone()[0])

    def _empty(self) -> bool:
        with self._reader() as connection:
            return not connection.execute(
                "SELECT EXISTS (SELECT 1 FROM event UNION ALL SELECT 1 FROM item)"
            ).fetchone()[0]

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        try:
            # mode=rw: a file that is not there is not made.
            with contextlib.closing(sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=rw", uri=True)) as connection:
                yield connection
        except (sqlite3.DatabaseError, OSError, ValueError) as error:
            raise unusable(self.path, error) from error


def unusable(path: Path, error: BaseException) -> SourceError:
    """The error of a log that cannot be opened, read or written, in words."""
    return SourceError(f"The event log {path} cannot be used: {error}. Check the path, its rights and the disk.")


def check_ours(path: Path, connection: sqlite3.Connection) -> bool:
    """Whether the file is new. Raises SourceError if it is not ours."""
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return True
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise SourceError(f"{path} is a file of another program. Choose another path for the event log.")
    if version != VERSION:
        raise SourceError(f"{path} must be an event log of version {VERSION}. It has version {version}.")
    return False


def table_of(contents: Sequence[Mapping[str, Any]]) -> Table:
    """Rows of content as a table: a column that holds only numbers is one of numbers, the others are text."""
    names = dict.fromkeys(name for content in contents for name in content)
    return Table({name: _column([content.get(name) for content in contents]) for name in names})


def _column(cells: Sequence[Any]) -> np.ndarray:
    if all(cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool)) for cell in cells):
        return np.array([np.nan if cell is None else float(cell) for cell in cells])
    return np.array(["" if cell is None else str(cell) for cell in cells], np.dtypes.StringDType())


def _has(connection: sqlite3.Connection, table: str) -> bool:
    found = connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
    return bool(found.fetchone()[0])
