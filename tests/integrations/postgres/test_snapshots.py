"""Snapshots in the database: any server writes them, all start from them, and forgetting a user deletes them."""

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_dataset
from contracts.postgres import PostgresServer
from leanrec.data.table import Table
from leanrec.errors import SourceError
from leanrec.events.user_events import UserEvent
from leanrec.integrations.postgres import PostgresEventReader, PostgresEventStore
from leanrec.integrations.postgres import snapshots as module
from leanrec.integrations.postgres.snapshots import PostgresSnapshots
from leanrec.models import get_model
from leanrec.online.snapshot_writer import SnapshotWriter
from leanrec.pipeline import Pipeline
from leanrec.pipeline.replay import ReplayResult, bind_log
from leanrec.serving.shared_recorder import SharedPipeline

pytestmark = [pytest.mark.system, pytest.mark.postgres]

DATA = make_dataset(n_users=12, n_items=20, per_user=6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pipeline = Pipeline.fit(get_model("content")(), DATA)
    return pipeline.save(tmp_path_factory.mktemp("models") / "model")


def make_events(start: int, stop: int) -> list[UserEvent]:
    users = [*DATA.users.ids.tolist(), "new-a", "new-b"]
    return [
        UserEvent(f"e{number}", users[number % 14], int(DATA.items.ids[number % 7]), "rating", 2e9 + number, 1.0, 4.0)
        for number in range(start, stop)
    ]


def start(model: Path, url: str) -> tuple[Pipeline, ReplayResult]:
    pipeline = Pipeline.load(model)
    return pipeline, bind_log(pipeline, PostgresEventReader(url))


def get_histories(pipeline: Pipeline) -> dict[str, Any]:
    return {str(user): pipeline.history(user) for user, _ in pipeline.find_users("", 1000)}


def record(live: SharedPipeline, log: PostgresEventStore, user_events: list[UserEvent]) -> None:
    appended = log.append(user_events)
    live.record(appended.new, appended.last_seq)


def test_a_start_reads_the_snapshot_of_any_server_and_the_events_behind_it(
    model: Path, url: str, server: PostgresServer
) -> None:
    with PostgresEventStore(url) as one, PostgresEventStore(url) as two:
        first, second = (SharedPipeline(Pipeline.load(model), each) for each in (one, two))
        record(first, one, make_events(0, 90))
        first.save_snapshot()
        assert (first.snapshot_seq, second.snapshot_seq) == (90, 0)
        second.save_snapshot()  # another has just written it
        assert second.snapshot_seq == 90
        record(second, two, make_events(90, 130))
        fast, replayed = start(model, url)
        assert (replayed.note, replayed.snapshot_seq, replayed.last_seq) == (None, 90, 130)
        second.save_snapshot()
        assert start(model, url)[1].snapshot_seq == 130
        assert server.query(url, "SELECT count(DISTINCT number) FROM leanrec.snapshot") == "1"
        assert get_histories(fast) == get_histories(start(model, url)[0])
        server.query(url, "DELETE FROM leanrec.snapshot")
        slow, replayed = start(model, url)
        assert (replayed.note, replayed.snapshot_seq) == (None, 0)
        assert get_histories(fast) == get_histories(slow)


def test_a_forgotten_user_is_in_no_snapshot_also_not_that_of_a_server_that_was_away(
    model: Path, url: str, server: PostgresServer
) -> None:
    with PostgresEventStore(url) as one:
        first = SharedPipeline(Pipeline.load(model), one)
        record(first, one, make_events(0, 60))
        first.save_snapshot()  # and then this server is away
    with PostgresEventStore(url) as two:
        second = SharedPipeline(Pipeline.load(model), two)
        assert second.replayed.snapshot_seq == 60
        second.forget_user("new-a")
        assert server.query(url, "SELECT count(*) FROM leanrec.snapshot") == "0"
        pipeline, replayed = start(model, url)
        assert (replayed.note, replayed.snapshot_seq) == (None, 0)
        assert "new-a" not in get_histories(pipeline)
        assert second.snapshot_seq == 0
        record(second, two, make_events(60, 80))
        second.save_snapshot()
        fast, replayed = start(model, url)
        assert replayed.snapshot_seq == 80
        server.query(url, "DELETE FROM leanrec.snapshot")
        assert get_histories(fast) == get_histories(start(model, url)[0])
        assert len(get_histories(fast)["new-a"]) < len(get_histories(fast)["new-b"])  # those of a new user


def test_a_snapshot_that_is_written_while_a_user_is_forgotten_is_given_up(url: str, server: PostgresServer) -> None:
    with PostgresEventStore(url) as log:
        log.append(make_events(0, 14))
        table = log.snapshot_table
        written: list[bool] = []
        with server.holding(url, "SELECT * FROM leanrec.log FOR UPDATE; DELETE FROM leanrec.snapshot"):
            writing = threading.Thread(target=lambda: written.append(table.write("v", 14, 0, b"new-a" * 10)))
            writing.start()
            while server.query(url, "SELECT count(*) FROM pg_locks WHERE NOT granted") == "0":
                assert writing.is_alive()
        writing.join()
        assert written == [True]  # the other has changed nothing
        log.forget_user("new-a")
        assert (table.read("v"), table.find_last_seq("v")) == (None, 0)
        assert not table.write("v", 15, 0, b"new-a")  # of before
        assert table.read("v") is None
        assert table.write("v", 15, 1, b"new-b")
        assert table.read("v") == b"new-b"


def test_one_snapshot_is_kept_for_each_of_two_versions(
    url: str, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PART", 1000)
    content = np.random.default_rng(1).bytes(4321)
    with PostgresEventStore(url) as log:
        table = log.snapshot_table
        assert (table.read("one"), table.find_last_seq("one")) == (None, 0)
        for version, last in (("one", 5), ("two", 6), ("one", 7), ("three", 8)):
            assert table.write(version, last, 0, content + version.encode())
        assert [table.find_last_seq(each) for each in ("one", "two", "three")] == [7, 0, 8]
        assert not table.write("three", 8, 0, b"the same again")
        assert table.read("one") == content + b"one"
        assert server.query(url, "SELECT count(*) FROM leanrec.snapshot") == "10"
        server.query(url, "UPDATE leanrec.snapshot SET content = 'x' WHERE part = 3")
        with pytest.raises(SourceError, match="The snapshot in .* is damaged"):
            table.read("one")
        server.query(url, "DELETE FROM leanrec.snapshot WHERE part = 4 AND version = 'three'")
        with pytest.raises(SourceError, match="is damaged"):
            table.read("three")


def test_only_one_server_writes_at_a_time(url: str, server: PostgresServer) -> None:
    with PostgresEventStore(url) as log:
        with server.holding(url, "SELECT pg_advisory_xact_lock(hashtext('leanrec snapshot'))"):
            assert not log.snapshot_table.write("v", 5, 0, b"x")
        assert log.snapshot_table.write("v", 5, 0, b"x")


def test_a_damaged_snapshot_costs_time_only(model: Path, url: str, server: PostgresServer) -> None:
    with PostgresEventStore(url) as log:
        live = SharedPipeline(Pipeline.load(model), log)
        record(live, log, make_events(0, 40))
        live.save_snapshot()
        server.query(url, "UPDATE leanrec.snapshot SET content = 'x'")
        pipeline, replayed = start(model, url)
        assert replayed.snapshot_seq == 0
        assert "The snapshot of the event log cannot be used" in str(replayed.note)
        assert get_histories(pipeline) == get_histories(live.pipeline)


def test_items_that_came_in_another_order_than_in_the_log_are_the_same_items(model: Path, url: str) -> None:
    with PostgresEventStore(url) as log:
        live = SharedPipeline(Pipeline.load(model), log)
        log.add_items({901: {"title": "of another server"}})  # which this one hears of later
        for name in (902, 901):
            table = Table({"title": np.array([f"item {name}"], np.dtypes.StringDType())})
            live.add_items([name], table, persist=lambda name=name: log.add_items({name: {"title": f"item {name}"}}))
        events = [UserEvent(f"x{at}", "new-a", item, "click", 2e9 + at, 1.0) for at, item in enumerate((901, 902, 902))]
        record(live, log, events)
        live.save_snapshot()
        pipeline, replayed = start(model, url)
        assert (replayed.note, replayed.snapshot_seq) == (None, 3)
        assert pipeline.history("new-a") == live.pipeline.history("new-a")
        assert [each.id for each in pipeline.history("new-a")] == [902, 902, 901]


def test_a_log_of_an_earlier_release_gets_the_table(model: Path, url: str, server: PostgresServer) -> None:
    PostgresEventStore(url).close()
    server.query(url, "DROP TABLE leanrec.snapshot")
    table = PostgresEventReader(url).snapshot_table
    assert (table.read("v"), table.find_last_seq("v"), table.write("v", 1, 0, b"x")) == (None, 0, False)
    assert start(model, url)[1].note is None
    with PostgresEventStore(url) as log:
        assert log.forget_user("ada").number == 1
        assert log.snapshot_table.write("v", 1, 1, b"x")


def test_the_writer_of_a_server_writes_at_its_end(model: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leanrec.online.snapshot_writer._MIN_TAIL", 10)
    with PostgresEventStore(url) as log:
        live = SharedPipeline(Pipeline.load(model), log)
        reports: list[str] = []
        writer = SnapshotWriter(live, reports.append)
        record(live, log, make_events(0, 30))
        writer.close()
        assert (live.snapshot_seq, reports) == (30, [])
        assert isinstance(log.snapshot_table, PostgresSnapshots)
    assert dataclasses.asdict(start(model, url)[1])["snapshot_seq"] == 30
