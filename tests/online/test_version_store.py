"""Version store: immutable versions, one of them current, whatever happens in between."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from leanrec import artifacts
from leanrec.data.datasets.bundled import load_sample
from leanrec.errors import ArtifactError, ConflictError, SettingError
from leanrec.models import get_model
from leanrec.online import VersionStore
from leanrec.online.version_store import find_pipeline_path, is_version_store
from leanrec.pipeline import Pipeline


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three saved pipelines."""
    folder, data = tmp_path_factory.mktemp("models"), load_sample()
    return [Pipeline.fit(get_model(name)(), data).save(folder / name) for name in ("popularity", "item_knn", "bias")]


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    """An empty store."""
    return VersionStore.create(tmp_path / "store")


def test_versions_are_copies_that_stay(store: VersionStore, saved: list[Path], tmp_path: Path) -> None:
    source = artifacts.copy(saved[0], tmp_path / "model")
    version = store.add(source)
    assert (version.model, version.id) == ("popularity", artifacts.read_digest(source)[:12])
    assert store.add(saved[0]).id == version.id  # the same bytes
    assert [each.id for each in store.versions()] == [version.id]
    artifacts.save(artifacts.load(saved[1]), source)
    assert Pipeline.load(version.path).name == "popularity"
    assert store.add(source).id != version.id


def test_promotion_and_rollback(store: VersionStore, saved: list[Path]) -> None:
    first, second, third = (store.add(path).id for path in saved)
    assert store.current() is None
    assert [store.promote(each).fence for each in (first, second, third)] == [1, 2, 3]
    assert store.rollback().version == second
    assert store.rollback().version == first
    with pytest.raises(ArtifactError, match="no version before"):
        store.rollback()
    store.promote(third[:6])
    current = store.current()
    assert current is not None
    assert current.id == third
    assert store.rollback().version == first
    assert [each.fence for each in store.promotions()] == list(range(1, 8))


def test_the_second_of_two_promoters_is_told(store: VersionStore, saved: list[Path]) -> None:
    first, second = (store.add(path).id for path in saved[:2])
    seen = store.promote(first).fence
    store.promote(second, fence=seen)
    with pytest.raises(ConflictError, match="number 1. It is number 2"):
        store.rollback(fence=seen)
    assert store.promotions()[-1].version == second


def test_promoters_at_once_get_a_number_each(store: VersionStore, saved: list[Path]) -> None:
    versions = [store.add(path).id for path in saved[:2]]
    outcomes: list[str] = []

    def promote(version: str) -> None:
        other = VersionStore(store.path)
        for _ in range(10):
            try:
                other.promote(version, fence=len(other.promotions()))
                outcomes.append("promoted")
            except ConflictError:
                outcomes.append("second")

    threads = [threading.Thread(target=promote, args=(each,)) for each in versions * 2]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [each.fence for each in store.promotions()] == list(range(1, 1 + outcomes.count("promoted")))
    assert len(outcomes) == 40


def test_old_versions_are_removed_but_no_new_ones(store: VersionStore, saved: list[Path]) -> None:
    first, second, new = (store.add(path).id for path in saved)
    for each in (first, second):
        store.promote(each)
    assert store.remove_unused(keep=1) == (first,)
    assert {each.id for each in store.versions()} == {second, new}
    with pytest.raises(ArtifactError, match=first):
        store.rollback()


def _refuse_folder(path: Path) -> None:
    (path / "note.txt").parent.mkdir()
    (path / "note.txt").write_text("mine")
    VersionStore.create(path)


def test_only_an_unused_version_is_discarded(store: VersionStore, saved: list[Path]) -> None:
    current, tried, unused = (store.add(path).id for path in saved)
    store.promote(current)
    store.start_trial(tried)
    assert [store.discard(each) for each in (current, tried, unused[:8])] == [False, False, True]
    store.stop_trial()
    assert not store.discard(tried)
    assert {each.id for each in store.versions()} == {current, tried}
    with pytest.raises(ArtifactError, match="must begin the id"):
        store.discard(unused)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (VersionStore, "must be a store of versions"),
        (_refuse_folder, "left alone"),
        (lambda path: VersionStore.create(path).rollback(), "Promote two versions"),
        (lambda path: VersionStore.create(path).promote("abc"), "none; add one"),
        (lambda path: VersionStore.create(path).add(artifacts.save(load_sample(), path / "data")), "is a data set"),
    ],
)
def test_what_cannot_be_done_is_told(act: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=message):
        act(tmp_path / "s")


def test_damaged_artifacts_are_not_added(store: VersionStore, saved: list[Path], tmp_path: Path) -> None:
    damaged = artifacts.copy(saved[1], tmp_path / "damaged")
    file = max(damaged.glob("*.npy"), key=lambda each: each.stat().st_size)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink()  # a hard link: the original keeps its bytes
    file.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        store.add(damaged)
    assert store.versions() == ()
    assert Pipeline.load(saved[1]).name == "item_knn"
    (store.path / "current.json").write_text("{")
    with pytest.raises(ArtifactError, match="promote the version"):
        store.current()


def test_the_pipeline_of_a_store_is_its_current_version(saved: list[Path], store: VersionStore) -> None:
    assert find_pipeline_path(saved[0]) == saved[0]
    with pytest.raises(ArtifactError, match="promote one first"):
        find_pipeline_path(store.path)
    version = store.add(saved[1])
    store.promote(version.id)
    assert find_pipeline_path(store.path) == version.path


def test_an_artifact_is_no_store(saved: list[Path], store: VersionStore) -> None:
    assert [is_version_store(each) for each in (saved[0], store.path, store.path / "nothing")] == [False, True, False]


class TestTrials:
    """Versions on trial: one at a time, under the same numbers as promotions."""

    @pytest.fixture
    def ids(self, store: VersionStore, saved: list[Path]) -> list[str]:
        """Three versions, the first one current."""
        ids = [store.add(path).id for path in saved]
        store.promote(ids[0])
        return ids

    def test_a_trial_is_started_changed_and_stopped(self, store: VersionStore, ids: list[str]) -> None:
        assert (store.trial(), store.fence) == (None, 1)
        started = store.start_trial(ids[1], 0.01)
        assert (started.fence, started.version, started.share) == (2, ids[1], 0.01)
        grown = store.start_trial(ids[1][:6], 0.5)
        assert (grown.fence, grown.share, grown.salt, grown.started) == (3, 0.5, started.salt, started.started)
        assert store.trial() == grown
        assert store.current() == store.find(ids[0])
        ended = store.stop_trial("enough", "ann", trial=started)
        assert ended is not None
        assert (ended.fence, ended.outcome, ended.reason, ended.ended_by) == (4, "stopped", "enough", "ann")
        assert (store.trial(), store.trials(), store.fence) == (None, (ended,), 4)
        assert store.stop_trial(trial=started) is None
        again = store.start_trial(ids[1], 0.01)
        assert again.salt != started.salt  # users are divided anew
        assert store.stop_trial(trial=started) is None
        assert store.trial() == again

    @pytest.mark.parametrize(("promoted", "outcome"), [(1, "promoted"), (2, "replaced")])
    def test_a_promotion_ends_a_trial(self, store: VersionStore, ids: list[str], promoted: int, outcome: str) -> None:
        store.start_trial(ids[1])
        store.promote(ids[promoted], fence=2)
        assert store.trial() is None
        assert [(each.outcome, each.fence) for each in store.trials()] == [(outcome, 3)]

    def test_after_a_rollback_a_trial_is_of_no_version_but_its_own(self, store: VersionStore, ids: list[str]) -> None:
        first, bad, third = ids
        store.start_trial(bad)
        store.promote(bad)
        store.start_trial(third)
        assert store.rollback().version == first
        assert store.trial() is None
        assert store.start_trial(third).version == third
        current = store.current()
        assert current is not None
        assert current.id == first
        with pytest.raises(ArtifactError, match="no version before"):
            store.rollback()

    def test_what_a_trial_must_not_be_is_refused(self, store: VersionStore, ids: list[str]) -> None:
        with pytest.raises(ArtifactError, match="must be another one than the current"):
            store.start_trial(ids[0])
        with pytest.raises(ArtifactError, match="None is"):
            store.stop_trial()
        with pytest.raises(SettingError, match="share must be"):
            store.start_trial(ids[1], 0.6)
        store.start_trial(ids[1], 1.0, is_shadow=True)
        for version, is_shadow in ((ids[2], True), (ids[1], False)):
            with pytest.raises(ConflictError, match=f"{ids[1]} is. Stop that trial first"):
                store.start_trial(version, is_shadow=is_shadow)
        with pytest.raises(ConflictError, match="must be number 1. It is number 2"):
            store.stop_trial(fence=1)
        assert store.remove_unused(keep=1) == ()

    def test_a_version_on_trial_is_not_removed(self, store: VersionStore, ids: list[str]) -> None:
        store.promote(ids[1])
        store.start_trial(ids[0])
        assert store.remove_unused(keep=1) == ()
        store.stop_trial()
        assert store.remove_unused(keep=1) == (ids[0],)

    def test_two_who_try_at_once_try_one_version(self, store: VersionStore, ids: list[str]) -> None:
        outcomes: list[str] = []

        def change(version: str) -> None:
            other = VersionStore(store.path)
            for _ in range(20):
                try:
                    other.start_trial(version, fence=other.fence)
                    other.stop_trial(fence=other.fence)
                    outcomes.append("tried")
                except (ConflictError, ArtifactError):
                    outcomes.append("second")

        threads = [threading.Thread(target=change, args=(each,)) for each in ids[1:]]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        numbers = [each.fence for each in (*store.promotions(), *store.trials())]
        assert len(set(numbers)) == len(numbers)
        assert len(outcomes) == 40
        assert all(each.ended is not None for each in store.trials()[:-1])


# Forks processes that add, try and promote a version, each of which ends at one call more that changes files.
_CRASH = """
import os, sys
from leanrec.online import VersionStore
store, left = VersionStore(sys.argv[1]), 0

def count(function):
    def call(*args, **options):
        global left
        if not left:
            os._exit(9)
        left -= 1
        return function(*args, **options)
    return call

def promote():
    store.promote(store.add(sys.argv[2]).id)

def start_trial():
    store.start_trial(store.add(sys.argv[2]).id)

for act in (start_trial, promote):
    codes = []
    while not codes or codes[-1]:
        process = os.fork()
        if not process:
            left = len(codes)
            for name in ("link", "rename", "replace", "fsync", "mkdir"):
                setattr(os, name, count(getattr(os, name)))
            act()
            os._exit(0)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
        trial = store.trial()
        print(codes[-1], store.current().id, "none" if trial is None else trial.version)
"""


@pytest.mark.system
def test_a_crash_between_any_two_steps_leaves_a_version_to_serve(store: VersionStore, saved: list[Path]) -> None:
    first = store.add(saved[0]).id
    store.promote(first)
    command = [sys.executable, "-c", _CRASH, str(store.path), str(saved[1])]
    done = subprocess.run(
        command, check=True, text=True, capture_output=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    )
    codes, served, tried = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
    assert set(codes) == {"9", "0"}
    assert len(codes) > 20
    second = store.find(artifacts.read_digest(saved[1])[:12])
    assert served == (first,) * served.count(first) + (second.id,) * served.count(second.id)
    assert set(tried) == {"none", second.id}
    assert [trial for now, trial in zip(served, tried, strict=True) if now == second.id] == ["none"] * served.count(
        second.id
    )
    assert Pipeline.load(second.path).name == "item_knn"
