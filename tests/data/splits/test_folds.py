"""Several splits of one data set."""

import dataclasses

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.data.splits.folds import make_folds
from leanrec.data.time_kind import TimeKind
from leanrec.errors import DataError, SettingError
from leanrec.types import Events


def positives(events: Events) -> set[tuple[int, int, int]]:
    return set(zip(events.user.tolist(), events.item.tolist(), events.time.tolist(), strict=True))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset()


def ordered(data: Dataset) -> Dataset:
    """The same with times that only count up within each user."""
    starts = data.indptr[data.events.user]
    return data.with_events(
        dataclasses.replace(data.events, time=np.arange(len(data.events)) - starts), TimeKind.UNKNOWN
    )


def test_folds_in_time_roll_forward_and_know_nothing_of_the_future(data: Dataset) -> None:
    parts = list(make_folds(data, 4, "time", first=0.5))
    assert [part.how for part in parts] == ["time"] * 4
    sizes = [len(part.train.events) for part in parts]
    assert sizes == sorted(sizes)
    assert sizes[0] == pytest.approx(0.5 * len(data.events), abs=2)
    edges = [int(part.train.events.time.max()) for part in parts]
    for i, part in enumerate(parts):
        assert not part.leakage.has_leakage
        assert len(part.valid) == 0
        # What a fold is asked about happened after its training and before the end of the next fold's.
        assert part.test.queries.time is not None
        assert part.test.queries.time.min() > edges[i]
        if i < 3:
            assert part.test.queries.time.max() <= edges[i + 1]
    held = sum(part.test.ground_truth.nnz + part.test.n_dropped for part in parts)
    assert held == len(data.events) - sizes[0]


def test_folds_of_users_hold_each_out_once_and_train_on_nothing_of_them(data: Dataset) -> None:
    users = []
    for part in make_folds(data, 3, "users", known=0.5):
        trained = set(part.train.events.user.tolist())
        asked = np.flatnonzero(np.bincount(data.events.user, minlength=60)[:60])
        out = set(asked.tolist()) - trained
        assert (part.test.queries.trained_users == -1).all()
        assert np.diff(part.test.queries.history.indptr).min() == 6
        assert part.test.n_relevant.max() == 6
        assert len(part.test) == len(out)
        users += sorted(out)
    assert sorted(users) == list(range(60))


def test_folds_of_events_hold_each_out_once(data: Dataset) -> None:
    held = [positives(data.events) - positives(part.train.events) for part in make_folds(data, 5, "random", seed=3)]
    assert sum(map(len, held)) == len(data.events)
    assert set.union(*held) == positives(data.events)


def test_a_seed_deals_the_same_folds_again(data: Dataset) -> None:
    prints = [[part.test.fingerprint for part in make_folds(data, 3, "users", seed=seed)] for seed in (1, 1, 2)]
    assert prints[0] == prints[1] != prints[2]


def test_the_clock_chooses_the_way(data: Dataset) -> None:
    none = data.with_events(
        dataclasses.replace(data.events, time=np.zeros(len(data.events), np.int64)), TimeKind.UNKNOWN
    )
    assert [next(make_folds(each)).how for each in (data, ordered(data), none)] == ["time", "users", "random"]
    with pytest.raises(DataError, match=r"times that are comparable between users.*how='users'"):
        next(make_folds(ordered(data), how="time"))


def test_what_cannot_be_cut_is_refused(data: Dataset) -> None:
    with pytest.raises(SettingError, match="folds must be a number of at least 2"):
        next(make_folds(data, 1))
    with pytest.raises(SettingError, match="how must be one of"):
        next(make_folds(data, how="spans"))
    with pytest.raises(SettingError, match="50 folds need at least 100 users"):
        next(make_folds(data, 50, "users"))
    two = dataclasses.replace(
        data, events=dataclasses.replace(data.events, time=np.where(data.events.time % 2, 10**9, 2 * 10**9))
    )
    with pytest.raises(DataError, match="different times at the 5 cuts"):
        next(make_folds(two.with_events(two.events), 5, "time"))
