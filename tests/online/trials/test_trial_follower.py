"""Trial follower: what the store says is done in the process, and what the guards say is in the store."""

import socket
import sqlite3
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import make_dataset
from leanrec.events import SQLiteEventStore
from leanrec.models import get_model
from leanrec.online import LivePipeline, VersionStore
from leanrec.online.trials import trial_follower
from leanrec.online.trials.guards import Verdict
from leanrec.online.trials.live_trial import CANDIDATE
from leanrec.online.trials.trial_follower import TrialFollower, start_stored_trial
from leanrec.pipeline import Pipeline

USERS = [f"user-{number}" for number in range(60)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three saved pipelines of the same data."""
    folder, data = tmp_path_factory.mktemp("models"), make_dataset()
    return [Pipeline.fit(get_model(name)(), data).save(folder / name) for name in ("popularity", "item_knn", "ease")]


@pytest.fixture
def store(saved: list[Path], tmp_path: Path) -> VersionStore:
    """A store of the three versions, of which the first is current."""
    made = VersionStore.create(tmp_path / "store")
    ids = [made.add(each).id for each in saved]
    made.promote(ids[0])
    return made


@pytest.fixture
def live(store: VersionStore, tmp_path: Path) -> Iterator[LivePipeline]:
    """The current version, served."""
    current = store.current()
    assert current is not None
    with SQLiteEventStore(tmp_path / "events.db") as log:
        yield LivePipeline(Pipeline.load(current.path), log)


def _find(store: VersionStore, model: str) -> str:
    return next(each.id for each in store.versions() if each.model == model)


def _wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_trial_is_started_changed_and_ended_as_the_store_says(live: LivePipeline, store: VersionStore) -> None:
    told: list[str] = []
    with TrialFollower(live, store, told.append, interval=0.01):
        store.start_trial(_find(store, "item_knn"), 0.1)
        _wait(lambda: live.trial)
        trial = live.trial
        assert trial is not None
        store.start_trial(_find(store, "item_knn"), 0.5)
        _wait(lambda: trial.trial.share == 0.5)
        assert live.trial is trial
        assert {live.recommend(user).model for user in USERS} == {"popularity", "item_knn"}
        store.stop_trial("enough seen", "ann")
        _wait(lambda: live.trial is None)
        assert {live.recommend(user).model for user in USERS} == {"popularity"}
        # Another trial is of its own version, whatever was tried before.
        store.start_trial(_find(store, "ease"), 0.5)
        _wait(lambda: live.trial)
        assert {live.recommend(user).model for user in USERS} == {"popularity", "ease"}
    assert live.trial is None
    assert "is on trial for users, with a share of 0.1" in told[0]
    assert "stopped by ann, enough seen" in told[1]


def test_the_memory_of_a_tried_version_is_returned_once_it_is_gone(
    live: LivePipeline, store: VersionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_gone: list[bool] = []
    with TrialFollower(live, store, lambda _: None, interval=0.01):
        store.start_trial(_find(store, "item_knn"), 0.5)
        _wait(lambda: live.trial)
        assert live.trial is not None
        tried = weakref.ref(live.trial.pipeline)
        monkeypatch.setattr(trial_follower, "release_free_memory", lambda: is_gone.append(tried() is None))
        store.stop_trial()
        _wait(lambda: is_gone)
    assert is_gone == [True]


def test_a_guard_ends_a_trial_in_the_store(live: LivePipeline, store: VersionStore) -> None:
    told: list[str] = []
    with TrialFollower(live, store, told.append, interval=0.01):
        version = _find(store, "item_knn")
        store.start_trial(version, 0.5)
        _wait(lambda: live.trial)
        trial = live.trial
        assert trial is not None
        user = next(user for user in USERS if trial.find_arm(user) == CANDIDATE)
        assert live.recommend(user).model == "item_knn"
        trial._comparison.verdict = Verdict("failures", "3 of 4 lists could not be made")
        assert live.recommend(user).model == "popularity"  # at once
        _wait(lambda: store.trial() is None)
        _wait(lambda: live.trial is None)
    ended = store.trials()[-1]
    assert (ended.version, ended.outcome, ended.reason) == (version, "aborted", "3 of 4 lists could not be made")
    assert ended.ended_by is not None
    assert ended.ended_by.startswith("the guard of the failures in process ")
    current = store.current()
    assert current is not None
    assert current.model == "popularity"


def test_a_version_that_cannot_be_loaded_ends_its_trial(live: LivePipeline, store: VersionStore) -> None:
    version = store.find(_find(store, "item_knn"))
    file = max(version.path.glob("*.npy"), key=lambda each: each.stat().st_size)
    content = file.read_bytes()
    file.unlink()  # a hard link: the original keeps its bytes
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    told: list[str] = []
    with TrialFollower(live, store, told.append, interval=0.01):
        store.start_trial(version.id)
        _wait(lambda: store.trial() is None)
    assert store.trials()[-1].outcome == "aborted"
    assert "It cannot be served" in (store.trials()[-1].reason or "")
    _wait(lambda: told)
    assert "cannot be tried" in told[0]


def test_a_process_whose_trials_are_started_elsewhere_ends_them(live: LivePipeline, store: VersionStore) -> None:
    trial = store.start_trial(_find(store, "item_knn"), 0.5)
    with TrialFollower(live, store, lambda _: None, loads=False, interval=0.01):
        time.sleep(0.05)
        assert live.trial is None
        live.start_trial(Pipeline.load(store.find(trial.version).path), trial)
        time.sleep(0.05)
        assert live.trial is not None
        store.promote(trial.version)
        _wait(lambda: live.trial is None)
    assert store.trials()[-1].outcome == "promoted"


def test_a_share_that_changes_while_the_version_loads_is_the_one_of_the_trial(
    live: LivePipeline, store: VersionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    version, load = _find(store, "item_knn"), Pipeline.load
    store.start_trial(version, 0.1)

    def load_slowly(path: Path) -> Pipeline:
        store.start_trial(version, 0.4)
        return load(path)

    told: list[str] = []
    monkeypatch.setattr(Pipeline, "load", load_slowly)
    start_stored_trial(live, store, told.append)  # once: no worker starts it again
    assert live.trial is not None
    assert live.trial.trial == store.trial()
    assert told == [f"Version {version} is on trial for users, with a share of 0.4."]
    live.stop_trial()


def test_a_restart_takes_no_count_from_the_guards(live: LivePipeline, store: VersionStore) -> None:
    told: list[str] = []
    trial = store.start_trial(_find(store, "item_knn"), 0.5)
    for number in range(2):
        with TrialFollower(live, store, told.append, interval=0.01):
            _wait(lambda: live.trial is not None and live.trial.is_restored)
            assert live.trial is not None
            assert sum(arm["users"] for arm in live.trial.describe()["arms"].values()) == 30 * number
            for user in USERS[:30]:
                live.recommend(user)
    counted = store.get_record(trial).count_lists()
    assert counted["lists control"] + counted["lists candidate"] == 60
    assert counted["users control"] + counted["users candidate"] == 30


def test_a_version_that_ends_its_process_again_and_again_is_aborted(live: LivePipeline, store: VersionStore) -> None:
    trial, told = store.start_trial(_find(store, "item_knn"), 0.5), []
    with TrialFollower(live, store, told.append, interval=0.01):
        _wait(lambda: live.trial)
    start_stored_trial(live, store, told.append)  # both end as they should
    assert store.trial() is not None
    live.stop_trial()
    record = store.get_record(trial)
    for start in range(3):
        with sqlite3.connect(record.path) as database:  # 2²² + 1 is the number of no process
            database.execute(
                "INSERT INTO starts (host, process, time) VALUES (?, ?, ?)",
                (socket.gethostname(), 2**22 + 1, start * 9),
            )
        database.close()
    start_stored_trial(live, store, told.append)
    assert live.trial is None
    ended = store.trials()[-1]
    assert (ended.outcome, ended.reason) == (
        "aborted",
        "the server ended 3 times within 60 s of a start with the version on trial",
    )
    assert "is on trial no more" in told[-1]


def test_a_damaged_record_is_told_once_and_the_trial_goes_on(live: LivePipeline, store: VersionStore) -> None:
    trial, told = store.start_trial(_find(store, "item_knn"), 0.5), []
    record = store.get_record(trial)
    record.path.parent.mkdir()
    record.path.write_bytes(b"damaged" * 200)
    with TrialFollower(live, store, told.append, interval=0.01) as follower:
        _wait(lambda: live.trial)
        for _ in range(3):
            follower._next_save = 0.0
            _wait(lambda: follower._next_save)
    assert sum("begin anew after a restart" in each for each in told) == 1
