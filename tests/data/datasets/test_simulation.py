"""Simulated logs: exact counts, the distribution of items and users, one log per seed, and preferences that no model can beat."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leanrec import artifacts
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.data.datasets import simulation
from leanrec.data.datasets.simulation import Simulation, TruePreferences
from leanrec.data.ingest.ingest import ingest
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.data.splits.split import split
from leanrec.errors import BudgetError, SettingError
from leanrec.evaluation.evaluate import evaluate
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.factorization.pure_svd import PureSVD
from leanrec.run import Run
from leanrec.types import Queries, empty_csr

SMALL = Simulation(users=300, items=200, events=6_000, n_interests=4)


def last_of_each(data: Dataset) -> tuple[Dataset, EvaluationSet]:
    """All events but the last quarter of every user's, and those as cases."""
    parts = split(data, "ratio", valid=0.0, test=0.25)
    return parts.train, parts.test


@given(users=st.integers(1, 60), items=st.integers(1, 60), share=st.floats(0, 1), seed=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_counts_are_exact_and_no_user_takes_an_item_twice(users: int, items: int, share: float, seed: int) -> None:
    most = users * max(1, items // 2)
    events = users + int(share * (most - users))
    data = Simulation(users=users, items=items, events=events, n_interests=3).dataset(Run(seed=seed))
    assert data.shape == (data.shape.__class__)(users, items, events)
    assert data.interactions.nnz == events
    assert (np.diff(data.indptr) >= 1).all()
    assert data.interactions.data.max() == 1


def test_events_are_in_order_of_user_and_time_and_within_the_days() -> None:
    events = SMALL.dataset().events
    order = np.lexsort((events.time, events.user))
    assert np.array_equal(order, np.arange(len(events)))
    assert np.ptp(events.time) <= 365 * 86_400


def test_a_seed_gives_one_log_and_another_seed_another() -> None:
    assert SMALL.dataset(Run(seed=1)).fingerprint == SMALL.dataset(Run(seed=1, threads=1)).fingerprint
    assert SMALL.dataset(Run(seed=1)).fingerprint != SMALL.dataset(Run(seed=2)).fingerprint


def test_the_stream_is_the_data_set_in_blocks_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "_BLOCK", 500)
    blocks = list(SMALL.stream())
    assert len(blocks) > 5
    assert max(map(len, blocks)) < 1500
    whole = SMALL.dataset().events
    assert np.array_equal(np.concatenate([each.item for each in blocks]), whole.item)
    assert np.array_equal(np.concatenate([each.user for each in blocks]), whole.user)
    starts = [each.user[0] for each in blocks]
    ends = [each.user[-1] for each in blocks]
    assert all(end < start for end, start in zip(ends[:-1], starts[1:], strict=True))


@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_items_are_taken_as_often_as_the_preferences_say(drift: float) -> None:
    log = Simulation(users=40, items=30, events=40_000, n_interests=3, drift=drift, allow_repeats=True)
    data, preferences = log.dataset(), log.true_preferences()
    late = data.events.time > np.median(data.events.time)
    for half, moment in ((~late, 0.25), (late, 0.75)):
        users, items = data.events.user[half], data.events.item[half]
        expected = (preferences.at(moment).embed_queries(everybody(40, 30)) @ preferences.items.T)[users].sum(
            axis=0, dtype=np.float64
        )
        counts = np.bincount(items, minlength=30)
        # Moments vary around the middle of the half, so the mean is right and only the counts are random.
        assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3


def test_one_user_takes_items_as_the_preferences_say() -> None:
    log = Simulation(users=1, items=25, events=30_000, n_interests=4, allow_repeats=True)
    counts = np.bincount(log.dataset().events.item, minlength=25)
    expected = log.true_preferences().score(everybody(1, 25))[0].astype(np.float64)
    assert stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 1e-3


def test_popularity_and_activity_have_tails() -> None:
    flat = Simulation(users=500, items=400, events=20_000, popularity=0, taste=0, activity=0, focus=0)
    steep = Simulation(users=500, items=400, events=20_000, popularity=1.5, taste=0, activity=1.5)

    def share_of_the_top(counts: np.ndarray) -> float:
        return float(np.sort(counts)[-len(counts) // 10 :].sum() / counts.sum())

    tails = []
    for each in (flat, steep):
        data = each.dataset()
        tails.append((share_of_the_top(np.bincount(data.events.item)), share_of_the_top(np.diff(data.indptr))))
    assert all(share < 0.18 for share in tails[0])
    assert tails[1][0] > 0.3
    assert tails[1][1] > 0.4


def test_no_model_beats_the_true_preferences() -> None:
    data = Simulation(users=1_500, items=400, events=45_000, n_interests=6)
    train, cases = last_of_each(data.dataset())
    preferences = data.true_preferences()
    popular = Popularity().fit(train)
    model = PureSVD(embedding_dim=6).fit(train)
    reached = {
        name: evaluate(each, cases, k=(10,)).means()["ndcg@10"]
        for name, each in {"preferences": preferences, "model": model, "popular": popular}.items()
    }
    assert reached["preferences"] > 1.5 * reached["popular"]
    assert reached["popular"] < reached["model"] <= reached["preferences"] * 1.01


def test_interests_drift() -> None:
    log = Simulation(users=800, items=300, events=24_000, n_interests=6, drift=1.0, concentration=0.05)
    _, cases = last_of_each(log.dataset())
    preferences = log.true_preferences()
    now, before = (evaluate(preferences.at(when), cases, k=(10,)).means()["ndcg@10"] for when in (0.9, 0.0))
    assert now > 1.3 * before


def test_the_preferences_are_a_distribution_and_a_dot_product() -> None:
    preferences = SMALL.true_preferences()
    asked = Queries(users=np.array([3, -1], np.int32), history=empty_csr(2, 200))
    scores = preferences.score(asked)
    assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert np.allclose(scores, preferences.embed_queries(asked) @ preferences.embed_items().T)
    assert np.allclose(scores[1], preferences.score(everybody(300, 200)).mean(axis=0), atol=1e-7)
    some = np.array([5, 7, 5], np.int32)
    assert np.allclose(preferences.score(asked, some), scores[:, some])
    each = np.array([[1, 2], [3, 4]], np.int32)
    assert np.allclose(preferences.score(asked, each), np.take_along_axis(scores, each, axis=1))


def test_preferences_can_be_saved(tmp_path: Path) -> None:
    preferences = SMALL.true_preferences()
    kept = artifacts.load(artifacts.save(preferences, tmp_path / "preferences"))
    assert isinstance(kept, TruePreferences)
    assert np.array_equal(kept.items, preferences.items)


@pytest.mark.parametrize("name", ["log.parquet", "log.csv"])
def test_a_written_log_is_read_back_whole(tmp_path: Path, name: str) -> None:
    found, report = ingest(SMALL.write(tmp_path / "folder" / name))
    data = SMALL.dataset()
    assert report.events == len(data.events)
    users, items = found.users.ids[found.events.user], found.items.ids[found.events.item]
    order = np.lexsort((items, found.events.time, users))
    expected = np.lexsort((data.events.item, data.events.time, data.events.user))
    assert np.array_equal(items[order], data.events.item[expected])
    assert np.array_equal(found.events.time[order], data.events.time[expected])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"events": 299}, "events must be from 300, one for each user, to 30000"),
        ({"events": 30_001}, "half of the items for each. Got 30001"),
        ({"users": 0}, "users must be a number of at least 1"),
        ({"users": 2**31, "events": 2**40}, "must be below 2³¹"),
        ({"drift": 1.5}, "drift must be a number from 0 to 1"),
        ({"concentration": 0}, "concentration must be a positive number"),
        ({"n_interests": 0}, "n_interests must be"),
    ],
)
def test_settings_are_checked(change: dict, message: str) -> None:
    settings = {"users": 300, "items": 200, "events": 6_000}
    with pytest.raises(SettingError) as raised:
        Simulation(**settings | change)
    assert message in str(raised.value)


def test_too_large_a_log_is_refused_before_it_is_made() -> None:
    large = Simulation(users=1_000_000, items=100_000, events=10**9)
    with pytest.raises(BudgetError, match="A simulation of 1,000,000,000 events needs about 21"):
        large.dataset(Run(budget=Budget(memory=4 * 10**9)))


def test_extremes() -> None:
    alone = Simulation(users=1, items=1, events=1).dataset()
    assert alone.events.item.tolist() == [0]
    again = Simulation(users=1, items=1, events=50, allow_repeats=True).dataset()
    assert len(again.events) == 50
    full = Simulation(users=5, items=10, events=25, activity=3.0, taste=6.0).dataset()
    assert np.diff(full.indptr).tolist() == [5] * 5
    for start, stop in itertools.pairwise(full.indptr.tolist()):
        assert len(set(full.events.item[start:stop].tolist())) == 5


def everybody(users: int, items: int) -> Queries:
    return Queries(users=np.arange(users, dtype=np.int32), history=empty_csr(users, items))
