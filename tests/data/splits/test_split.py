"""Splits: every method against plain loops, their guarantees, and the leakage report."""

import dataclasses
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.data.ingest.ingest import ingest
from leanrec.data.splits.split import HOW, EvaluationSet, Split, split
from leanrec.data.time_kind import TimeKind
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import DataError, SettingError
from leanrec.types import Events, Queries, empty_csr

DAY = 86_400
EPOCH = 1_600_000_000
WAYS = [how for how in HOW if how not in {"auto", "given"}]


def log(*rows: tuple[int, int, int] | tuple[int, int, int, float], n_items: int = 6) -> Dataset:
    """A data set from (user, item, time[, weight]) rows."""
    full = [(*row, 1.0)[:4] for row in rows]
    user, item, time, weight = (np.array(column) for column in zip(*full, strict=True))
    events = Events(
        user.astype(np.int32),
        item.astype(np.int32),
        time.astype(np.int64),
        np.zeros(len(full), np.int8),
        weight.astype(np.float32),
    )
    users = Vocabulary(np.arange(user.max() + 1), "user")
    return Dataset(events, users, Vocabulary(np.arange(n_items), "item")).with_events(events)


def mixed(seed: int = 0, n_users: int = 25, n_items: int = 15, n_events: int = 400) -> Dataset:
    """Ratings with allow_repeats and ties in time; low ones carry no weight."""
    rng = np.random.default_rng(seed)
    value = rng.integers(1, 6, n_events).astype(np.float32)
    value[rng.random(n_events) < 0.1] = np.nan
    events = Events(
        rng.integers(0, n_users, n_events).astype(np.int32),
        rng.integers(0, n_items, n_events).astype(np.int32),
        EPOCH + rng.integers(0, 90, n_events) * DAY,
        np.zeros(n_events, np.int8),
        np.where(value < 3, 0, np.where(np.isnan(value), 1, value)).astype(np.float32),
        value,
    )
    ids = Vocabulary(id_array([f"u{u}" for u in range(n_users)]), "user")
    return Dataset(events, ids, Vocabulary(np.arange(n_items)), rating_range=(1, 5)).with_events(events)


# --- a slow twin: the parts and the cases by plain loops ------------------------------------------


def slow_positive(data: Dataset, chosen: list[int]) -> set[int]:
    """The events of ``chosen`` with a weight above 0 whose rating no later one of them replaces."""
    found, last = set(), {}
    for e in chosen:
        if data.events.rating is not None and not math.isnan(float(data.events.rating[e])):
            last[int(data.events.user[e]), int(data.events.item[e])] = e
    for e in chosen:
        rated = data.events.rating is not None and not math.isnan(float(data.events.rating[e]))
        is_last = last.get((int(data.events.user[e]), int(data.events.item[e]))) == e
        if data.events.weight[e] > 0 and (is_last or not rated):
            found.add(e)
    return found


def slow_parts(data: Dataset, how: str, valid: float, test: float) -> list[int]:
    events = data.events
    positive = slow_positive(data, list(range(len(events))))
    if how == "time":
        times = sorted(int(events.time[e]) for e in positive)
        cut_valid = times[int(round(len(times) * (1 - valid - test), 9))]
        cut_test = times[int(round(len(times) * (1 - test), 9))]
        return [2 if t >= cut_test else 1 if t >= cut_valid else 0 for t in events.time.tolist()]
    parts = []
    for u in range(len(data.users)):
        mine = [e for e in range(len(events)) if events.user[e] == u]
        n = sum(e in positive for e in mine)
        if how == "leave-one-out":
            keep_test = n - 1 if n >= 2 else n
            keep_valid = keep_test - 1 if keep_test >= 2 else keep_test
        else:
            keep_test = max(1, int(round(n * (1 - test), 9)))
            keep_valid = max(1, int(round(n * (1 - valid - test), 9)))
        positives = 0
        for e in mine:
            positives += e in positive
            parts.append(2 if positives > keep_test else 1 if positives > keep_valid else 0)
    return parts


def slow_case(data: Dataset, parts: list[int], code: int, user: int) -> dict[str, Any]:
    history: dict[int, float] = defaultdict(float)
    ground_truth: dict[int, float] = defaultdict(float)
    seen, last, ratings, held_ratings = set(), [], {}, {}
    known = slow_positive(data, [e for e, part in enumerate(parts) if part < code])
    held_out = slow_positive(data, [e for e, part in enumerate(parts) if part == code])
    for e, part in enumerate(parts):
        if data.events.user[e] != user:
            continue
        item, weight, value = (
            int(data.events.item[e]),
            float(data.events.weight[e]),
            float(data.events.rating[e]) if data.events.rating is not None else float("nan"),
        )
        if part < code:
            seen.add(item)
            if e in known:
                history[item] += weight
                last.append(item)
            if not math.isnan(value):
                ratings[item] = value
        elif part == code:
            if e in held_out:
                ground_truth[item] += weight
            if not math.isnan(value):
                held_ratings[item] = value
    return {
        "history": dict(history),
        "seen": seen,
        "last": last,
        "ratings": ratings,
        "ground_truth": {item: weight for item, weight in ground_truth.items() if item not in seen},
        "dropped": sum(item in seen for item in ground_truth),
        "held_ratings": held_ratings,
    }


def row(matrix: Any, b: int) -> dict[int, float]:
    cut = slice(matrix.indptr[b], matrix.indptr[b + 1])
    return dict(zip(matrix.indices[cut].tolist(), matrix.data[cut].tolist(), strict=True))


@pytest.mark.parametrize("how", ["time", "leave-one-out", "ratio"])
def test_agrees_with_plain_loops(how: str) -> None:
    data = mixed()
    made = split(data, how, valid=0.15, test=0.2)
    parts = slow_parts(data, how, 0.15, 0.2)
    assert len(made.train.events) == parts.count(0)
    for code, cases in ((1, made.valid), (2, made.test)):
        expected = [slow_case(data, parts, code, user) for user in range(len(data.users))]
        expected = [case for case in expected if case["ground_truth"] or case["dropped"] or case["held_ratings"]]
        assert len(cases) == len(expected)
        assert cases.n_dropped == sum(case["dropped"] for case in expected)
        assert cases.queries.sequences is not None
        for b, case in enumerate(expected):
            assert row(cases.ground_truth, b) == case["ground_truth"]
            assert row(cases.queries.history, b) == case["history"]
            assert set(row(cases.queries.seen, b)) == case["seen"]
            assert row(cases.queries.ratings, b) == case["ratings"]
            assert row(cases.ratings, b) == case["held_ratings"]
            assert sorted(cases.queries.sequences[b].tolist()) == sorted(case["last"])


# --- what every way promises ----------------------------------------------------------------------


@pytest.mark.parametrize("how", WAYS)
def test_keeps_vocabularies_and_hides_no_event(how: str) -> None:
    data = mixed(seed=4)
    # Without ratings no event replaces another.
    data = dataclasses.replace(data, events=dataclasses.replace(data.events, rating=None))
    made = split(data, how, allow_repeats=True, seed=2)
    assert made.how == how
    assert made.train.users is data.users
    assert made.train.items is data.items
    assert made.test.ground_truth.shape[1] == made.valid.ground_truth.shape[1] == len(data.items)
    # Weight is neither lost nor made: what is trained on, brought along by new users, or held out adds up.
    total = made.train.events.weight.sum() + made.valid.ground_truth.sum() + made.test.ground_truth.sum()
    if how == "cold-users":
        total += made.valid.queries.history.sum() + made.test.queries.history.sum()
    assert total == pytest.approx(data.events.weight.sum())


@pytest.mark.parametrize("how", WAYS)
def test_truth_holds_nothing_seen_unless_asked(how: str) -> None:
    made = split(mixed(seed=4), how, seed=2)
    kept = split(mixed(seed=4), how, seed=2, allow_repeats=True)
    for fresh, every in ((made.valid, kept.valid), (made.test, kept.test)):
        assert fresh.queries.seen is not None
        assert (fresh.ground_truth.multiply(fresh.queries.seen)).nnz == 0
        assert fresh.n_dropped == every.ground_truth.nnz - fresh.ground_truth.nnz
        assert every.allow_repeats
        assert every.n_dropped == 0


@pytest.mark.parametrize("how", WAYS)
def test_same_seed_same_split_and_test_does_not_depend_on_valid(how: str) -> None:
    data = mixed(seed=1)
    first, again, final = (
        split(data, how, seed=5),
        split(data, how, seed=5),
        split(data, how, seed=5, valid=0),
    )
    assert first.test.fingerprint == again.test.fingerprint == final.test.fingerprint
    assert first.valid.fingerprint == again.valid.fingerprint
    assert len(final.valid) == 0
    assert len(final.train.events) > len(first.train.events)


@pytest.mark.parametrize("how", ["random", "cold-users", "cold-items"])
def test_another_seed_draws_others(how: str) -> None:
    assert split(mixed(), how, seed=0).test.fingerprint != split(mixed(), how, seed=1).test.fingerprint


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 30)), min_size=8, max_size=60))
@settings(max_examples=40, deadline=None)
def test_any_log_is_cut_in_order_within_each_user(rows: list[tuple[int, int, int]]) -> None:
    data = log(*((user, item, EPOCH + day * DAY) for user, item, day in rows))
    for how in ("ratio", "leave-one-out"):
        try:
            made = split(data, how, valid=0.2, test=0.2, allow_repeats=True)
        except DataError:
            continue
        assert not made.leakage.same_user
        assert made.train.events.weight.sum() + made.valid.ground_truth.sum() + made.test.ground_truth.sum() == len(
            rows
        )


# --- who asks -------------------------------------------------------------------------------------


def test_histories_are_stale_where_training_does_not_hold_all_of_them() -> None:
    data = log(
        *((0, item, EPOCH + item) for item in range(6)),  # trained on, validated, tested
        (1, 0, EPOCH + 1),  # trained on, tested
        (1, 1, EPOCH + 5),
        (2, 4, EPOCH + 5),  # only tested
    )
    made = split(data, "time", valid=0.2, test=0.4)
    assert made.test.queries.users.tolist() == [0, 1, 2]
    assert made.test.queries.is_stale.tolist() == [True, False, False]
    assert made.test.queries.trained_users.tolist() == [-1, 1, 2]
    assert np.diff(made.test.queries.history.indptr).tolist() == [4, 1, 0]
    assert made.valid.queries.users.tolist() == made.valid.queries.trained_users.tolist() == [0]


def test_a_query_is_asked_at_the_first_held_out_like() -> None:
    data = log((0, 0, EPOCH), (0, 1, EPOCH + 1), (0, 2, EPOCH + 8, 0.0), (0, 3, EPOCH + 9), (1, 0, EPOCH + 2))
    made = split(data, "leave-one-out")
    assert made.test.queries.time is not None
    assert made.test.queries.time.tolist() == [EPOCH + 9]
    assert split(log((0, 0, 0), (0, 1, 1), (1, 0, 0), (1, 1, 1))).test.queries.time is None


def test_sequences_are_those_of_plain_loops() -> None:
    data = mixed(seed=9)
    chosen = np.array([3, 0, 24, 3], np.int32)
    queries = data.queries(chosen)
    assert queries.sequences is not None
    for user, sequence in zip(chosen.tolist(), queries.sequences, strict=True):
        mine = [e for e in range(len(data.events)) if data.events.user[e] == user]
        assert sequence.tolist() == [data.events.item[e] for e in mine if e in slow_positive(data, mine)]


def test_taken_queries_are_the_chosen_ones() -> None:
    queries = mixed().queries()
    taken = queries.take(np.array([4, 4, 1]))
    assert taken.users.tolist() == [4, 4, 1]
    assert taken.ratings is not None
    assert queries.ratings is not None
    np.testing.assert_array_equal(taken.ratings.toarray(), queries.ratings.toarray()[[4, 4, 1]])
    assert taken.sequences is not None
    assert queries.sequences is not None
    assert taken.sequences[2].tolist() == queries.sequences[1].tolist()


# --- single ways ----------------------------------------------------------------------------------


def test_time_leaves_the_future_out() -> None:
    made = split(make_dataset(), "time")
    assert made.test.queries.time is not None
    assert made.train.events.time.max() < made.test.queries.time.min()
    assert not made.leakage.has_leakage
    assert "no temporal leakage" in str(made.leakage)
    held = made.test.ground_truth.nnz / 720
    assert 0.08 < held < 0.12


def test_leave_one_out_holds_out_the_last_two() -> None:
    data = make_dataset(per_user=5)
    made = split(data, "leave-one-out")
    items = data.events.item.reshape(-1, 5)
    assert made.test.ground_truth.indices.tolist() == items[:, 4].tolist()
    assert made.valid.ground_truth.indices.tolist() == items[:, 3].tolist()
    assert len(made.train.events) == 3 * 60


def test_leave_one_out_keeps_users_with_little_in_training() -> None:
    made = split(
        log(
            (0, 0, EPOCH),
            (1, 0, EPOCH),
            (1, 1, EPOCH + 1),
            (2, 0, EPOCH),
            (2, 1, EPOCH + 2),
            (2, 2, EPOCH + 3),
        ),
        "leave-one-out",
    )
    assert np.bincount(made.train.events.user).tolist() == [1, 1, 1]
    assert len(made.valid) == 1
    assert len(made.test) == 2


def test_ratio_is_exact_where_shares_are() -> None:
    made = split(make_dataset(per_user=10), "ratio", valid=0.1, test=0.2)
    assert set(made.test.n_relevant.tolist()) == {2}
    assert set(made.valid.n_relevant.tolist()) == {1}


def test_cold_users_bring_the_first_part_of_their_own_events() -> None:
    data = make_dataset(per_user=10)
    made = split(data, "cold-users", valid=0.1, test=0.2, known=0.7, seed=3)
    assert len(made.test) == 12
    assert len(made.valid) == 6
    assert set(made.test.queries.trained_users.tolist()) == {-1}
    assert set(made.test.n_relevant.tolist()) == {3}
    assert len(np.unique(made.train.events.user)) == 42
    assert made.leakage.same_user == 0
    assert set(split(data, "cold-users", known=0).test.n_relevant.tolist()) == {10}


def test_cold_items_are_unknown_to_training() -> None:
    made = split(make_dataset(), "cold-items", valid=0.1, test=0.2, seed=3)
    trained = set(made.train.events.item.tolist())
    tested, validated = set(made.test.ground_truth.indices.tolist()), set(made.valid.ground_truth.indices.tolist())
    assert not trained & (tested | validated)
    assert not tested & validated
    assert len(tested) == 8


# --- given events ---------------------------------------------------------------------------------


def own(data: Dataset, events: Events) -> Events:
    return dataclasses.replace(events, user=data.users.ids[events.user], item=data.items.ids[events.item])


def test_given_parts_make_the_split_they_were_cut_from() -> None:
    data = make_dataset()
    cut = np.quantile(data.events.time, [0.8, 0.9])
    train, valid, test = (
        data.events.take(which)
        for which in (
            data.events.time < cut[0],
            (data.events.time >= cut[0]) & (data.events.time < cut[1]),
            data.events.time >= cut[1],
        )
    )
    separate = split(
        data.with_events(train), "given", valid_events=data.with_events(valid), test_events=own(data, test)
    )
    within = split(data, "given", valid_events=own(data, valid), test_events=data.with_events(test))
    assert separate.test.fingerprint == within.test.fingerprint
    assert separate.valid.fingerprint == within.valid.fingerprint
    assert separate.note == ""
    assert f"{len(valid) + len(test)} held-out events were also" in within.note
    assert within.train.fingerprint == data.with_events(train).fingerprint
    assert within.train.rating_range == data.rating_range


def test_given_events_may_name_new_users_and_items() -> None:
    data = make_dataset()
    held = Events(
        user=id_array(["user-1", "stranger"]),
        item=np.array([139, 9999]),
        time=np.array([EPOCH, EPOCH]),
        event_type=np.array([0, 1], np.int8),
        weight=np.ones(2, np.float32),
        event_types=("view", "rating"),
    )
    made = split(data, "given", test_events=held, allow_repeats=True)
    assert len(made.train.users) == 61
    assert len(made.train.items) == made.test.ground_truth.shape[1] == 41
    assert made.train.item_table is not None
    assert made.train.item_table.columns["title"][40] == ""
    assert np.isnan(made.train.item_table.columns["year"][40])
    assert [row(made.test.ground_truth, b) for b in range(2)] == [{39: 1.0}, {40: 1.0}]
    assert made.test.queries.users.tolist() == [1, 60]
    assert "1 users and 1 items" in made.note
    assert made.train.events.event_types == ("rating", "view")
    assert len(made.valid) == 0


def test_without_a_clock_given_pairs_leave_training_whatever_their_order() -> None:
    data = log((0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 0, 0), (1, 1, 1))
    held = Events(*(np.array(c) for c in ([0], [2], [0])), np.zeros(1, np.int8), np.ones(1, np.float32))
    made = split(data, "given", test_events=held)
    assert len(made.train.events) == 4
    assert row(made.test.ground_truth, 0) == {2: 1.0}
    assert made.test.queries.sequences is not None
    assert made.test.queries.sequences[0].tolist() == [0, 1]


def test_a_given_data_set_is_read_by_its_own_ids() -> None:
    train = ingest(pd.DataFrame({"user": ["a", "a", "b"], "item": ["x", "y", "x"], "time": EPOCH + np.arange(3)})).data
    held = ingest(pd.DataFrame({"user": ["b", "c"], "item": ["y", "z"], "time": EPOCH + 9})).data
    made = split(train, "given", test_events=held)
    users = made.train.users.ids.tolist()
    assert users == ["a", "b", "c"]
    assert made.train.items.ids.tolist() == ["x", "y", "z"]
    assert made.test.queries.users.tolist() == [1, 2]
    assert [row(made.test.ground_truth, b) for b in range(2)] == [{1: 1.0}, {2: 1.0}]
    assert len(made.train.events) == 3


def test_only_ids_with_events_come_from_a_given_data_set() -> None:
    train = log((0, 0, EPOCH), (0, 1, EPOCH + 1), (1, 2, EPOCH), n_items=4)
    held = log((0, 3, EPOCH + 5), n_items=50)
    made = split(train, "given", test_events=held)
    assert len(made.train.items) == 4
    assert made.note == ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (make_dataset().events, "int32 columns, which are internal rows of an unknown data set"),
        (pd.DataFrame({"user": [1], "item": [2]}), r"Got DataFrame\. Read it first: ingest\(source\)\.data"),
        ("test.csv", r"test_events must be a Dataset, or Events with external ids\. Got str"),
    ],
    ids=["rows", "frame", "path"],
)
def test_given_events_without_external_ids_are_refused(given: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        split(make_dataset(), "given", test_events=given)


# --- clocks and leaks -----------------------------------------------------------------------------


def positions() -> Dataset:
    """No absolute time: the order within the user, with holes that cleaning left."""
    rows = [(u, (u + p) % 6, p) for u in range(8) for p in range(10) if (u * 7 + p) % 9]
    return log(*rows)


def test_tells_a_clock_from_an_order() -> None:
    assert make_dataset().time_kind is TimeKind.TIMESTAMP
    assert positions().time_kind is TimeKind.ORDER
    assert log((0, 0, 0), (1, 1, 0)).time_kind is TimeKind.NONE
    # Days since the start of the log, small as they are.
    rng = np.random.default_rng(0)
    assert log(*((u, i, int(rng.integers(0, 90))) for u in range(9) for i in range(6))).time_kind is TimeKind.COMPARABLE


def test_auto_says_what_it_chose() -> None:
    assert split(make_dataset()).how == "time"
    ordered = split(positions())
    assert ordered.how == "leave-one-out"
    assert "only give the order" in ordered.note
    timeless = split(log(*((u, i, 0) for u in range(9) for i in range(6))), seed=1)
    assert timeless.how == "random"
    assert "no times" in timeless.note


def test_time_without_a_clock_names_the_way_out() -> None:
    with pytest.raises(DataError, match=r"only count up within each user\. Use how='leave-one-out'"):
        split(positions(), "time")
    with pytest.raises(DataError, match=r"all events have the same time\. Use how='random'"):
        split(log((0, 0, 0), (1, 1, 0)), "time")


def test_leaks_are_counted() -> None:
    train = log((0, 0, EPOCH), (0, 1, EPOCH + 10), (1, 2, EPOCH + 5))
    held = Events(
        *(np.array(c) for c in ([0, 0, 1, 2], [3, 4, 3, 0], [EPOCH + 7, EPOCH + 10, EPOCH + 6, EPOCH + 20])),
        np.zeros(4, np.int8),
        np.ones(4, np.float32),
    )
    leak = split(train, "given", test_events=held).leakage
    assert (leak.same_user, leak.overall, leak.events) == (0.25, 0.5, 4)
    assert "50.0% of 4 held-out events" in str(leak)
    assert "25.0% are earlier than a known event of the same user" in str(leak)
    assert split(make_dataset(), "random").leakage.has_leakage
    unordered = split(positions()).leakage
    assert (unordered.same_user, unordered.overall) == (0.0, None)
    assert "no timestamps" in str(unordered)
    assert split(log(*((u, i, 0) for u in range(9) for i in range(6)))).leakage.same_user is None


def test_a_note_reports_queries_without_a_history() -> None:
    rows = [(u, (u + p) % 6, EPOCH + u * DAY + p) for u in range(20) for p in range(4)]
    made = split(log(*rows), "time")
    assert "2 of 2 test queries come from users without a history" in made.note
    assert split(make_dataset()).note == ""


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"how": "leave-two-out"}, "how must be one of auto, time"),
        ({"test": 1.2}, "test must be a number from 0 to 1"),
        ({"valid": float("nan")}, "valid must be a number from 0 to 1"),
        ({"valid": 0.5, "test": 0.5}, r"valid \+ test must be above 0 and below 1. Got 0.5 \+ 0.5"),
        ({"valid": 0.0, "test": 0.0}, "above 0"),
        ({"how": "given"}, "needs valid_events or test_events"),
        ({"how": "time", "test_events": make_dataset().events}, "need how='given'. Got how='time'"),
    ],
)
def test_refuses_settings_that_mean_nothing(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        split(make_dataset(), **options)


def test_refuses_a_split_that_leaves_nothing() -> None:
    with pytest.raises(DataError, match="positive events at two times or more"):
        split(log((0, 0, EPOCH), (1, 1, EPOCH + 1, 0.0)), "time", test=0.5, valid=0.4)
    with pytest.raises(DataError, match="holds out no positive event"):
        split(log((0, 0, EPOCH), (1, 1, EPOCH + 1)), "leave-one-out")
    with pytest.raises(DataError, match="allow_repeats=True"):
        split(log((0, 0, EPOCH), (0, 0, EPOCH + 1)), "leave-one-out")


def dated(*counts: int) -> Dataset:
    """A log with only dates: so many events on each day, each of another user and item."""
    days = [day for day, count in enumerate(counts) for _ in range(count)]
    return log(*((i % 9, i, EPOCH + day * 86_400) for i, day in enumerate(days)), n_items=100)


def test_events_of_one_day_are_not_divided_and_validation_comes_before() -> None:
    made = split(dated(20, 20, 20, 30), "time")
    assert [made.train.shape.events, made.valid.ground_truth.nnz, made.test.ground_truth.nnz] == [40, 20, 30]
    assert "the test part has 33% of the positive events instead of 10%" in made.note
    assert "Many events" not in split(dated(*[1] * 60), "time").note


def test_the_first_day_is_for_training() -> None:
    made = split(dated(50, 5), "time")
    assert [made.train.shape.events, made.valid.ground_truth.nnz, made.test.ground_truth.nnz] == [50, 0, 5]
    with pytest.raises(DataError, match="how='leave-one-out'"):
        made.require("valid")
    assert made.require("test") is made.test


def test_repeats_are_told() -> None:
    repeated = log(*((user, k % 2, EPOCH + k) for user in range(4) for k in range(3)))
    with pytest.raises(DataError, match=r"4 of 4 held-out pairs .* \(100.0%\) are repeats .* allow_repeats=True"):
        split(repeated, "leave-one-out", valid=0)
    assert split(repeated, "leave-one-out", valid=0, allow_repeats=True).test.ground_truth.nnz == 4
    mixed_log = log(
        *((user, (k % 2, 5 + user)[user % 2 and k == 2], EPOCH + k) for user in range(4) for k in range(3)), n_items=9
    )
    assert (
        "2 of 4 held-out pairs of user and item (50.0%) are repeats" in split(mixed_log, "leave-one-out", valid=0).note
    )


def test_refuses_truth_of_another_shape() -> None:
    with pytest.raises(DataError, match="ground_truth must have the shape"):
        EvaluationSet(Queries(np.zeros(2, np.int32), empty_csr(2, 5)), empty_csr(2, 4))


def test_reports_are_plain_numbers() -> None:
    made: Split = split(mixed(), "time")
    report = json.loads(json.dumps(made.to_dict()))
    assert report["how"] == "time"
    assert report["test"]["queries"] == len(made.test)
    assert report["test"]["relevant"] == made.test.ground_truth.nnz
    assert report["leakage"]["text"] == str(made.leakage)


def test_taken_cases_are_the_chosen_ones() -> None:
    cases = split(mixed(), "ratio").test
    some = cases.take(np.array([2, 0]))
    assert len(some) == 2
    assert row(some.ground_truth, 0) == row(cases.ground_truth, 2)
    assert some.fingerprint != cases.fingerprint


def test_the_order_of_a_file_is_not_taken_for_time(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("user,item\n" + "".join(f"{user},{item}\n" for user in range(20) for item in range(10)))
    parts = split(ingest(file).data)
    assert parts.how == "random"
    held = np.unique(parts.test.ground_truth.indices)
    assert len(held) > 3, "held-out items must not all come from the end of the file"
