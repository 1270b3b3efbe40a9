"""One PostgreSQL server for the tests of a process, and a new database for each test."""

from collections.abc import Iterator

import pytest

from contracts.postgres import PostgresServer, run_postgres


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with run_postgres() as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.create_database()
