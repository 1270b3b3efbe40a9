"""Early stopping: the held-out events, and NDCG on them."""

import dataclasses

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.data.merge import concat_events
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.data.time_kind import TimeKind
from leanrec.training.early_stopping import hold_out, mean_ndcg, mean_ndcg_of_scores
from leanrec.types import CSR, Queries


def test_latest_positive_event_of_some_users_is_held_out() -> None:
    data = make_dataset(n_users=200)
    train, cases = hold_out(data, np.random.default_rng(0))
    assert len(cases.queries) == 10
    assert len(train.events) == len(data.events) - 10
    for b, user in enumerate(cases.queries.users.tolist()):
        mine = data.events.item[data.events.user == user]
        assert cases.ground_truth[[b]].indices.tolist() == [mine[-1]]
        assert cases.queries.sequences is not None
        assert cases.queries.sequences[b].tolist() == mine[:-1].tolist()
        assert train.events.item[train.events.user == user].tolist() == mine[:-1].tolist()


def test_events_without_weight_stay_in_training() -> None:
    data = make_dataset(n_users=40)
    weight = data.events.weight.copy()
    last = data.indptr[1:] - 1
    weight[last] = 0
    events = dataclasses.replace(data.events, weight=weight)
    train, cases = hold_out(data.with_events(events), np.random.default_rng(0))
    user = int(cases.queries.users[0])
    mine = np.flatnonzero(data.events.user == user)
    assert cases.ground_truth[[0]].indices.tolist() == [data.events.item[mine[-2]]]
    assert len(train.events) == len(data.events) - len(cases.queries)


def test_queries_have_the_time_of_the_event_if_the_log_has_timestamps() -> None:
    data = make_dataset(n_users=200)
    _, cases = hold_out(data, np.random.default_rng(0))
    assert cases.queries.time is not None
    expected = [data.events.time[data.events.user == user][-1] for user in cases.queries.users]
    assert cases.queries.time.tolist() == expected
    order = np.arange(len(data.events)) - data.indptr[data.events.user]
    for time in (order, np.zeros(len(data.events), np.int64)):
        timeless = data.with_events(dataclasses.replace(data.events, time=time), TimeKind.UNKNOWN)
        assert hold_out(timeless, np.random.default_rng(0))[1].queries.time is None


def test_users_with_one_event_stay_in_training(dataset: Dataset) -> None:
    events = dataset.events.take(dataset.indptr[:-1])
    train, cases = hold_out(dataset.with_events(events), np.random.default_rng(0))
    assert len(cases.queries) == 0
    assert len(train.events) == len(events)
    nothing = dataset.with_events(dataset.events.take(np.zeros(0, np.int64)))
    assert len(hold_out(nothing, np.random.default_rng(0))[1].queries) == 0


def made(seed: int = 0, users: int = 30, items: int = 25) -> tuple[np.ndarray, EvaluationSet]:
    rng = np.random.default_rng(seed)
    history = CSR((rng.random((users, items)) < 0.2).astype(np.float32))
    truth = (rng.random((users, items)) < 0.1) & (history.toarray() == 0)
    truth[0] = False
    queries = Queries(np.full(users, -1, np.int32), history)
    return rng.normal(size=(users, items)).astype(np.float32), EvaluationSet(queries, CSR(truth.astype(np.float32)))


def slow(scores: np.ndarray, cases: EvaluationSet, k: int) -> float:
    found = []
    for b in range(len(scores)):
        answers = set(cases.ground_truth[[b]].indices.tolist())
        seen = set() if cases.allow_repeats else set(cases.queries.history[[b]].indices.tolist())
        ranked = [i for i in np.argsort(-scores[b]).tolist() if i not in seen][:k]
        ideal = sum(1 / np.log2(r + 2) for r in range(min(k, len(answers))))
        if answers:
            found.append(sum(1 / np.log2(r + 2) for r, i in enumerate(ranked) if i in answers) / ideal)
    return float(np.mean(found))


@pytest.mark.parametrize("k", [1, 5, 10, 40])
@pytest.mark.parametrize("allow_repeats", [False, True])
def test_score_is_the_mean_ndcg_over_queries_with_ground_truth(k: int, allow_repeats: bool) -> None:
    scores, cases = made()
    cases = dataclasses.replace(cases, allow_repeats=allow_repeats)
    expected = slow(scores, cases, k)
    assert mean_ndcg(scores, np.eye(25, dtype=np.float32), cases, k) == pytest.approx(expected, rel=1e-6)
    rows = iter(np.flatnonzero(np.diff(cases.ground_truth.indptr)))
    found = mean_ndcg_of_scores(lambda queries: scores[[next(rows) for _ in range(len(queries))]], cases, k)
    assert found == pytest.approx(expected, rel=1e-6)


def test_score_without_ground_truth_is_zero() -> None:
    scores, cases = made()
    none = dataclasses.replace(cases, ground_truth=CSR(cases.ground_truth.shape, dtype=np.float32))
    assert mean_ndcg(scores, np.eye(25, dtype=np.float32), none) == 0


def test_only_items_that_are_new_to_their_user_are_held_out() -> None:
    """All users end with a repeat: no list can hold it, so the item before is held out, with all its events."""
    data = make_dataset(n_users=200)
    last = data.indptr[1:] - 1
    firsts = data.events.take(data.indptr[:-1])
    repeats = dataclasses.replace(firsts, time=data.events.time[last] + 60)
    twice = dataclasses.replace(data.events.take(last), time=data.events.time[last] + 120)
    glance = dataclasses.replace(
        data.events.take(last), time=data.events.time[data.indptr[:-1]] - 60, weight=np.zeros(len(last), np.float32)
    )
    plays = (dataclasses.replace(each, rating=None) for each in (repeats, twice, glance))
    log = concat_events(data.events, *plays)
    train, cases = hold_out(data.with_events(log), np.random.default_rng(0))
    assert len(cases.queries) == 10
    assert cases.queries.seen is not None
    for b, user in enumerate(cases.queries.users.tolist()):
        mine = data.events.item[data.events.user == user].tolist()
        assert cases.ground_truth[[b]].indices.tolist() == [mine[-1]]
        assert mine[-1] not in cases.queries.seen[[b]].indices
        assert train.events.item[train.events.user == user].tolist() == mine[:-1]
    others = ~np.isin(log.user, cases.queries.users)
    assert np.count_nonzero(~np.isin(train.events.user, cases.queries.users)) == np.count_nonzero(others)
