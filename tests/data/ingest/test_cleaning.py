"""Rules of cleaning against plain loops."""

import collections

import numpy as np
import pandas as pd
import pytest

from leanrec.data.ingest.cleaning import CleaningRules, count_busiest_day, find_duplicates, robust_log_limit
from leanrec.data.ingest.ingest import ingest


def test_repeats_finds_what_a_set_of_rows_finds() -> None:
    rng = np.random.default_rng(3)
    user, time = np.sort(rng.integers(0, 6, 400)), rng.integers(0, 4, 400)
    order = np.lexsort((time, user))
    user, time, item = user[order], time[order], rng.integers(0, 3, 400)
    value = rng.choice([1.0, 2.0, np.nan], 400)
    tied = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
    seen, expected = set(), []
    for row in zip(user.tolist(), time.tolist(), item.tolist(), map(str, value.tolist()), strict=True):
        expected.append(row in seen)
        seen.add(row)
    assert find_duplicates([user, time, item, value], tied).tolist() == expected


def test_busiest_day_counts_each_day_of_each_user() -> None:
    rng = np.random.default_rng(4)
    user, time = np.sort(rng.integers(0, 5, 300)), rng.integers(0, 9 * 86_400, 300)
    order = np.lexsort((time, user))
    user, time = user[order], time[order]
    counts = collections.Counter(zip(user.tolist(), (time // 86_400).tolist(), strict=True))
    expected = {u: max(n for (who, _), n in counts.items() if who == u) for u in set(user.tolist())}
    users, most = count_busiest_day(user, time)
    assert dict(zip(users.tolist(), most.tolist(), strict=True)) == expected


def test_log_limit_by_hand() -> None:
    # Logarithms 0, 0, ln 10: median 0, deviation 0, so the spread is its least, 1.
    assert robust_log_limit(np.array([1, 1, 10]), 2.0) == pytest.approx(np.exp(2))
    # Median ln 8 and median deviation ln 4: 1.4826 ln 4 > 1.
    assert robust_log_limit(np.array([1, 2, 8, 32, 128]), 1.0) == pytest.approx(8 * np.exp(1.4826 * np.log(4)))
    assert robust_log_limit(np.array([1, 10]), 2.0, np.array([2, 1])) == pytest.approx(np.exp(2))
    assert robust_log_limit(np.array([]), 2.0) == np.inf


@pytest.mark.parametrize("sigmas", [0.5, 3.0])
def test_log_limit_of_counted_values_is_that_of_all_values(sigmas: float) -> None:
    for seed in range(20):
        events = np.random.default_rng(seed).geometric(0.05, 300 + seed)
        values, counts = np.unique(events, return_counts=True)
        assert robust_log_limit(values, sigmas, counts) == robust_log_limit(events, sigmas)


def test_only_bots_lose_their_events() -> None:
    normal = [(u, u % 7 + i) for u in range(50) for i in range(3)]
    frame = pd.DataFrame([*normal, *[(99, i) for i in range(400)]], columns=["user", "item"])
    data, report = ingest(frame, cleaning=CleaningRules(bot_sigmas=4, max_bot_share=1))
    assert report.rejected == {"bot: far more events than other users": 400}
    assert 99 not in data.users
    assert ingest(frame, cleaning=CleaningRules(bot_sigmas=None)).report.events == 550
    assert ingest(frame).report.events == 550  # the default limit is far higher


def test_too_many_events_in_one_day() -> None:
    frame = pd.DataFrame({"user": [1] * 5 + [2] * 5, "item": range(10), "time": 1_600_000_000})
    frame.loc[5:, "time"] += np.arange(5) * 86_400
    data, report = ingest(frame, cleaning=CleaningRules(max_per_day=4))
    assert report.rejected == {"bot: too many events in one day": 5}
    assert data.users.ids.tolist() == [2]


def test_outliers_are_found_among_events_of_one_type() -> None:
    play = pd.DataFrame({"user": range(20), "item": 1, "hours": [50.0] * 19 + [1e9]})
    buy = pd.DataFrame({"user": range(500), "item": 1})
    data, report = ingest({"play": play, "purchase": buy})
    assert report.rejected == {"outlier: weight far above the others": 1}
    assert data.events.weight.max() == 50.0


def test_k_core_is_what_peeling_one_at_a_time_leaves() -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"user": rng.integers(0, 60, 300), "item": rng.integers(0, 40, 300)})
    left = set(enumerate(map(tuple, frame.to_numpy().tolist())))
    while True:
        users = collections.Counter(user for _, (user, _) in left)
        items = collections.Counter(item for _, (_, item) in left)
        short = next((event for event in sorted(left) if users[event[1][0]] < 4 or items[event[1][1]] < 5), None)
        if short is None:
            break
        left.discard(short)
    data, report = ingest(frame, cleaning=CleaningRules(min_user=4, min_item=5))
    found = pd.DataFrame({"user": data.users.ids[data.events.user], "item": data.items.ids[data.events.item]})
    assert 0 < len(left) < 300
    assert sorted(map(tuple, found.to_numpy().tolist())) == sorted(event for _, event in left)
    assert report.rejected == {"fewer events than the k-core requires": 300 - len(left)}


def test_k_core_leaves_out_items_of_the_table_without_events() -> None:
    frame = pd.DataFrame({"user": [1, 2, 1], "item": [1, 1, 2]})
    items = pd.DataFrame({"item": [1, 2, 3], "title": ["a", "b", "c"]})
    assert ingest(frame, items=items).data.items.ids.tolist() == [1, 2, 3]
    data = ingest(frame, items=items, cleaning=CleaningRules(min_item=2)).data
    assert data.items.ids.tolist() == [1]
    assert data.item_table.columns["title"].tolist() == ["a"]


def test_a_window_takes_since_and_leaves_until() -> None:
    days = pd.date_range("2020-01-01", periods=5, freq="D")
    frame = pd.DataFrame({"user": 1, "item": range(5), "date": days})
    data, report = ingest(frame, cleaning=CleaningRules(since="2020-01-02", until="2020-01-04T00:00:00+00:00"))
    assert data.items.ids.tolist() == [1, 2]
    assert report.rejected == {"before since": 1, "from until on": 2}
    assert (report.start, report.end) == ("2020-01-02T00:00:00Z", "2020-01-03T00:00:00Z")


def test_duplicates_need_something_that_tells_events_apart() -> None:
    bare = pd.DataFrame({"user": [1, 1], "item": [2, 2]})
    assert ingest(bare).report.events == 2
    assert ingest(bare.assign(rating=4)).report.rejected == {"duplicate": 1}
    assert ingest(bare.assign(rating=[4, 5])).report.events == 2
    assert ingest(bare.assign(time=1_600_000_000, event=["view", "buy"])).report.events == 2
    assert ingest(bare.assign(rating=4), cleaning=CleaningRules(duplicates="keep")).report.events == 2
