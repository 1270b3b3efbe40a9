"""Read-only access to an event log in PostgreSQL."""

import asyncio
import functools
import json
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from leanrec.data.vocabulary import Id
from leanrec.errors import SourceError
from leanrec.events.event_reader import EventReader, build_event_block
from leanrec.events.locations import hide_password
from leanrec.events.records import DataOrigin, ForgottenUser, LogSummary, RankCounts, ServedList, StoredRules
from leanrec.events.rows import read_list_row, to_stored_id
from leanrec.events.seals import seal_extended
from leanrec.events.user_events import UserEvent
from leanrec.integrations.postgres.backup import write_backup
from leanrec.integrations.postgres.connection import ConnectionLimits, connect, connected, translate_error
from leanrec.integrations.postgres.schema import FORMAT_VERSION, check_format, has_table
from leanrec.integrations.postgres.snapshots import PostgresSnapshots
from leanrec.types import Events

__all__ = ["PostgresEventReader", "build_user_event", "drop_numbers"]

_BLOCK_SIZE = 50_000  # rows of one statement, so that none lasts long
_COLUMNS = {
    "event": "seq, id, user_id, item_id, event_type, time, weight, rating, request, rank, propensity, checksum",
    "served": "seq, request, time, user_id, fallback, items, scores, version, policy, arm, rung, propensities, checksum",
    "item": "seq, id, content, checksum",
    "hidden": "seq, id, hidden, checksum",
    "list_rules": "seq, seq, rules, checksum",
    "origin": "seq, fingerprint, description, checksum",
    "forgotten": "number AS seq, number, digest, n_events, last_seq, checksum",
}
_N_LATER = {"event": 1, "served": 5}
_IDS = {"event": (1, 2), "served": (2,), "item": (0,), "hidden": (0,)}  # positions of external ids
# While a block is written to a file nothing is asked.
_BEGIN_STATE = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 60000"
_Result = TypeVar("_Result")


class PostgresEventReader(EventReader):
    """Reads an event log in PostgreSQL, also while servers write to it.

    Each call has a connection of its own, about 10 ms. Long reads are statements of 50,000 rows, so that no time-out is near and
    no old row is kept for them. All calls raise SourceError if the server does not answer in time.
    """

    def __init__(self, url: str, limits: ConnectionLimits = ConnectionLimits()) -> None:
        """Check that there is a log. Raises SourceError if there is none, or if it cannot be reached.

        Args:
            url: ``postgresql://user@host:port/database``; a password is better in PGPASSWORD or a file .pgpass.
            limits: time-outs.
        """
        self.url = self.location = url
        self.limits, self.name = limits, hide_password(url)
        if self._ask(functools.partial(check_format, self.name)):
            raise SourceError(
                f"{self.name} must be an event log. The database has none. Serve with it once, or check the name."
            )

    @functools.cached_property
    def id(self) -> str:
        """Unique id of this store."""
        return str(self._ask(lambda connection: connection.fetchval("SELECT id FROM leanrec.log")))

    def origins(self) -> tuple[DataOrigin, ...]:
        """The data sets that this store was bound to, oldest first."""
        return tuple(DataOrigin(*row) for row in drop_numbers(self._read_blocks("origin")))

    @property
    def is_empty(self) -> bool:
        """Whether it has no event and no item."""
        query = """
            SELECT NOT (EXISTS (SELECT 1 FROM leanrec.event) OR EXISTS (SELECT 1 FROM leanrec.item)
                OR EXISTS (SELECT 1 FROM leanrec.hidden))
        """
        if self.list_rules().revision:
            return False
        return bool(self._ask(lambda connection: connection.fetchval(query)))

    @property
    def last_seq(self) -> int:
        """Sequence number of the last event, also if its user was forgotten."""
        return int(self._ask(lambda connection: connection.fetchval("SELECT last_seq FROM leanrec.log")))

    def user_events(self, *, after: int = 0, until: int | None = None) -> list[UserEvent]:
        """Events one by one in the order of arrival, with their ids and with times of milliseconds. O(E).

        Args:
            after: sequence number of the last event that is left out.
            until: sequence number of the last event; None = the last of the store.
        """
        return [build_user_event(row) for row in drop_numbers(self._read_blocks("event", after=after, until=until))]

    def event_blocks(self, *, after: int = 0, until: int) -> Iterator[tuple[Events, int]]:
        """The same events in blocks of 50,000, each with the checksum of its last event. Memory: one block.

        Raises SourceError if an event is missing.
        """
        n_read = 0
        for rows in self._read_blocks("event", after=after, until=until):
            n_read += len(rows)
            yield build_event_block(list(zip(*rows, strict=True))[2:8]), seal_extended(rows[-1][1:], 1)
        n_forgotten = sum(each.n_events for each in self.forgotten_users() if each.last_seq > after)
        n_missing = until - after - n_read
        # Behind the first block some of the events of a user who was forgotten later may be missing.
        if until == self.last_seq and (n_missing > n_forgotten or (after == 0 and n_missing != n_forgotten)):
            raise self._make_damage_error(f"it has {n_read} of {until - after - n_forgotten} events")

    def find_seal(self, seq: int) -> int:
        """The checksum of the last event up to a sequence number, 0 if there is none."""
        select = "SELECT checksum FROM leanrec.event WHERE seq <= $1 ORDER BY seq DESC LIMIT 1"
        return int(self._ask(lambda connection: connection.fetchval(select, seq)) or 0)

    @property
    def snapshot_path(self) -> Path | None:
        """None: what is beside a server would keep the ids that another server forgets."""
        return None

    @property
    def snapshot_table(self) -> PostgresSnapshots:
        """The snapshots in the database."""
        return PostgresSnapshots(self.url, self.name, self.limits)

    def user_events_of(self, items: Sequence[Id], *, until: int) -> list[UserEvent]:
        """All events of the users who have events on some of these items, in the order of arrival. O(E).

        Args:
            items: external ids.
            until: sequence number of the last event.
        """
        of_items = "user_id IN (SELECT user_id FROM leanrec.event WHERE seq <= $2 AND item_id #>> '{}' = ANY ($3))"
        rows = drop_numbers(
            self._read_blocks("event", until=until, where=of_items, arguments=([str(each) for each in items],))
        )
        return [build_user_event(row) for row in rows]

    def forgotten_users(self, *, after: int = 0) -> tuple[ForgottenUser, ...]:
        """The users who were forgotten, oldest first.

        Args:
            after: number of the last one that is left out.
        """
        return tuple(ForgottenUser(*row) for row in drop_numbers(self._read_blocks("forgotten", after=after)))

    def item_contents(self) -> list[tuple[Id, dict[str, Any]]]:
        """Items that were added while serving, with their content, in the order in which they were added first."""
        return [(item, json.loads(content)) for item, content in drop_numbers(self._read_blocks("item"))]

    def hidden_items(self) -> tuple[Id, ...]:
        """External ids of the items that are hidden."""
        return tuple(item for item, hidden in drop_numbers(self._read_blocks("hidden")) if hidden)

    def shown_items(self) -> tuple[Id, ...]:
        """External ids of the items that were hidden and are shown again."""
        return tuple(item for item, hidden in drop_numbers(self._read_blocks("hidden")) if not hidden)

    def list_rules(self) -> StoredRules:
        """The rules of lists of the servers of this store."""
        rows = list(drop_numbers(self._read_blocks("list_rules")))
        return StoredRules(*rows[0]) if rows else StoredRules()

    def served_lists(self) -> Iterator[ServedList]:
        """The served lists that are still kept, in the order in which they were written."""
        return map(read_list_row, drop_numbers(self._read_blocks("served")))

    def count_by_rank(self) -> RankCounts:
        """Impressions and positive events by rank: the raw numbers of click-through rate and position bias."""
        lengths = "SELECT json_array_length(items) AS n, count(*) FROM leanrec.served GROUP BY n"
        ranks = """
            SELECT rank, count(*) FROM leanrec.event JOIN leanrec.served USING (request)
            WHERE rank >= 0 AND weight > 0 GROUP BY rank
        """

        async def count(connection: Any) -> tuple[Any, Any]:
            return await connection.fetch(lengths), await connection.fetch(ranks)

        of_length, of_rank = self._ask(count)
        longest = max((length for length, _ in of_length), default=0)
        ends, clicked = np.zeros(longest + 1, np.int64), np.zeros(longest, np.int64)
        for length, n in of_length:
            ends[length] = n
        for rank, n in of_rank:
            if rank < longest:
                clicked[rank] = n
        return RankCounts(np.cumsum(ends[::-1])[::-1][1:], clicked)

    def verify(self) -> LogSummary:
        """Read every row and compare its checksum. Raises SourceError for the first one that was changed. O(E)."""
        last = self.last_seq  # events that arrive meanwhile are left out
        counts = {}
        for table in _COLUMNS:
            until = last if table == "event" else None
            counts[table] = sum(len(rows) for rows in self._read_blocks(table, until=until))
        n_forgotten = sum(each.n_events for each in self.forgotten_users())
        if counts["event"] + n_forgotten < last:
            raise self._make_damage_error(f"it has {counts['event']} of {last - n_forgotten} events")
        numbers = (counts["served"], counts["item"], counts["forgotten"])
        return LogSummary(counts["event"], last, *numbers, FORMAT_VERSION)

    def back_up(self, target: str | Path) -> LogSummary:
        """Copy the log to a new SQLite event log, while servers may be writing to it, and verify the copy.

        The copy is one state of the log: it can be checked, read by a fit, and served with. Cost: O(E), all in one transaction
        that only reads. Memory: one block of 50,000 rows.

        Raises SourceError if the file exists or cannot be written, or if a row was changed.
        """
        path = Path(target)
        if path.exists():
            raise SourceError(f"{path} must be a new file. It exists, so it is left alone. Choose another path.")
        if not path.parent.is_dir():
            raise SourceError(f"Cannot copy {self.name} to {path}: there is no such folder. Create it first.")
        staging = path.with_name(f".{path.name}-{os.getpid()}")
        try:
            summary = write_backup(staging, self.id, self._read_state())
            staging.rename(path)
        except (OSError, sqlite3.Error) as error:
            raise SourceError(f"Cannot copy {self.name} to {path}: {error}. No file was written.") from error
        finally:
            staging.unlink(missing_ok=True)
        return summary

    def __len__(self) -> int:
        return int(self._ask(lambda connection: connection.fetchval("SELECT count(*) FROM leanrec.event")))

    def _ask(self, work: "Callable[[Any], Awaitable[_Result]]") -> "_Result":
        """The result of some work on a connection of its own."""

        async def run() -> "_Result":
            async with connected(self.url, self.limits) as connection:
                return await work(connection)

        return asyncio.run(run())

    def _read_blocks(
        self,
        table: str,
        *,
        after: int = 0,
        until: int | None = None,
        where: str = "true",
        arguments: tuple[Any, ...] = (),
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Rows with their numbers in blocks. Raises SourceError where a checksum is not that of the row."""
        last = 2**62 if until is None else until
        while True:
            fetch = functools.partial(_fetch, table=table, where=where, arguments=(after, last, *arguments))
            block = self._ask(fetch)
            if block:
                yield self._check(table, block)
                after = block[-1][0]
            if len(block) < _BLOCK_SIZE:
                return

    def _read_state(self) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
        """The rows of all tables, each with its number and its checksum, in one state of the log, block by block."""
        with asyncio.Runner() as runner:
            connection = runner.run(connect(self.url, self.limits))
            try:
                runner.run(connection.execute(_BEGIN_STATE))
                for table in _COLUMNS:
                    block: list[Any] = []
                    while not block or len(block) == _BLOCK_SIZE:
                        after = block[-1][0] if block else 0
                        block = runner.run(_fetch(connection, table, "true", (after, 2**62)))
                        if not block:
                            break
                        checked = self._check(table, block)
                        yield table, [(*values, row[-1]) for row, values in zip(block, checked, strict=True)]
            except Exception as error:
                raise translate_error(self.name, error) from error
            finally:
                runner.run(_terminate(connection))

    def _check(self, table: str, block: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The values of rows, ids decoded, without the checksums, which are compared."""
        checked = []
        for seq, *values, checksum in block:
            for at in _IDS.get(table, ()):
                values[at] = None if values[at] is None else to_stored_id(json.loads(values[at]))
            if seal_extended(values, _N_LATER.get(table, 0)) != checksum:
                raise self._make_damage_error(f"the checksum of a row is wrong: {tuple(values)!r:.100}")
            checked.append((seq, *values))
        return checked

    def _make_damage_error(self, what: str) -> SourceError:
        return SourceError(
            f"The event log {self.name} is damaged: {what}. Nothing was read from it. Restore it from a backup of the database."
        )


def drop_numbers(blocks: Iterable[list[tuple[Any, ...]]]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of blocks without the number at their begin."""
    return (row[1:] for rows in blocks for row in rows)


async def _terminate(connection: Any) -> None:
    connection.terminate()


async def _fetch(connection: Any, table: str, where: str, arguments: tuple[Any, ...]) -> list[Any]:
    if table == "list_rules" and not await has_table(connection, table):
        return []
    key = "number" if table == "forgotten" else "seq"
    select = f"""
        SELECT {_COLUMNS[table]} FROM leanrec.{table}
        WHERE {key} > $1 AND {key} <= $2 AND {where} ORDER BY {key} LIMIT {_BLOCK_SIZE}
    """  # noqa: S608
    rows: list[Any] = await connection.fetch(select, *arguments)
    return rows


def build_user_event(row: Sequence[Any]) -> UserEvent:
    """The event of the values of a row, from its id on."""
    name, user, item, event_type, time, *others = row
    return UserEvent(name, user, item, event_type, time / 1000, *others)
