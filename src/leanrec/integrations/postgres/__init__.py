"""An event log in PostgreSQL, which several servers share (extra ``postgres``: asyncpg, Apache-2.0)."""

from leanrec.integrations.postgres.reader import PostgresEventReader
from leanrec.integrations.postgres.store import PostgresEventStore

__all__ = ["PostgresEventReader", "PostgresEventStore", "open_reader", "open_store"]

open_reader = PostgresEventReader
open_store = PostgresEventStore
