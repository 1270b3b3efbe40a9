"""Statements of an event log in PostgreSQL: retention by one server at a time, and ids that no JSON can hold."""

import asyncio
from typing import Any

import pytest

from contracts.event_store import make_event
from contracts.postgres import PostgresServer
from leanrec.errors import DataError
from leanrec.events.locations import open_store
from leanrec.events.records import RetentionPolicy, ServedList
from leanrec.integrations.postgres import statements
from leanrec.integrations.postgres.connection import ConnectionLimits, connected

pytestmark = [pytest.mark.system, pytest.mark.postgres]


def _delete_old(url: str, retention: RetentionPolicy) -> None:
    async def run() -> Any:
        async with connected(url, ConnectionLimits()) as connection:
            await statements.delete_old_lists(connection, retention)

    asyncio.run(run())


def test_a_list_with_a_wrong_clock_deletes_no_other(server: PostgresServer, url: str) -> None:
    day = 86_400
    times = [day, 50 * day, *([100 * day] * 9), 10_000 * day]
    with open_store(url) as log:
        for at, time in enumerate(times):
            log.append_served(ServedList(f"r{at}", time, 1, (1,), (1.0,)))
        log.append([make_event(0)])
        server.query(url, "SELECT 1")
        _delete_old(url, RetentionPolicy(max_days=60))
        assert [each.time for each in log.served_lists()] == times[1:]
        _delete_old(url, RetentionPolicy(max_lists=4))
        assert [each.time for each in log.served_lists()] == times[-4:]
        with server.holding(url, "SELECT pg_advisory_xact_lock(hashtext('leanrec retention'))"):
            _delete_old(url, RetentionPolicy(max_lists=1))  # another server does it
        assert len(list(log.served_lists())) == 4


@pytest.mark.parametrize("user", ["a\0b", "\ud800", 2**63])
def test_an_id_that_cannot_be_kept_is_refused(url: str, user: str | int) -> None:
    with open_store(url) as log:
        with pytest.raises(DataError, match="64 bits and valid text"):
            log.append([make_event(1, user=user)])
        with pytest.raises(DataError, match="64 bits and valid text"):
            log.add_items({user: {}})
        assert log.is_empty
