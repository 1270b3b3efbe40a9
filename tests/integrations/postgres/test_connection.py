"""Connections to PostgreSQL: every time-out is set, and errors say what to do."""

import asyncio
import socket
import time
from typing import Any

import asyncpg
import pytest

from leanrec.errors import DataError, SourceError
from leanrec.integrations.postgres.connection import ConnectionLimits, LoopThread, concerns_data, connected

pytestmark = [pytest.mark.system, pytest.mark.postgres]


async def _ask(url: str, query: str, limits: ConnectionLimits = ConnectionLimits()) -> Any:
    async with connected(url, limits) as connection:
        return await connection.fetchval(query)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("statement_timeout", "4s"),
        ("lock_timeout", "3s"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("synchronous_commit", "on"),
        ("application_name", "leanrec"),
    ],
)
def test_sessions_have_time_outs_and_durable_commits(url: str, name: str, value: str) -> None:
    assert asyncio.run(_ask(url, f"SHOW {name}")) == value


def test_a_long_statement_ends(url: str) -> None:
    with pytest.raises(SourceError, match="statement timeout"):
        asyncio.run(_ask(url, "SELECT pg_sleep(60)", ConnectionLimits(statement=0.1)))


def test_what_accepts_and_says_nothing_is_left_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        start = time.monotonic()
        url = f"postgresql://ada:secret@127.0.0.1:{listener.getsockname()[1]}/log"
        with pytest.raises(SourceError, match="did not answer in time") as caught:
            asyncio.run(_ask(url, "SELECT 1", ConnectionLimits(connect=0.2)))
        assert time.monotonic() - start < 20  # without a time-out it would wait for ever
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: url + "x", "must be in a database that exists"),
        (lambda url: url.replace("leanrec@", "nobody:secret@"), "must let this user in"),
        (lambda url: url.replace("127.0.0.1", "127.0.0.2"), "cannot be used: .*Check the server and the URL"),
    ],
)
def test_what_is_wrong_with_a_url_is_told(url: str, change: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        asyncio.run(_ask(change(url), "SELECT 1"))
    assert "secret" not in str(caught.value)


def test_errors_of_values_leave_a_connection_as_it_is(url: str) -> None:
    with pytest.raises(DataError, match="without a null character"):
        asyncio.run(_ask(url, "SELECT 'x'::json"))
    assert concerns_data(asyncpg.exceptions.UniqueViolationError("twice"))
    assert concerns_data(UnicodeEncodeError("utf-8", "x", 0, 1, "surrogate"))
    assert not concerns_data(asyncpg.exceptions.AdminShutdownError("away"))
    assert not concerns_data(asyncpg.exceptions.LockNotAvailableError("locked"))
    assert not concerns_data(ConnectionResetError())


def test_a_loop_in_a_thread_ends_with_what_is_under_way() -> None:
    thread = LoopThread("test")
    waiting = asyncio.run_coroutine_threadsafe(asyncio.sleep(60), thread.loop)
    thread.close()
    thread.close()
    assert waiting.cancelled()
