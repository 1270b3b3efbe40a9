"""Replay of an event store into a pipeline."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.errors import DataError
from leanrec.events.sqlite_reader import SQLiteEventReader
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.user_events import UserEvent
from leanrec.models import get_model
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.replay import ReplayResult, bind_log, default_log_path, replay_log
from leanrec.pipeline.responses import RejectedEvent


def fit(name: str, data: Dataset) -> Pipeline:
    return Pipeline.fit(get_model(name)(), data)


def test_a_replay_adds_items_and_events_once(dataset: Dataset, tmp_path: Path) -> None:
    pipeline = fit("content", dataset)
    with SQLiteEventStore(tmp_path / "events.db") as log:
        log.add_items({900: {"title": "New", "genres": "space"}})
        log.append([UserEvent("a", "guest", 900, "click", 5, 1.0), UserEvent("b", "guest", 7, "click", 6, 1.0)])
        first, second = replay_log(pipeline, log), replay_log(pipeline, log)
    assert (first.applied, first.n_items, first.items_error) == (1, 1, None)
    assert [each.position for each in first.rejected] == [1]
    assert (second.applied, second.n_items) == (0, 0)


def test_items_that_the_model_cannot_add_are_skipped_with_the_reason(dataset: Dataset, tmp_path: Path) -> None:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        log.add_items({900: {"title": "New"}})
        result = replay_log(fit("ease", dataset), log)
    assert result.n_items == 0
    assert "ease cannot: refit it" in result.warnings()[0]


def test_warnings_name_the_first_rejected_event() -> None:
    assert ReplayResult(5).warnings() == ()
    rejected = (RejectedEvent(0, "No item."), RejectedEvent(3, "No rating."))
    text = "2 events of the log cannot be used and stay in it for the next fit. First: No item."
    assert ReplayResult(5, rejected).warnings() == (text,)


def test_a_log_of_other_data_must_be_rebound(dataset: Dataset, tmp_path: Path) -> None:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        bind_log(fit("ease", dataset), log)
        log.append([UserEvent("a", "user-1", 100, "click", 5, 1.0)])
        other = fit("ease", make_dataset(seed=8))
        for store in (log, SQLiteEventReader(log.path)):
            with pytest.raises(DataError, match="belongs to other data"):
                bind_log(other, store)
        assert bind_log(other, SQLiteEventReader(log.path), rebind=True).applied == 1
        assert len(log.origins()) == 1  # a reader binds nothing
        bind_log(other, log, rebind=True)
        assert len(log.origins()) == 2


def test_the_log_is_beside_the_model() -> None:
    assert default_log_path("folder/model") == Path("folder/model.events.db")


def test_a_fit_with_a_log_includes_its_events(dataset: Dataset, tmp_path: Path) -> None:
    with SQLiteEventStore(tmp_path / "events.db") as log:
        log.append([UserEvent("a", "guest", 100, "click", 5, 1.0)])
        pipeline = Pipeline.fit(get_model("ease")(), dataset, log=log)
        assert replay_log(pipeline, log).applied == 0
    assert pipeline.n_users == 61
    assert np.isfinite(pipeline.model.score(dataset.queries())).all()


@pytest.mark.parametrize("name", ["ease", "item_knn"])
def test_a_log_without_items_needs_no_item_table(dataset: Dataset, tmp_path: Path, name: str) -> None:
    pipeline = fit(name, dataclasses.replace(dataset, item_table=None))
    with SQLiteEventStore(tmp_path / "events.db") as log:
        assert replay_log(pipeline, log) == ReplayResult(0)
        log.add_items({900: {}})
        assert replay_log(pipeline, log).n_items == 0


def test_only_the_items_that_do_not_fit_are_skipped(dataset: Dataset, tmp_path: Path) -> None:
    """Older logs hold text ids, columns that are gone, and content that no column takes."""
    with SQLiteEventStore(tmp_path / "events.db") as log:
        log.add_items({900: {"title": "New", "color": "red"}, "text": {"title": "Other"}})
        log.add_items({901: {"year": "long ago"}, 902: {}, 903: {"year": "1999"}})
        pipeline = fit("content", dataset)
        result = replay_log(pipeline, log)
    assert result.n_items == 3
    assert "must be whole numbers" in str(result.items_error)
    assert [pipeline.catalog.external_id(row) for row in range(40, 43)] == [900, 902, 903]
    assert pipeline.catalog.content(42) == {"year": 1999.0}


def test_a_replay_hides_and_shows_items(dataset: Dataset, tmp_path: Path) -> None:
    pipeline, hidden = fit("content", dataset), [100, 101]
    pipeline.hide_items([102])
    with SQLiteEventStore(tmp_path / "events.db") as log:
        log.set_hidden([*hidden, 900, 777], hidden=True)
        log.set_hidden([101, 102], hidden=False)
        log.add_items({900: {"title": "New", "genres": "space"}})
        replay_log(pipeline, log)
        assert [pipeline.is_hidden(each) for each in (100, 101, 102, 900)] == [True, False, False, True]
        fitted = Pipeline.fit(get_model("ease")(), dataset, log=log)
    assert fitted.is_hidden(100)
    assert 100 not in [each.id for each in fitted.recommend(history=[], n=100).items]


def test_users_who_were_forgotten_in_the_log_are_forgotten_in_the_fit(dataset: Dataset, tmp_path: Path) -> None:
    early, user = fit("item_knn", dataset), str(dataset.users.ids[5])
    with SQLiteEventStore(tmp_path / "events.db") as log:
        log.append([UserEvent("a", user, 100, "click", 5, 1.0)])
        log.forget_user(user)
        log.append([UserEvent("b", user, 101, "click", 6, 1.0)])
        for _ in range(2):
            replay_log(early, log)
            assert [event.id for event in early.history(user)] == [101]
        later = Pipeline.fit(get_model("item_knn")(), dataset, log=log)
        assert [event.id for event in later.history(user)] == [101]
        assert later.n_users == early.n_users == len(dataset.users)
        replay_log(later, log)
        assert later.fitted_user_ids.tolist()[-1] == user
        assert later._histories.fitted_row(len(dataset.users) - 1) >= 0  # as a user of the fit
