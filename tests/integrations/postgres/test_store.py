"""The event store in PostgreSQL: the contract of every store, several servers, and a server that is away."""

from collections.abc import Callable

import pytest

from contracts.event_store import EventStoreContract
from contracts.postgres import PostgresServer

pytestmark = [pytest.mark.system, pytest.mark.postgres]


class TestPostgres(EventStoreContract):
    @pytest.fixture
    def location(self, url: str) -> str:
        return url

    @pytest.fixture
    def damage(self, server: PostgresServer, url: str) -> Callable[[str, str], None]:
        return lambda table, change: server.query(url, f"UPDATE leanrec.{table} SET {change}")
