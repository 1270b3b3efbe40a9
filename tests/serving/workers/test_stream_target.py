"""What the stream changes in a worker: events and items as if they had been recorded here."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import make_dataset
from contracts.server_log import restore_loggers
from leanrec.data.table import Table
from leanrec.errors import DataError, SettingError, UnknownIdError
from leanrec.events import SQLiteEventStore, UserEvent
from leanrec.events.event_reader import build_item_table
from leanrec.events.records import AppendResult, StoredRules
from leanrec.events.sqlite_reader import SQLiteEventReader
from leanrec.models import get_model
from leanrec.online import VersionTrial
from leanrec.pipeline import ColumnLimit, ListRules, PinnedItem, Pipeline
from leanrec.pipeline.replay import ReplayResult
from leanrec.pipeline.responses import AddItemsResult
from leanrec.serving.monitoring.server_log import start_logging
from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.workers.messages import AddItems, ForgetUser, HideItems, ReplaceRules
from leanrec.serving.workers.remote_store import RemoteEventStore
from leanrec.serving.workers.stream_target import StreamedPipeline, StreamRecorder


class Remote(RemoteEventStore):
    """A log that keeps what it is asked for."""

    def __init__(self, path: Path) -> None:
        SQLiteEventStore(path).close()
        super().__init__(SQLiteEventReader(path), path)
        self.asked: list[Any] = []

    def set_hidden(self, items: Any, *, hidden: bool, by_stock: bool = False) -> tuple[Any, ...]:
        self.asked.append((items, hidden, by_stock))
        return tuple(items)

    def replace_list_rules(self, rules: str, revision: int) -> StoredRules:
        self.asked.append((rules, revision))
        return StoredRules(revision + 1, rules)


@pytest.fixture(scope="module")
def model() -> Pipeline:
    return Pipeline.fit(get_model("content")(), make_dataset())


@pytest.fixture
def live(model: Pipeline, tmp_path: Path) -> StreamedPipeline:
    return StreamedPipeline(
        Pipeline.load(model.save(tmp_path / "model")), Remote(tmp_path / "events.db"), ReplayResult(0, last_seq=4)
    )


def _add(live: StreamedPipeline, contents: dict[Any, dict[str, Any]], persist: Callable[[], Any]) -> AddItemsResult:
    return live.add_items(list(contents), build_item_table(list(contents.values())), persist=persist)


def test_a_new_item_is_checked_written_and_added_when_it_comes_back(live: StreamedPipeline) -> None:
    contents = {90_001: {"title": "brand new"}}

    def persist() -> AddItemsResult | None:
        assert 90_001 not in live.pipeline.catalog.items
        return live.apply_change(AddItems(list(contents.items())))

    assert _add(live, contents, persist) == AddItemsResult(1, 0, 0)
    assert 90_001 in live.pipeline.catalog.items


def test_what_the_model_cannot_add_is_not_written(live: StreamedPipeline) -> None:
    def persist() -> None:
        pytest.fail("must not be written")

    with pytest.raises(DataError, match="whole numbers"):
        _add(live, {"text": {"title": "no number"}}, persist)
    with pytest.raises(UnknownIdError):
        live.set_hidden([77_777], hidden=True)
    assert live._remote.asked == []  # type: ignore[attr-defined]


def test_of_many_items_those_that_fit_are_added(live: StreamedPipeline) -> None:
    with pytest.raises(DataError):
        live.apply_change(AddItems([("text", {"title": "no number"}), (90_002, {"title": "brand new"})]))
    assert 90_002 in live.pipeline.catalog.items


def test_an_event_that_came_before_its_item_is_recorded_with_it(live: StreamedPipeline) -> None:
    clicks = [UserEvent(f"e-{item}", "ann", item, "click", 1.7e9, 1.0) for item in (100, 90_001, 101)]
    with SQLiteEventStore(live._remote.location) as log:
        log.append([UserEvent(f"old-{number}", "bob", 100, "click", 1.7e9, 1.0) for number in range(4)] + clicks)
    assert live.record(clicks, 7).applied == 2
    live.apply_change(AddItems([(90_001, {"title": "brand new"})]))
    assert [each.id for each in live.pipeline.history("ann")] == [101, 90_001, 100]


def test_rules_are_checked_written_and_hold_when_the_change_comes_back(live: StreamedPipeline) -> None:
    rules = ListRules((PinnedItem(130, 1),))
    with pytest.raises(SettingError, match="no column 'genre'"):
        live.replace_rules(ListRules(limits=(ColumnLimit("genre", 1),)), 0)
    live.replace_rules(rules, 0)
    assert live._remote.asked == [(rules.to_json(), 0)]  # type: ignore[attr-defined]
    assert live.pipeline.rules == ListRules()
    assert live.apply_change(ReplaceRules(rules.to_json(), 2)) == (2, rules.to_json())
    assert live.pipeline.rules == rules
    live.apply_change(ReplaceRules(ListRules().to_json(), 1))  # an older one, which a worker that joins may get
    assert live.pipeline.rules == rules


def test_items_are_hidden_when_the_change_comes_back(live: StreamedPipeline) -> None:
    live.set_hidden([100], hidden=True)
    assert not live.pipeline.is_hidden(100)
    assert live._remote.asked == [([100], True, False)]  # type: ignore[attr-defined]
    live.apply_change(HideItems([100], hidden=True))
    assert live.pipeline.is_hidden(100)
    live.apply_change(HideItems([100], hidden=False))
    assert not live.pipeline.is_hidden(100)


def test_a_forgotten_user_is_found_by_the_id_or_by_its_hash(live: StreamedPipeline) -> None:
    with SQLiteEventStore(live._remote.location) as log:
        log.append([UserEvent(f"e-{user}", user, 100, "click", 1.7e9, 1.0) for user in ("user-1", "user-2", "new")])
        forgotten = [log.forget_user(user) for user in ("user-1", "user-2")]
    live.record([UserEvent("e-new", "new", 100, "click", 1.7e9, 1.0)], 5)
    for user, each in zip(("user-1", None), forgotten, strict=True):
        assert live.apply_change(ForgetUser(user, each)) == each
    for user in ("user-1", "user-2"):
        with pytest.raises(UnknownIdError):
            live.pipeline.history(user)
    assert live.n_forgotten == 2
    assert len(live.pipeline.history("new")) == 1
    assert len(live.pipeline.history("user-3")) > 1


def test_the_version_on_trial_gets_all_changes_too(live: StreamedPipeline, tmp_path: Path) -> None:
    trial = VersionTrial(2, "v2", 0.5, is_shadow=False, salt="salt", started="2026-11-30T12:00:00")
    live._set_trial(trial, Pipeline.load(tmp_path / "model"), 4, has_rejected=False)
    live.apply_change(HideItems([100], hidden=True))
    with pytest.raises(DataError):
        live.apply_change(AddItems([("text", {"title": "no number"}), (90_002, {"title": "brand new"})]))
    live.record([UserEvent("e-5", "new", 101, "click", 1.7e9, 1.0)], 5)
    with SQLiteEventStore(live._remote.location) as log:
        forgotten = log.forget_user("user-2")
    live.apply_change(ForgetUser(None, forgotten))
    assert len(live.versions) == 2
    for each in live.versions:
        assert each.pipeline.is_hidden(100)
        assert 90_002 in each.pipeline.catalog.items
        assert len(each.pipeline.history("new")) == 1
        with pytest.raises(UnknownIdError):
            each.pipeline.history("user-2")


def _record(live: StreamedPipeline) -> StreamRecorder:
    return StreamRecorder(live, live._remote, ServingMetrics(), ("click",))


def test_events_are_applied_from_where_the_replay_ended(live: StreamedPipeline) -> None:
    recorder = _record(live)
    assert recorder.as_of == 4
    clicks = tuple(UserEvent(f"e-{item}", "ann", item, "click", 1.7e9, 1.0) for item in (100, 101, 5_555, 102))
    recorded = asyncio.run(recorder.apply_events(AppendResult(clicks, 0, 8)))
    assert (recorded.applied, [each.position for each in recorded.rejected]) == (3, [2])
    assert recorder.as_of == 8
    assert [each.id for each in live.pipeline.history("ann")] == [102, 101, 100]


def test_a_defect_is_reported_and_the_stream_goes_on(live: StreamedPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, stream = _record(live), io.StringIO()

    def fail(*_: object) -> None:
        raise ZeroDivisionError("ann")

    monkeypatch.setattr(live, "record", fail)
    click = UserEvent("e", "ann", 100, "click", 1.7e9, 1.0)
    with restore_loggers():
        start_logging("text", stream)
        assert asyncio.run(recorder.apply_events(AppendResult((click,), 0, 5))).applied == 0
    assert recorder.as_of == 5
    assert stream.getvalue().startswith("Events up to 5 were not applied.\n")
    assert "ZeroDivisionError" in stream.getvalue()
    assert "ann" not in stream.getvalue()


def test_a_model_without_content_refuses_new_items(tmp_path: Path) -> None:
    pipeline = Pipeline.fit(get_model("popularity")(), make_dataset())
    live = StreamedPipeline(pipeline, Remote(tmp_path / "events.db"), ReplayResult(0))
    with pytest.raises(SettingError, match="refit"):
        live.add_items([90_001], Table({}), persist=lambda: None)
