"""Version follower: what is promoted in a store is served."""

import threading
import time
import weakref
from pathlib import Path

import pytest

from conftest import make_dataset
from leanrec import artifacts, pacing
from leanrec.errors import SourceError
from leanrec.events import SQLiteEventStore
from leanrec.models import get_model
from leanrec.online import LivePipeline, VersionFollower, VersionStore, version_follower
from leanrec.pipeline import Pipeline


def _wait_for(condition: object) -> None:
    assert callable(condition)
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("nothing happened in 20 s")


def test_a_promotion_is_followed(tmp_path: Path) -> None:
    store = VersionStore.create(tmp_path / "store")
    first, second = (
        store.add(Pipeline.fit(get_model(model)(), make_dataset()).save(tmp_path / model))
        for model in ("popularity", "item_knn")
    )
    damaged = store.add(Pipeline.fit(get_model("ease")(), make_dataset()).save(tmp_path / "ease"))
    for file in damaged.path.glob("*.npy"):
        file.unlink()
    store.promote(first.id)
    reports: list[str] = []
    with SQLiteEventStore(tmp_path / "events.db") as log:
        live = LivePipeline(Pipeline.load(first.path), log)
        with VersionFollower(live, store, reports.append, interval=0.01):
            store.promote(second.id)
            _wait_for(lambda: live.pipeline.version == second.id)
            store.promote(damaged.id)
            _wait_for(lambda: len(reports) == 2)
            assert live.pipeline.name == "item_knn"
            assert "cannot be served" in reports[1]
            store.promote(first.id)
            _wait_for(lambda: live.pipeline.version == first.id)
    assert artifacts.read_digest(first.path).startswith(live.pipeline.version)


def test_the_memory_of_a_version_is_returned_once_it_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = VersionStore.create(tmp_path / "store")
    first, second = (
        store.add(Pipeline.fit(get_model(model)(), make_dataset()).save(tmp_path / model))
        for model in ("popularity", "item_knn")
    )
    store.promote(first.id)
    with SQLiteEventStore(tmp_path / "events.db") as log:
        live = LivePipeline(Pipeline.load(first.path), log)
        old, is_gone = weakref.ref(live.pipeline), list[bool]()
        monkeypatch.setattr(version_follower, "release_free_memory", lambda: is_gone.append(old() is None))
        with VersionFollower(live, store, lambda _: None, interval=0.01):
            store.promote(second.id)
            _wait_for(lambda: is_gone)
    assert is_gone == [True]


def test_a_version_is_loaded_with_pauses_for_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = VersionStore.create(tmp_path / "store")
    first, second = (
        store.add(Pipeline.fit(get_model(model)(), make_dataset()).save(tmp_path / model))
        for model in ("popularity", "item_knn")
    )
    store.promote(first.id)
    sleeping: list[str] = []

    class Clock:
        thread_time = staticmethod(time.perf_counter)

        def sleep(self, _: float) -> None:
            sleeping.append(threading.current_thread().name)

    monkeypatch.setattr(pacing, "_MIN_WORKED", 0.0)
    monkeypatch.setattr(pacing, "time", Clock())
    with SQLiteEventStore(tmp_path / "events.db") as log:
        live = LivePipeline(Pipeline.load(first.path), log)
        assert sleeping == []
        with VersionFollower(live, store, lambda _: None, interval=0.01):
            store.promote(second.id)
            _wait_for(lambda: live.pipeline.version == second.id)
    assert set(sleeping) == {"leanrec-versions"}
    assert len(sleeping) > 20  # one after each array, among others


def test_a_version_is_tried_again_where_the_log_did_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version_follower, "_PAUSE_SECONDS", 0.01)
    store = VersionStore.create(tmp_path / "store")
    first, second = (
        store.add(Pipeline.fit(get_model(model)(), make_dataset()).save(tmp_path / model))
        for model in ("popularity", "item_knn")
    )
    store.promote(first.id)
    reports: list[str] = []
    n_asked: list[int] = []
    replace = LivePipeline.replace

    def ask(self: LivePipeline, pipeline: Pipeline) -> object:
        n_asked.append(1)
        if len(n_asked) < 4:
            raise SourceError("The log did not answer.")
        return replace(self, pipeline)

    monkeypatch.setattr(LivePipeline, "replace", ask)
    with SQLiteEventStore(tmp_path / "events.db") as log:
        live = LivePipeline(Pipeline.load(first.path), log)
        with VersionFollower(live, store, reports.append, interval=0.01):
            store.promote(second.id)
            _wait_for(lambda: len(reports) == 2)
    assert live.pipeline.version == second.id
    assert len(n_asked) == 4
    assert "cannot be served" in reports[0]
    assert "is served" in reports[1]
