"""One PostgreSQL server for the tests of a process, and a database that is empty for each test."""

from collections.abc import Iterator

import pytest

from contracts.postgres import PostgresServer, run_postgres


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with run_postgres() as running:
        yield running


@pytest.fixture(scope="session")
def database(server: PostgresServer) -> str:
    return server.create_database()


@pytest.fixture
def url(server: PostgresServer, database: str) -> str:
    server.query(database, "SET client_min_messages = error; DROP SCHEMA IF EXISTS leanrec CASCADE")
    return database
