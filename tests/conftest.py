"""The process that runs tests, and data sets that many of them share: small, made from a known truth, reproducible."""
# ruff: noqa: E402 - the number of threads is read when NumPy and Numba are imported

from contracts.workers import in_worker, prepare_process, share_numba_cache

prepare_process()

import gc
from collections import Counter

import numba
import numpy as np
import pytest

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.types import Events

STRINGS = np.dtypes.StringDType()
GENRES = ("space", "romance", "crime", "music")

# Fixtures of a test that needs more of the machine than this process.
_SYSTEM_FIXTURES = {"browser", "installed"}


def pytest_configure() -> None:
    if in_worker():
        share_numba_cache()
        # Two workers, two cores. Tests of threads ask for two.
        numba.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that need more than this process or take long, and begin with their files, so that workers end together."""
    from contracts.quick import mark_slow  # it needs this module

    for item in items:
        if _SYSTEM_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.system)
    mark_slow(items)
    long_tests = Counter(
        item.path for item in items if any(item.iter_markers("system")) or any(item.iter_markers("slow"))
    )
    items.sort(key=lambda item: -long_tests[item.path])


def pytest_collection_finish() -> None:
    """Take what the imports of all tests left behind out of every later collection of garbage: each fit begins with one."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # some libraries report what is never collected as leaks


def make_dataset(n_users: int = 60, n_items: int = 40, per_user: int = 12, seed: int = 7) -> Dataset:
    """Users who mostly interact with items of one genre and rate those higher, over a hundred days."""
    rng = np.random.default_rng(seed)
    genre = np.arange(n_items) % len(GENRES)
    user, item, time, value = [], [], [], []
    for u in range(n_users):
        preference = np.where(genre == u % len(GENRES), 8.0, 1.0) / (1 + np.arange(n_items) / 20)
        chosen = rng.choice(n_items, per_user, replace=False, p=preference / preference.sum())
        user += [u] * per_user
        item += chosen.tolist()
        time += np.sort(rng.integers(0, 100 * 86_400, per_user)).tolist()
        value += np.clip(
            np.where(genre[chosen] == u % len(GENRES), 4.5, 2.5) + rng.normal(0, 0.5, per_user), 0.5, 5
        ).tolist()
    events = Events(
        user=np.array(user, np.int32),
        item=np.array(item, np.int32),
        time=np.array(time, np.int64) + 1_500_000_000,
        event_type=np.zeros(len(user), np.int8),
        weight=np.ones(len(user), np.float32),
        rating=np.array(value, np.float32),
        event_types=("rating",),
    )
    words = ("star ship orbit", "love letter kiss", "murder police clue", "band song stage")
    table = Table(
        {
            "title": np.array([f"{words[genre[i]].split()[i % 3]} {i}" for i in range(n_items)], STRINGS),
            "genres": np.array([GENRES[genre[i]] + ("|drama" if i % 3 == 0 else "") for i in range(n_items)], STRINGS),
            "description": np.array([f"a story of {words[genre[i]]} number {i}" for i in range(n_items)], STRINGS),
            "year": 1980.0 + np.arange(n_items) % 40,
        }
    )
    return Dataset(
        events=events,
        users=Vocabulary(id_array([f"user-{u}" for u in range(n_users)]), "user"),
        items=Vocabulary(id_array(100 + np.arange(n_items)), "item"),
        item_table=table,
        rating_range=(0.5, 5.0),
        source="made for tests",
    ).with_events(events)


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return make_dataset()
