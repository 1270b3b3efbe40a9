"""Snapshots of an event log in PostgreSQL, in the log itself, so that forgetting a user deletes them for all servers."""

import asyncio
import functools
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from leanrec.errors import SourceError
from leanrec.integrations.postgres.connection import ConnectionLimits, connected
from leanrec.integrations.postgres.schema import has_table

__all__ = ["PostgresSnapshots"]

_PART = 2**20  # bytes of a row, so that no statement lasts long
_N_KEPT = 2  # versions, for servers that do not change the version at the same time
_Result = TypeVar("_Result")


class PostgresSnapshots:
    """One snapshot for each of the last versions, which any server writes and all can read.

    Forgetting a user deletes all of them in its transaction. One that is being written meanwhile is given up: its last step waits
    for the transaction of the other, and looks for users who were forgotten.
    """

    def __init__(self, url: str, name: str, limits: ConnectionLimits) -> None:
        """Take the URL of the log, its name in messages, and the time-outs."""
        self._url, self._name, self._limits = url, name, limits

    def find_last_seq(self, version: str) -> int:
        """Sequence number of the last event in the snapshot of a version, 0 if there is none."""
        return self._ask(functools.partial(_find_last_seq, version))

    def read(self, version: str) -> bytes | None:
        """The snapshot of a version, None if there is none. Raises SourceError if it is damaged."""
        parts = self._ask(functools.partial(_read_parts, version))
        if not parts:
            return None
        content = b"".join(part for _, part, _ in parts)
        n_parts = parts[0][0]
        if len(parts) != n_parts or any(zlib.crc32(part) != checksum for _, part, checksum in parts):
            raise SourceError(f"The snapshot in {self._name} is damaged. It is written again from the events.")
        return content

    def write(self, version: str, last_seq: int, n_forgotten: int, content: bytes) -> bool:
        """Write the snapshot of a version, in the place of an older one.

        Args:
            version: the version of the pipeline.
            last_seq: sequence number of the last event in it.
            n_forgotten: number of the last user who is forgotten in it.
            content: the snapshot.

        Returns whether it was written: not if another server writes one, has written a later one, or has forgotten a user
        since. Cost: the size of the snapshot in the write-ahead log of the server.
        """
        return self._ask(functools.partial(_write_parts, version, last_seq, n_forgotten, content))

    def _ask(self, work: Callable[[Any], Awaitable[_Result]]) -> _Result:
        """The result of some work on a connection of its own, so that no event waits for a snapshot."""

        async def run() -> _Result:
            async with connected(self._url, self._limits) as connection:
                return await work(connection)

        return asyncio.run(run())


async def _find_last_seq(version: str, connection: Any) -> int:
    if not await has_table(connection, "snapshot"):
        return 0
    select = "SELECT coalesce(max(last_seq), 0) FROM leanrec.snapshot WHERE version = $1"
    return int(await connection.fetchval(select, version))


async def _read_parts(version: str, connection: Any) -> list[tuple[int, bytes, int]]:
    """The parts of the last snapshot of a version: their number, the bytes, and their checksum."""
    if not await has_table(connection, "snapshot"):
        return []
    select = "SELECT n_parts, content, checksum FROM leanrec.snapshot WHERE number = $1 AND part = $2"
    parts: list[tuple[int, bytes, int]] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):  # others may replace it meanwhile
        number = await connection.fetchval("SELECT max(number) FROM leanrec.snapshot WHERE version = $1", version)
        while number is not None and (row := await connection.fetchrow(select, number, len(parts))):
            parts.append(tuple(row))
    return parts


async def _write_parts(version: str, last_seq: int, n_forgotten: int, content: bytes, connection: Any) -> bool:
    if not await has_table(connection, "snapshot"):
        return False
    parts = [content[start : start + _PART] for start in range(0, len(content), _PART)]
    insert = """
        INSERT INTO leanrec.snapshot (number, part, n_parts, version, last_seq, content, checksum)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
    """
    transaction = connection.transaction()
    await transaction.start()  # without a commit it ends with the connection
    await connection.execute("SET LOCAL synchronous_commit = off")  # what is lost in a crash is written again
    is_free = await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('leanrec snapshot'))")
    if not is_free or await _find_last_seq(version, connection) >= last_seq:
        return False
    number = 1 + await connection.fetchval("SELECT coalesce(max(number), 0) FROM leanrec.snapshot")
    for at, part in enumerate(parts):
        await connection.execute(insert, number, at, len(parts), version, last_seq, part, zlib.crc32(part))
    # Only now, because events wait for it too: no user is forgotten between this look and the commit.
    await connection.execute("SELECT FROM leanrec.log FOR SHARE")
    latest = await connection.fetchval("SELECT coalesce(max(number), 0) FROM leanrec.forgotten")
    if latest != n_forgotten:
        return False
    await transaction.commit()
    # In a transaction of its own, so that neither events nor the deletion of a user wait for it.
    delete = """
        DELETE FROM leanrec.snapshot WHERE number NOT IN (
            SELECT max(number) FROM leanrec.snapshot GROUP BY version ORDER BY max(number) DESC LIMIT $1)
    """
    await connection.execute(delete, _N_KEPT)
    return True
