"""A followed pipeline: changes in the log are taken over, once or several times, with the same outcome."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import make_dataset
from leanrec.errors import DataError
from leanrec.events import SQLiteEventStore, UserEvent
from leanrec.models import get_model
from leanrec.online.followed_pipeline import FollowedPipeline
from leanrec.pipeline import Pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Pipeline.fit(get_model("content")(), make_dataset()).save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteEventStore]:
    with SQLiteEventStore(tmp_path / "events.db") as store:
        yield store


def _make_event(number: int, user: str, item: int) -> UserEvent:
    return UserEvent(f"e{number}", user, item, "rating", 2_000_000_000 + number, 1.0)


def test_an_item_of_another_process_is_added_with_its_early_events(model: Path, log: SQLiteEventStore) -> None:
    live = FollowedPipeline(Pipeline.load(model), log)
    appended = log.append([_make_event(1, "ada", 900)])
    assert live.record(appended.new, appended.last_seq).rejected
    for _ in range(2):
        live.take_items({900: {"title": "brand new"}})
        assert [each.id for each in live.pipeline.history("ada", 9)] == [900]
    with pytest.raises(DataError):
        live.take_items({"text": {"title": "no number"}, 901: {"title": "whole"}})
    assert 901 in live.pipeline.catalog.items


def test_hidden_items_follow_the_log(model: Path, log: SQLiteEventStore) -> None:
    live = FollowedPipeline(Pipeline.load(model), log)
    for hidden in (True, True, False, True):
        live.take_hidden([100, 77_777], hidden=hidden)  # an unknown item is left out
        assert live.pipeline.is_hidden(100) == hidden


def test_a_forgotten_user_is_found_by_the_hash_and_keeps_later_events(model: Path, log: SQLiteEventStore) -> None:
    live = FollowedPipeline(Pipeline.load(model), log)
    appended = log.append([_make_event(1, "ada", 100), _make_event(2, "bob", 101)])
    live.record(appended.new, appended.last_seq)
    forgotten = log.forget_user("ada")
    later = log.append([_make_event(3, "ada", 102)])
    live.record(later.new, later.last_seq)
    for _ in range(2):
        live.take_forgotten(None, forgotten)
        assert [each.id for each in live.pipeline.history("ada", 9)] == [102]
        assert [each.id for each in live.pipeline.history("bob", 9)] == [101]
    assert live.n_forgotten == 1
