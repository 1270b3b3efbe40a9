"""Data sets that many tests share: small, made from a known truth, the same at every run."""

import numpy as np
import pytest

from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.types import Events

STRINGS = np.dtypes.StringDType()
GENRES = ("space", "romance", "crime", "music")


def make_dataset(n_users: int = 60, n_items: int = 40, per_user: int = 12, seed: int = 7) -> Dataset:
    """Users who mostly touch items of one genre, rate those higher, over a hundred days."""
    rng = np.random.default_rng(seed)
    genre = np.arange(n_items) % len(GENRES)
    user, item, time, value = [], [], [], []
    for u in range(n_users):
        liking = np.where(genre == u % len(GENRES), 8.0, 1.0) / (1 + np.arange(n_items) / 20)
        chosen = rng.choice(n_items, per_user, replace=False, p=liking / liking.sum())
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
        kind=np.zeros(len(user), np.int8),
        weight=np.ones(len(user), np.float32),
        value=np.array(value, np.float32),
        kinds=("rating",),
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
