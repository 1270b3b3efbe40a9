"""Online learner: lists of other people follow events, within the stated times and limits."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.table import Table
from leanrec.errors import BudgetError, SettingError
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.events.user_events import UserEvent, to_events
from leanrec.models import get_model
from leanrec.online.learning import online_learner
from leanrec.online.learning.online_learner import LearningSettings, OnlineLearner, PipelineLearner
from leanrec.online.live_pipeline import LivePipeline
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.scorers import unpad_scorer
from leanrec.pipeline.snapshot import SavedPipeline
from leanrec.run import Run

DATA = make_dataset(30, 20, 6)
MODELS: dict[str, Any] = {}
UPDATED = ["item_knn", "user_knn", "asymmetric_cosine", "rp3", "ease", "ials"]
NEW = 900


def make_pipeline(name: str) -> Pipeline:
    """A new pipeline over the same fit, which will be updated."""
    for each in (name, "popularity"):
        if each not in MODELS:
            MODELS[each] = get_model(each)().fit(DATA, Run(threads=1))
    saved = SavedPipeline(name, "popularity", MODELS[name], MODELS["popularity"], DATA, np.zeros(0, np.int32))
    pipeline = Pipeline(saved, version="abc")
    pipeline.start_learning()
    return pipeline


def click(user: object, items: list[int], n: int = 1) -> list[UserEvent]:
    """Clicks that are 1,000 s apart, later than the fit."""
    return [
        UserEvent(f"{user}-{item}-{at}", str(user), item, "rating", 1_600_000_000 + 1_000 * at, 1.0)
        for item in items
        for at in range(n)
    ]


def popular(pipeline: Pipeline) -> list[Any]:
    return [each.id for each in pipeline.recommend(history=[], n=20).items]


@pytest.mark.parametrize("name", UPDATED)
def test_a_new_item_reaches_people_with_the_same_taste(name: str) -> None:
    pipeline = make_pipeline(name)
    learner = PipelineLearner(pipeline)
    learner.update_due(now=0)
    assert learner.n_updates == {"fallback": 0, "changed": 0, "all": 0}
    pipeline.add_items([NEW], Table({}))
    assert NEW in pipeline.catalog.items
    before = [each.id for each in pipeline.recommend("user-1", n=14).items]
    assert before.index(NEW) == len(before) - 1 if NEW in before else True
    for guest in range(20):
        pipeline.record_events(to_events(click(guest, [NEW, 101, 105, 109])))
    learner.update_due(now=0.5)
    assert set(popular(pipeline)[:4]) == {NEW, 101, 105, 109}
    learner.update_due(now=9)
    assert sum(learner.n_updates[kind] for kind in ("changed", "all")) > 0
    assert NEW in [each.id for each in pipeline.recommend(history=[101, 105], n=3).items]


@pytest.mark.parametrize("name", UPDATED)
def test_lists_are_those_of_a_fit_on_the_same_log(name: str) -> None:
    pipeline = make_pipeline(name)
    learner = PipelineLearner(pipeline)
    for guest in range(8):
        pipeline.record_events(to_events(click(guest, [100 + guest, 104, 111])))
    pipeline.record_events(to_events(click("user-2", [103, 104])))
    learner.update_due(now=0)
    fitted = Pipeline.fit(get_model(name)(), pipeline.to_dataset(), Run(threads=1))
    assert popular(pipeline) == popular(fitted)
    if name != "ials":  # which has one half of an epoch more
        for user in ("user-1", "user-2", "3"):
            found, wanted = pipeline.recommend(user, n=5).items, fitted.recommend(user, n=5).items
            assert [each.id for each in found] == [each.id for each in wanted]
            np.testing.assert_allclose([e.score for e in found], [e.score for e in wanted], rtol=1e-4)


def test_a_bot_moves_no_list_but_its_own() -> None:
    pipeline, other = make_pipeline("item_knn"), make_pipeline("item_knn")
    learner = PipelineLearner(pipeline, LearningSettings(max_user_events=100))
    many = np.resize(np.arange(100, 120), 100_000)
    events = [
        UserEvent("", "bot", int(item), "rating", 1_600_000_000 + at, 1.0) for at, item in enumerate(many[:5_000])
    ]
    for _ in range(20):
        pipeline.record_events(to_events(events))
    pipeline.record_events(to_events(click("user-3", [103], n=101)))
    learner.update_due(now=0)
    assert len(pipeline.history("bot")) == 100_000
    assert popular(pipeline) == popular(other)
    for user in ("user-1", "user-2", "user-4"):
        assert pipeline.recommend(user, n=10).items == other.recommend(user, n=10).items


@pytest.mark.parametrize("name", ["slim", "popularity", "content"])
def test_a_model_that_cannot_be_updated_follows_its_users_alone(name: str) -> None:
    pipeline = make_pipeline(name)
    learner, model = PipelineLearner(pipeline), pipeline.model
    pipeline.record_events(to_events(click("guest", [103, 104])))
    learner.update_due(now=0)
    assert learner.n_updates["fallback"] == 1
    if name != "popularity":
        assert pipeline.model is model
        assert learner.n_updates["all"] == 0


def test_updates_keep_the_index_hidden_items_and_the_saved_model(tmp_path: Path) -> None:
    pipeline = make_pipeline("ials")
    learner = PipelineLearner(pipeline)
    pipeline.hide_items([104])
    pipeline.record_events(to_events(click("guest", [103, 104, 105])))
    learner._run("fallback", 0, learner._update_fallback)
    index = vars(pipeline._snapshot.stages.retriever)["_index"]
    learner._run("fallback", 0, learner._update_fallback)
    assert vars(pipeline._snapshot.stages.retriever)["_index"] is index
    learner.update_due(now=40)
    assert pipeline.model is not MODELS["ials"]
    assert 104 not in popular(pipeline)
    pipeline.add_items([NEW], Table({}))
    assert pipeline.model.n_items == 21
    pipeline.save(tmp_path / "model")
    loaded = Pipeline.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.fitted_scorers[0].items, MODELS["ials"].items)  # type: ignore[attr-defined]
    assert len(loaded.catalog) == 21
    assert len(loaded.recommend("user-1", n=20).items) == 20 - 1 - 6 + 1


def test_new_items_need_learning_or_content() -> None:
    pipeline = Pipeline(SavedPipeline("ease", "popularity", MODELS.setdefault("ease", get_model("ease")().fit(DATA)), None, DATA, np.zeros(0, np.int32)))  # fmt: skip
    with pytest.raises(SettingError, match="refit it"):
        pipeline.add_items([NEW], Table({}))


def test_the_policy_says_that_the_model_learns() -> None:
    pipeline = make_pipeline("item_knn")
    pipeline.start_learning()
    assert pipeline.recommend("user-1").policy == "item_knn/abc+learning"
    assert pipeline.recommend("user-1").version == "abc"


def test_costly_updates_come_less_often() -> None:
    pipeline = make_pipeline("item_knn")
    learner = PipelineLearner(pipeline, LearningSettings(max_share=0.001))
    pipeline.record_events(to_events(click("guest", [103, 104])))
    learner.update_due(now=0)
    pipeline.record_events(to_events(click("guest", [105, 106])))
    learner.update_due(now=0.5)  # an update takes more than half a millisecond
    assert learner.n_updates["fallback"] == 1
    learner.update_due(now=1_000)
    assert learner.n_updates["fallback"] == 2


def test_cached_lists_follow_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("leanrec.pipeline.lists.list_cache.time.monotonic", lambda: clock[0])
    pipeline = make_pipeline("item_knn")
    first = pipeline.recommend("user-1")
    pipeline.use_updated(model=make_pipeline("rp3").model)
    clock[0] += 2.9
    assert pipeline.recommend("user-1").items == first.items
    clock[0] += 0.2
    assert pipeline.recommend("user-1").items != first.items
    pipeline.hide_items([first.items[0].id])
    assert first.items[0].id not in [each.id for each in pipeline.recommend("user-1").items]


def test_a_thread_follows_versions_and_reports_what_fails(tmp_path: Path) -> None:
    reports: list[str] = []
    with SQLiteEventStore(tmp_path / "events.db") as log:
        first, second = make_pipeline("item_knn"), make_pipeline("rp3")
        live = LivePipeline(first, log)
        with OnlineLearner(live, reports.append):
            appended = log.append(click("guest", [103, 104]))
            live.record(appended.new, appended.last_seq)
            wait_for(lambda: first._snapshot.fallback is not MODELS["popularity"])
            live.replace(second)
            wait_for(lambda: second._snapshot.fallback is not MODELS["popularity"])
            broken = make_pipeline("ease")
            broken.histories.take_touched = None  # type: ignore[assignment,method-assign]
            live.replace(broken)
            wait_for(lambda: bool(reports))
    assert "answers with what it has learned so far: TypeError" in reports[0]
    assert not [each for each in threading.enumerate() if each.name == "leanrec-learning"]


def test_freed_memory_is_returned_after_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[int] = []
    pipeline = make_pipeline("item_knn")
    with SQLiteEventStore(tmp_path / "events.db") as log:
        live = LivePipeline(pipeline, log)
        with monkeypatch.context() as patch, OnlineLearner(live, print) as learner:
            learner.close()  # what it does is done here
            patch.setattr(online_learner, "release_free_memory", lambda: released.append(1))
            learner.look()
            assert not released
            for guest in ("first", "second"):  # the second is too soon
                appended = log.append(click(guest, [103, 104]))
                live.record(appended.new, appended.last_seq)
                learner._learners[pipeline]._next = dict.fromkeys(("fallback", "changed", "all"), 0.0)  # type: ignore[union-attr]
                learner.look()
                assert sum(released) == 1
            learner._next_release = 0.0
            learner.look()
            learner.look()
    assert sum(released) == 2


def test_what_is_popular_is_learned_on_where_the_model_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise BudgetError("RP3 needs more memory.")

    reports: list[str] = []
    pipeline = make_pipeline("rp3")
    monkeypatch.setattr(type(MODELS["rp3"]), "update", fail)
    with SQLiteEventStore(tmp_path / "events.db") as log:
        live = LivePipeline(pipeline, log)
        with OnlineLearner(live, reports.append):
            for guest in range(30):
                appended = log.append(click(f"guest-{guest}", [119]))
                live.record(appended.new, appended.last_seq)
                if guest == 0:
                    wait_for(lambda: bool(reports))
            wait_for(lambda: popular(pipeline)[0] == 119)
    assert reports == ["rp3 answers with what it has learned so far: RP3 needs more memory."]
    assert unpad_scorer(pipeline.model) is MODELS["rp3"]


def wait_for(condition: Any) -> None:
    event = threading.Event()
    for _ in range(3_000):
        if condition():
            return
        event.wait(0.02)
    raise AssertionError("nothing happened in a minute")


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="max_share"):
        LearningSettings(max_share=0)
    with pytest.raises(SettingError, match="max_user_events"):
        LearningSettings(max_user_events=0)
