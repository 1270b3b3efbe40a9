"""Statements that write and number the rows of an event log in PostgreSQL."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from leanrec.data.vocabulary import Id
from leanrec.errors import DataError
from leanrec.events.records import AppendResult, DataOrigin, ForgottenUser, RetentionPolicy, StoredRules
from leanrec.events.rows import build_event_row, index_shown, select_new
from leanrec.events.seals import seal_extended, seal_row
from leanrec.events.shared_store import LogHead
from leanrec.events.user_events import UserEvent, to_milliseconds
from leanrec.integrations.postgres.schema import has_table

__all__ = [
    "CHANNEL",
    "append",
    "bind",
    "delete_old_lists",
    "forget",
    "lock_log",
    "read_head",
    "share_log",
    "write_hidden",
    "write_items",
    "write_lists",
    "write_rules",
]

CHANNEL = "leanrec_log"
_DAY = 86_400_000  # milliseconds
_LATEST = 9  # lists that tell the time; a wrong clock must be that of most of them
_HEAD = "last_seq, revision, coalesce((SELECT max(number) FROM leanrec.forgotten), 0) FROM leanrec.log"
_NEXT_REVISION = "UPDATE leanrec.log SET revision = revision + 1 RETURNING revision"
_EVENT_TYPES = (
    "bigint",
    "text",
    "jsonb",
    "jsonb",
    "text",
    "bigint",
    "float8",
    "float8",
    "text",
    "bigint",
    "float8",
    "bigint",
)
_LIST_TYPES = ("text", "bigint", "jsonb", "text", "json", "json", "text", "text", "text", "text", "json", "bigint")
_LIST_COLUMNS = "request, time, user_id, fallback, items, scores, version, policy, arm, rung, propensities, checksum"


def _unnest(types: Sequence[str]) -> str:
    return f"SELECT * FROM unnest({', '.join(f'${at}::{each}[]' for at, each in enumerate(types, 1))})"  # noqa: S608


_INSERT_EVENTS = f"""
INSERT INTO leanrec.event
    (seq, id, user_id, item_id, event_type, time, weight, rating, request, rank, propensity, checksum)
{_unnest(_EVENT_TYPES)}
"""
_INSERT_LISTS = f"""
INSERT INTO leanrec.served ({_LIST_COLUMNS}) {_unnest(_LIST_TYPES)}
ON CONFLICT (request) DO UPDATE SET ({_LIST_COLUMNS}) =
    ROW({", ".join(f"excluded.{each.strip()}" for each in _LIST_COLUMNS.split(","))})
"""


async def read_head(connection: Any) -> LogHead:
    """How far the log has been written."""
    return LogHead(*await connection.fetchrow(f"SELECT {_HEAD}"))


async def lock_log(connection: Any) -> LogHead:
    """The head of the log, which no other transaction changes before the end of this one."""
    last_seq, revision = await connection.fetchrow("SELECT last_seq, revision FROM leanrec.log FOR UPDATE")
    return LogHead(last_seq, revision, 0)


async def share_log(connection: Any, after: int) -> list[tuple[int, str]]:
    """Keep users from being forgotten before the end of this transaction. Returns those who were, after a number."""
    await connection.execute("SELECT FROM leanrec.log FOR SHARE")
    select = "SELECT number, digest FROM leanrec.forgotten WHERE number > $1 ORDER BY number"
    return [(number, digest) for number, digest in await connection.fetch(select, after)]


async def append(connection: Any, batches: Sequence[Sequence[UserEvent]], last: int) -> list[AppendResult]:
    """Write the events of all batches, except those whose id is there already or came before."""
    ids = [str(each.id) for batch in batches for each in batch]
    found = await connection.fetch("SELECT id FROM leanrec.event WHERE id = ANY ($1)", ids)
    new_of = select_new(batches, {name for (name,) in found})
    new = [each for own in new_of for each in own]
    if new:
        shown = await _find_shown(connection, new)
        rows = []
        for seq, each in enumerate(new, last + 1):
            row = build_event_row(each, shown)
            sealed = seal_extended(row, 1)
            rows.append((seq, row[0], _encode_id(row[1]), _encode_id(row[2]), *row[3:], sealed))
        await connection.execute(_INSERT_EVENTS, *map(list, zip(*rows, strict=True)))
        await connection.execute("UPDATE leanrec.log SET last_seq = $1", last + len(new))
        await _notify(connection)
    results = []
    for batch, own in zip(batches, new_of, strict=True):
        last += len(own)
        results.append(AppendResult(tuple(own), len(batch) - len(own), last))
    return results


async def write_lists(connection: Any, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write served lists. One that is there already is replaced."""
    rows = list({row[0]: row for row in rows}.values())  # of two with one id the last
    encoded = [(*row[:2], None if row[2] is None else _encode_id(row[2]), *row[3:]) for row in rows]
    await connection.execute(_INSERT_LISTS, *map(list, zip(*encoded, strict=True)))


async def write_items(rows: Sequence[tuple[Id, str]], connection: Any) -> None:
    """Write items and their content."""
    revision = await connection.fetchval(_NEXT_REVISION)
    insert = """
        INSERT INTO leanrec.item (id, content, revision, checksum) VALUES ($1, $2, $3, $4)
        ON CONFLICT (id) DO UPDATE SET content = excluded.content, revision = excluded.revision, checksum = excluded.checksum
    """
    await connection.executemany(insert, [(_encode_id(row[0]), row[1], revision, seal_row(*row)) for row in rows])
    await _notify(connection)


async def write_hidden(ids: Sequence[Id], change: Callable[[int], int], connection: Any) -> list[tuple[Id, int]]:
    """Change the reasons for which items are hidden, and return them (0 = it is shown)."""
    revision = await connection.fetchval(_NEXT_REVISION)
    select = "SELECT id, hidden FROM leanrec.hidden WHERE id = ANY ($1::jsonb[])"
    found = await connection.fetch(select, [_encode_id(item) for item in ids])
    before = {json.loads(item): reasons for item, reasons in found}
    rows = [(item, change(before.get(item, 0))) for item in ids]
    insert = """
        INSERT INTO leanrec.hidden (id, hidden, revision, checksum) VALUES ($1, $2, $3, $4)
        ON CONFLICT (id) DO UPDATE SET hidden = excluded.hidden, revision = excluded.revision, checksum = excluded.checksum
    """
    await connection.executemany(insert, [(_encode_id(row[0]), row[1], revision, seal_row(*row)) for row in rows])
    await _notify(connection)
    return rows


async def write_rules(rules: str, revision: int, connection: Any) -> StoredRules:
    """Write rules of lists in the place of those with a revision. Raises ConflictError if the log has another one."""
    row = await connection.fetchrow("SELECT seq, rules FROM leanrec.list_rules")
    changed = (StoredRules() if row is None else StoredRules(*row)).replace(rules, revision)
    await connection.execute("DELETE FROM leanrec.list_rules")
    await connection.execute("INSERT INTO leanrec.list_rules VALUES ($1, $2, $3)", *changed, seal_row(*changed))
    await connection.execute(_NEXT_REVISION)
    await _notify(connection)
    return changed


async def bind(origin: DataOrigin, connection: Any) -> None:
    """Add a data set to those that the log belongs to. An empty log drops the earlier ones."""
    await connection.execute("""
        DELETE FROM leanrec.origin WHERE NOT EXISTS (SELECT 1 FROM leanrec.event)
        AND NOT EXISTS (SELECT 1 FROM leanrec.item) AND NOT EXISTS (SELECT 1 FROM leanrec.hidden)
    """)
    row = (origin.fingerprint, origin.description)
    insert = (
        "INSERT INTO leanrec.origin (fingerprint, description, checksum) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
    )
    await connection.execute(insert, *row, seal_row(*row))


async def forget(name: str, digest: str, connection: Any) -> ForgottenUser:
    """Delete the events and served lists of a user and the snapshots, and write the hash of the id."""
    last = await connection.fetchval("SELECT last_seq FROM leanrec.log")
    status = await connection.execute("DELETE FROM leanrec.event WHERE user_id #>> '{}' = $1", name)
    n_events = int(status.split()[-1])
    await connection.execute("DELETE FROM leanrec.served WHERE user_id #>> '{}' = $1", name)
    if await has_table(connection, "snapshot"):
        await connection.execute("DELETE FROM leanrec.snapshot")
    number = await connection.fetchval("SELECT coalesce(max(number), 0) + 1 FROM leanrec.forgotten")
    before = await connection.fetchval("DELETE FROM leanrec.forgotten WHERE digest = $1 RETURNING n_events", digest)
    row = (number, digest, n_events + (before or 0), last)
    await connection.execute("INSERT INTO leanrec.forgotten VALUES ($1, $2, $3, $4, $5)", *row, seal_row(*row))
    await _notify(connection)
    return ForgottenUser(number, digest, n_events, last)


async def _find_shown(connection: Any, user_events: Sequence[UserEvent]) -> Any:
    requests = {each.request for each in user_events if each.request is not None}
    if not requests:
        return {}
    select = "SELECT request, items, propensities FROM leanrec.served WHERE request = ANY ($1)"
    return index_shown(
        (request, json.loads(items), None if drawn is None else json.loads(drawn))
        for request, items, drawn in await connection.fetch(select, list(requests))
    )


async def delete_old_lists(connection: Any, retention: RetentionPolicy) -> None:
    """Delete lists that are too old or too many, see ``RetentionPolicy``, unless another server is about to."""
    async with connection.transaction():
        if await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('leanrec retention'))"):
            await _delete_lists(connection, retention)


async def _delete_lists(connection: Any, retention: RetentionPolicy) -> None:
    latest = "SELECT time FROM leanrec.served ORDER BY seq DESC LIMIT $1"
    times = sorted(each for (each,) in await connection.fetch(latest, _LATEST))
    if not times:
        return
    newest = min(to_milliseconds(time.time()), times[(len(times) - 1) // 2])
    await connection.execute("DELETE FROM leanrec.served WHERE time < $1", round(newest - retention.max_days * _DAY))
    too_many = (
        "DELETE FROM leanrec.served WHERE seq <= (SELECT seq FROM leanrec.served ORDER BY seq DESC OFFSET $1 LIMIT 1)"
    )
    await connection.execute(too_many, retention.max_lists)


async def _notify(connection: Any) -> None:
    """Tell all servers at the commit."""
    await connection.execute(f"SELECT pg_notify('{CHANNEL}', '')")


def _encode_id(value: Id) -> str:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise DataError(f"An event must hold numbers of at most 64 bits and valid text. Got: {value}.")
    if isinstance(value, str):
        value.encode()  # raises for what is no valid text; JSON would escape it
    return json.dumps(value)
