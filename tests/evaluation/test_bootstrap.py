"""Bootstrap: against plain resampling, and against what is known of means."""

import numpy as np
import pytest

from leanrec.errors import SettingError
from leanrec.evaluation import bootstrap
from leanrec.evaluation.bootstrap import PerQueryMetrics, bootstrap_means


def test_agrees_with_resampling_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_CELLS", 30)
    rng = np.random.default_rng(0)
    table, weights = rng.random((7, 3)), rng.integers(1, 5, 7).astype(float)
    table[2, 1] = np.nan
    found = bootstrap_means(table, weights, n_resamples=9, seed=4)
    again, expected = np.random.default_rng(4), []
    for size in (4, 4, 1):
        for rows in again.integers(0, 7, (size, 7), dtype=np.int32):
            there = [rows[np.isfinite(table[rows, m])] for m in range(3)]
            expected.append([np.average(table[r, m], weights=weights[r]) for m, r in enumerate(there)])
    np.testing.assert_allclose(found, expected)


def test_spreads_like_the_standard_error() -> None:
    values = np.random.default_rng(1).normal(size=(400, 1))
    spread = bootstrap_means(values, n_resamples=4000).std()
    assert spread == pytest.approx(values.std() / 20, rel=0.05)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        interval = PerQueryMetrics({"x": rng.exponential(size=80)}, "cases", seed=trial).interval("x", 0.9)
        covered += interval.low <= 1 <= interval.high
    assert 0.82 <= covered / 200 <= 0.95


def test_resamples_of_two_models_are_paired() -> None:
    rng = np.random.default_rng(3)
    hard = rng.random(200)
    one, other = PerQueryMetrics({"x": hard}, "cases"), PerQueryMetrics({"x": hard + 0.01}, "cases")
    np.testing.assert_allclose(other.bootstrap_means("x") - one.bootstrap_means("x"), 0.01)
    unpaired = PerQueryMetrics({"x": hard + 0.01}, "cases", seed=1)
    assert (unpaired.bootstrap_means("x") - one.bootstrap_means("x")).std() > 0.005


def test_queries_without_a_value_do_not_count() -> None:
    values = np.array([1.0, np.nan, 3.0, np.nan])
    with_gaps, without = PerQueryMetrics({"x": values}, "cases"), PerQueryMetrics({"x": values[[0, 2]]}, "cases")
    assert with_gaps.means() == {"x": 2.0}
    assert with_gaps.interval("x") == without.interval("x")
    assert with_gaps.interval("x").low == 1.0


def test_nothing_to_average_is_nan_and_no_error() -> None:
    empty = PerQueryMetrics({"x": np.array([np.nan, np.nan])}, "cases")
    assert np.isnan(empty.means()["x"])
    assert np.isnan(empty.interval("x")).all()


def test_weights_are_how_much_a_query_counts() -> None:
    weighted = PerQueryMetrics({"x": np.array([1.0, 4.0])}, "cases", weights=np.array([2.0, 1.0]))
    assert weighted.means()["x"] == 2.0


def test_a_wider_level_gives_a_wider_interval() -> None:
    values = PerQueryMetrics({"x": np.random.default_rng(5).random(50)}, "cases")
    narrow, wide = values.interval("x", 0.5), values.interval("x", 0.99)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
    assert values.intervals(0.5)["x"] == {"mean": narrow.mean, "low": narrow.low, "high": narrow.high}


def test_refuses_an_unknown_metric_and_a_level_outside_0_and_1() -> None:
    values = PerQueryMetrics({"recall@10": np.ones(3)}, "cases")
    with pytest.raises(SettingError, match=r"no metric 'recall@5' here\. There are: recall@10"):
        values.interval("recall@5")
    with pytest.raises(SettingError, match="level must be a number from 0 to 1"):
        values.interval("recall@10", 95)
