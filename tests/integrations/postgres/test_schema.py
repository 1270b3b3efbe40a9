"""Tables of an event log in PostgreSQL: made once, also by servers that start together; other versions are refused."""

import threading

import pytest

from contracts.postgres import PostgresServer
from leanrec.errors import SourceError
from leanrec.events import sqlite_reader
from leanrec.events.locations import open_reader, open_store
from leanrec.integrations.postgres.schema import FORMAT_VERSION

pytestmark = [pytest.mark.system, pytest.mark.postgres]


def test_the_format_is_that_of_files() -> None:
    assert FORMAT_VERSION == sqlite_reader.FORMAT_VERSION


def test_servers_that_start_together_make_one_log(url: str) -> None:
    ids: list[str] = []

    def start() -> None:
        with open_store(url) as log:
            ids.append(log.id)

    threads = [threading.Thread(target=start) for _ in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(ids) == 5
    assert len(set(ids)) == 1


def test_a_database_without_a_log_is_refused_by_readers_and_left_alone(server: PostgresServer, url: str) -> None:
    with pytest.raises(SourceError, match="The database has none. Serve with it once"):
        open_reader(url)
    assert server.query(url, "SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'leanrec'") == "0"


def test_a_log_of_another_version_is_refused(server: PostgresServer, url: str) -> None:
    open_store(url).close()
    server.query(url, "UPDATE leanrec.log SET format = 99")
    for act in (open_reader, open_store):
        with pytest.raises(SourceError, match="It has version 99"):
            act(url)


def test_a_changed_id_is_damage(server: PostgresServer, url: str) -> None:
    open_store(url).close()
    server.query(url, "UPDATE leanrec.log SET id = 'other'")
    with pytest.raises(SourceError, match="its id was changed"):
        open_reader(url)


def test_a_user_who_may_not_create_tables_can_use_them(server: PostgresServer, url: str) -> None:
    role = url.rpartition("/")[2]
    server.query(url, f"CREATE ROLE {role} LOGIN; REVOKE CREATE ON DATABASE {role} FROM PUBLIC")
    limited = url.replace("leanrec@", f"{role}@")
    with pytest.raises(SourceError, match="GRANT CREATE ON DATABASE"):
        open_store(limited)
    open_store(url).close()
    grant = "GRANT USAGE ON SCHEMA leanrec TO {0}; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA leanrec TO {0}"
    server.query(url, grant.format(role))
    with open_store(limited) as log:
        log.add_items({7: {}})
        assert log.item_contents() == [(7, {})]
