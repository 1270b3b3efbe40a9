"""Tables of an event log in PostgreSQL: the fields of the SQLite format, in a schema of their own."""

import contextlib
import uuid
from typing import Any

import asyncpg

from leanrec.errors import SourceError
from leanrec.events.seals import seal_row

__all__ = ["FORMAT_VERSION", "check_format", "create_tables", "has_table"]

FORMAT_VERSION = 6  # the fields of this version of the SQLite format

_RULES_TABLE = """
CREATE TABLE IF NOT EXISTS leanrec.list_rules (
    seq bigint PRIMARY KEY, rules text NOT NULL, checksum bigint NOT NULL
);
"""
_SNAPSHOT_TABLE = """
CREATE TABLE IF NOT EXISTS leanrec.snapshot (
    number bigint, part integer, n_parts integer NOT NULL, version text NOT NULL, last_seq bigint NOT NULL,
    content bytea NOT NULL, checksum bigint NOT NULL, PRIMARY KEY (number, part)
);
ALTER TABLE leanrec.snapshot ALTER COLUMN content SET STORAGE EXTERNAL;
"""
# Made later than the others, so a log may lack them.
_LATER_TABLES = {"list_rules": _RULES_TABLE, "snapshot": _SNAPSHOT_TABLE}
# External ids are JSON, so that 12 stays a number and "12" stays text. What has a checksum is json and not jsonb, which would
# write numbers anew. One row of `log` numbers the events and the changes: the session that has it locked is the only one that writes,
# so that numbers are visible in their order and without holes, which those of a sequence are not.
_TABLES = f"""
CREATE SCHEMA IF NOT EXISTS leanrec;
CREATE TABLE IF NOT EXISTS leanrec.log (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), id text NOT NULL, format integer NOT NULL, last_seq bigint NOT NULL,
    revision bigint NOT NULL, checksum bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS leanrec.event (
    seq bigint PRIMARY KEY, id text NOT NULL UNIQUE, user_id jsonb NOT NULL, item_id jsonb NOT NULL, event_type text NOT NULL,
    time bigint NOT NULL, weight double precision NOT NULL, rating double precision, request text, rank bigint,
    propensity double precision, checksum bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS leanrec.served (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, request text NOT NULL UNIQUE, time bigint NOT NULL, user_id jsonb,
    fallback text, items json NOT NULL, scores json NOT NULL, version text, policy text, arm text, rung text,
    propensities json, checksum bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS served_by_time ON leanrec.served (time);
CREATE TABLE IF NOT EXISTS leanrec.item (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id jsonb NOT NULL UNIQUE, content json NOT NULL,
    revision bigint NOT NULL, checksum bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS leanrec.hidden (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id jsonb NOT NULL UNIQUE, hidden bigint NOT NULL,
    revision bigint NOT NULL, checksum bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS leanrec.origin (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, fingerprint text NOT NULL UNIQUE, description text NOT NULL,
    checksum bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS leanrec.forgotten (
    number bigint PRIMARY KEY, digest text NOT NULL UNIQUE, n_events bigint NOT NULL, last_seq bigint NOT NULL,
    checksum bigint NOT NULL
);
{_RULES_TABLE}
{_SNAPSHOT_TABLE}
"""


async def has_table(connection: Any, name: str) -> bool:
    """Whether the log has a table. One that was made by an earlier release may lack some."""
    return await connection.fetchval("SELECT to_regclass($1)::text", f"leanrec.{name}") is not None


async def check_format(name: str, connection: Any) -> bool:
    """Whether the database has no log yet. Raises SourceError for a log of another version."""
    if await connection.fetchval("SELECT to_regclass('leanrec.log')::text") is None:
        return True
    row = await connection.fetchrow("SELECT id, format, checksum FROM leanrec.log")
    if row is None:
        return True
    if row["format"] != FORMAT_VERSION:
        raise SourceError(
            f"{name} must be an event log of version {FORMAT_VERSION}. It has version {row['format']}, of another version of "
            "leanrec. Use that version, or another database."
        )
    if seal_row(row["id"]) != row["checksum"]:
        raise SourceError(f"The event log {name} is damaged: its id was changed. Restore it from a backup.")
    return False


async def create_tables(name: str, connection: Any) -> None:
    """Create what is missing, once if several servers start at the same time."""
    if not await check_format(name, connection):
        for table, create in _LATER_TABLES.items():
            if not await has_table(connection, table):
                # A user without the right to create tables can use those that are there.
                with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
                    async with connection.transaction():
                        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('leanrec'))")
                        await connection.execute(create)
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('leanrec'))")
        await connection.execute(_TABLES)
        identifier = uuid.uuid4().hex
        insert = """
            INSERT INTO leanrec.log (id, format, last_seq, revision, checksum) VALUES ($1, $2, 0, 0, $3)
            ON CONFLICT DO NOTHING
        """
        await connection.execute(insert, identifier, FORMAT_VERSION, seal_row(identifier))
