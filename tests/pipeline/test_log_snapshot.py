"""Snapshot of a log: with the events behind it, it gives the histories of the whole log; and it is ignored where it is not its own."""

import dataclasses
import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.events import SQLiteEventReader, SQLiteEventStore, UserEvent
from leanrec.models import get_model
from leanrec.pipeline import Pipeline
from leanrec.pipeline.log_snapshot import save_snapshot
from leanrec.pipeline.recorded_state import RecordedState
from leanrec.pipeline.replay import ReplayResult, bind_log

DATA = make_dataset(n_users=12, n_items=20, per_user=6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pipeline = Pipeline.fit(get_model("content")(), DATA)
    return pipeline.save(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteEventStore]:
    with SQLiteEventStore(tmp_path / "events.db") as opened:
        yield opened


def make_events(start: int, stop: int, data: Dataset = DATA) -> list[UserEvent]:
    """Events of known and new users: late ones, equal ones, events of the fit, of unknown items and of new types."""
    rng = np.random.default_rng(start)
    events, made = data.events, []
    for number in range(start, stop):
        at = int(rng.integers(len(events)))
        user = str(data.users.ids[events.user[at]]) if rng.random() < 0.7 else f"new-{rng.integers(9)}"
        item = int(data.items.ids[events.item[at]]) if rng.random() < 0.95 else 77_777
        time = float(events.time[at]) if rng.random() < 0.5 else float(rng.integers(5)) + 2e9
        kind = "rating" if rng.random() < 0.6 else str(rng.choice(["click", "like"]))
        made.append(UserEvent(f"e-{number}", user, item, kind, time, 1.0, 4.0 if kind == "rating" else None))
    return made


def start(model: Path, log: SQLiteEventReader) -> tuple[Pipeline, ReplayResult]:
    pipeline = Pipeline.load(model)
    return pipeline, bind_log(pipeline, log)


def describe(pipeline: Pipeline) -> dict[str, object]:
    users = {str(user) for user, _ in pipeline.find_users("", 1000)}
    merged = pipeline.to_dataset()
    return {
        "histories": {user: pipeline.history(user) for user in users},
        "lists": {user: [item.id for item in pipeline.recommend(user).items] for user in users},
        "n_users": pipeline.n_users,
        "events": sorted(zip(merged.users.ids[merged.events.user].tolist(), merged.events.time.tolist(), strict=True)),
    }


def start_wholly(model: Path, log: SQLiteEventStore) -> tuple[Pipeline, ReplayResult]:
    hidden = log.snapshot_path.with_name("hidden")
    if log.snapshot_path.exists():
        log.snapshot_path.rename(hidden)
    found = start(model, log)
    if hidden.exists():
        hidden.rename(log.snapshot_path)
    return found


def test_a_snapshot_and_the_events_behind_it_are_the_whole_log(model: Path, log: SQLiteEventStore) -> None:
    position = 0
    for stop in (150, 151, 400):
        pipeline, replayed = start(model, log)
        assert replayed.note is None
        assert replayed.snapshot_seq == position
        log.append(make_events(position, stop))
        assert replayed.state is not None
        state = save_snapshot(pipeline, log, replayed.state)
        assert state.last_seq == position + stop - position
        position = stop
        log.append([])
        (fast, with_snapshot), (slow, wholly) = start(model, log), start_wholly(model, log)
        assert (with_snapshot.snapshot_seq, wholly.snapshot_seq) == (position, 0)
        assert with_snapshot.applied == wholly.applied
        assert with_snapshot.rejected_before + len(with_snapshot.rejected) == len(wholly.rejected) > 0
        assert describe(fast) == describe(slow)
    log.append(make_events(400, 430))
    fast, slow = start(model, log)[0], start_wholly(model, log)[0]
    assert describe(fast) == describe(slow)


def test_events_after_a_start_from_a_snapshot_are_recorded(model: Path, log: SQLiteEventStore) -> None:
    pipeline, replayed = start(model, log)
    log.append(make_events(0, 100))
    assert replayed.state is not None
    save_snapshot(pipeline, log, replayed.state)
    pipeline, _ = start(model, log)
    user = pipeline.find_users("new-", 1)[0][0]
    before = pipeline.history(user)
    assert pipeline.recommend(user) is not None
    assert pipeline.find_cached(user) is not None
    for name in (user, "newer", str(DATA.users.ids[3])):
        n_before = len(pipeline.history(name)) if name != "newer" else 0
        pipeline.record_event(name, DATA.items.ids[0])
        assert len(pipeline.history(name)) == n_before + 1
    assert pipeline.history(user)[1:] == before or len(before) + 1 == len(pipeline.history(user))
    assert pipeline.forget_user(user)
    assert user not in pipeline.to_dataset().users
    assert "newer" in pipeline.to_dataset().users
    assert user not in [each for each, _ in pipeline.find_users("", 1000)]


def save_of(model: Path, log: SQLiteEventStore, n_events: int) -> RecordedState:
    pipeline, replayed = start(model, log)
    log.append(make_events(0, n_events))
    assert replayed.state is not None
    return save_snapshot(pipeline, log, replayed.state)


def test_a_damaged_snapshot_is_ignored_with_a_sentence(model: Path, log: SQLiteEventStore) -> None:
    save_of(model, log, 60)
    whole = describe(start(model, log)[0])
    for file in sorted(log.snapshot_path.iterdir()):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        pipeline, replayed = start(model, log)
        assert "The whole log is read instead" in replayed.warnings()[0]
        content[-1] ^= 1
        file.write_bytes(content)
    assert describe(pipeline) == whole
    assert start(model, log)[1].note is None


def test_a_snapshot_of_another_version_or_log_is_ignored(model: Path, log: SQLiteEventStore, tmp_path: Path) -> None:
    save_of(model, log, 60)
    other = Pipeline.fit(get_model("popularity")(), DATA).save(tmp_path / "other")
    assert "of another version" in str(start(other, log)[1].note)
    with SQLiteEventStore(tmp_path / "second.db") as second:
        second.append(make_events(0, 80))
        shutil.copytree(log.snapshot_path, second.snapshot_path)
        assert "another version" in str(start(model, second)[1].note)


def test_a_snapshot_of_a_log_that_was_restored_is_ignored(model: Path, tmp_path: Path) -> None:
    path, copy = tmp_path / "events.db", tmp_path / "copy.db"
    with SQLiteEventStore(path) as log:
        log.append(make_events(1000, 1010))
        log.back_up(copy)
        save_of(model, log, 60)
    path.write_bytes(copy.read_bytes())
    with SQLiteEventStore(path) as log:
        assert "older than a change" in str(start(model, log)[1].note)
        log.append(make_events(2000, 2100))
        assert "one that was restored" in str(start(model, log)[1].note)


def test_an_event_whose_item_came_later_is_found(model: Path, log: SQLiteEventStore) -> None:
    log.append([UserEvent("early", "new-1", 77_777, "click", 5, 1.0)])
    save_of(model, log, 20)
    log.add_items({77_777: {"title": "Late"}})
    pipeline, replayed = start(model, log)
    assert replayed.note is not None
    assert 77_777 in [event.id for event in pipeline.history("new-1")]


def test_forgetting_removes_the_snapshot_and_no_new_one_has_the_user(model: Path, log: SQLiteEventStore) -> None:
    state = save_of(model, log, 60)
    pipeline, _ = start(model, log)
    left = log.snapshot_path.with_name(f".{log.snapshot_path.name}-abc")
    left.mkdir()
    log.forget_user("new-1")
    assert not log.snapshot_path.exists()
    assert not left.exists()
    pipeline, replayed = start(model, log)
    assert (replayed.note, replayed.snapshot_seq) == (None, 0)
    save_snapshot(pipeline, log, state)
    assert not any(b"new-1" in file.read_bytes() for file in log.path.parent.rglob("*") if file.is_file())
    assert start(model, log)[1].snapshot_seq == 60


def test_a_log_that_ends_with_forgotten_events_has_a_snapshot(model: Path, log: SQLiteEventStore) -> None:
    log.append([UserEvent("last", "gone", int(DATA.items.ids[0]), "click", 5, 1.0)])
    log.forget_user("gone")
    for n_events in (0, 5):
        log.append(make_events(0, n_events))
        log.append([UserEvent(f"last-{n_events}", "gone", int(DATA.items.ids[0]), "click", 5, 1.0)])
        log.forget_user("gone")
        pipeline, replayed = start(model, log)
        assert replayed.state is not None
        assert save_snapshot(pipeline, log, replayed.state).last_seq == log.last_seq
        assert start(model, log)[1].snapshot_seq == log.last_seq


def test_a_new_user_with_one_event_takes_less_than_100_bytes(log: SQLiteEventStore, model: Path) -> None:
    item = int(DATA.items.ids[0])
    log.append([UserEvent(str(n), f"user-number-{n}", item, "click", 5, 1.0) for n in range(2000)])
    state = start(model, log)[1].state
    assert state is not None
    state.users.find_row("x")
    arrays = [value for value in vars(state).values() if isinstance(value, np.ndarray)]
    index = state.users._index
    n_bytes = sum(each.nbytes for each in (*arrays, index.keys, index.row)) + 16 * len(state.new_ids)
    assert n_bytes / 2000 < 100
    assert dataclasses.is_dataclass(state)


@pytest.mark.parametrize("users", [["new-1"], ["new-0", "new-3"], [str(DATA.users.ids[2]), "new-2"]])
@pytest.mark.parametrize("comes_back", [False, True])
def test_a_snapshot_after_a_forgotten_user_is_that_of_the_whole_log(
    model: Path, log: SQLiteEventStore, users: list[str], *, comes_back: bool
) -> None:
    usable = [each for each in make_events(0, 200) if each.item in set(DATA.items.ids.tolist())]
    pipeline, replayed = start(model, log)
    log.append(usable[:100])
    assert replayed.state is not None
    state = save_snapshot(pipeline, log, replayed.state)
    log.append(usable[100:])  # with events of the users behind the snapshot
    for user in users:
        pipeline.forget_user(user)
        log.forget_user(user)
    if comes_back:
        log.append([UserEvent(f"late-{user}", user, int(DATA.items.ids[0]), "click", 3e9, 1.0) for user in users])
    saved = save_snapshot(pipeline, log, state)
    saved.check_state()
    (fast, with_snapshot), (slow, wholly) = start(model, log), start_wholly(model, log)
    assert (with_snapshot.snapshot_seq, wholly.snapshot_seq) == (log.last_seq, 0)
    assert with_snapshot.applied == wholly.applied
    assert describe(fast) == describe(slow)
    assert comes_back == bool(fast.find_users(users[-1], 1))


def test_no_snapshot_is_written_while_the_pipeline_still_has_a_forgotten_user(
    model: Path, log: SQLiteEventStore
) -> None:
    usable = [each for each in make_events(0, 60) if each.item in set(DATA.items.ids.tolist())]
    pipeline, replayed = start(model, log)
    log.append(usable)
    assert replayed.state is not None
    state = save_snapshot(pipeline, log, replayed.state)
    user = str(DATA.users.ids[2])
    log.forget_user(user)
    assert save_snapshot(pipeline, log, state) is state
    assert not log.snapshot_path.exists()
    pipeline.forget_user(user)
    save_snapshot(pipeline, log, state)
    assert start(model, log)[1].snapshot_seq == log.last_seq


def test_what_a_killed_process_left_is_removed_when_no_process_can_be_writing_it(
    model: Path, log: SQLiteEventStore
) -> None:
    old, young = (log.snapshot_path.with_name(f".{log.snapshot_path.name}-{name}") for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
        (folder / "value.item.npy").write_bytes(b"half")
    os.utime(old, (1.0, 1.0))
    save_of(model, log, 60)
    assert (old.exists(), young.exists()) == (False, True)
    assert start(model, log)[1].snapshot_seq == 60


class Killed(BaseException):
    """The end of a process: nothing is cleaned up after it."""


@pytest.mark.parametrize(
    ("step", "call", "snapshot_seq"),
    [("fsync", 1, 60), ("fsync", 6, 60), ("rename", 1, 60), ("rename", 2, 0), ("rmtree", 1, 90)],
)
def test_a_kill_while_a_snapshot_is_written_leaves_all_events(
    model: Path, log: SQLiteEventStore, monkeypatch: pytest.MonkeyPatch, step: str, call: int, snapshot_seq: int
) -> None:
    state = save_of(model, log, 60)
    log.append(make_events(60, 90))
    pipeline, whole = start_wholly(model, log)
    calls = {name: getattr(owner, name) for owner, name in ((os, "fsync"), (Path, "rename"), (shutil, "rmtree"))}
    n_calls = 0

    def end(name: str, *args: Any, **options: Any) -> Any:
        nonlocal n_calls
        n_calls += name == step
        if n_calls >= call:
            raise Killed
        return calls[name](*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", functools.partial(end, "fsync"))
        patch.setattr(Path, "rename", lambda *args: end("rename", *args))
        patch.setattr(shutil, "rmtree", functools.partial(end, "rmtree"))
        with pytest.raises(Killed):
            save_snapshot(pipeline, log, state)
    fast, replayed = start(model, log)
    assert replayed.snapshot_seq == snapshot_seq  # between two renames there is none, and the whole log is read
    assert replayed.applied == whole.applied
    assert describe(fast) == describe(pipeline)
