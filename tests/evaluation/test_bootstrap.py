"""Bootstrap against plain resampling, and against the theory of means."""

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
            known = [rows[np.isfinite(table[rows, m])] for m in range(3)]
            expected.append([np.average(table[r, m], weights=weights[r]) for m, r in enumerate(known)])
    np.testing.assert_allclose(found, expected)


def test_the_spread_is_the_standard_error() -> None:
    values = np.random.default_rng(1).normal(size=(400, 1))
    spread = bootstrap_means(values, n_resamples=4000).std()
    assert spread == pytest.approx(values.std() / 20, rel=0.05)


def test_the_spread_of_groups_of_rows_is_the_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_MOST_ROWS", 400)
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.exponential(size=5030), rng.random(5030) < 0.1]).astype(float)
    table[rng.random(5030) < 0.3, 1] = np.nan
    means = bootstrap_means(table, n_resamples=3000)
    n = np.isfinite(table).sum(axis=0)
    np.testing.assert_allclose(means.mean(axis=0), np.nanmean(table, axis=0), rtol=0.01)
    np.testing.assert_allclose(means.std(axis=0), np.nanstd(table, axis=0) / np.sqrt(n), rtol=0.1)
    np.testing.assert_array_equal(means, bootstrap_means(table, n_resamples=3000))


def test_intervals_have_their_nominal_coverage() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        interval = PerQueryMetrics({"x": rng.exponential(size=80)}, "fingerprint", seed=trial).interval("x", 0.9)
        covered += interval.low <= 1 <= interval.high
    assert 0.82 <= covered / 200 <= 0.95


def test_resamples_of_two_models_are_paired() -> None:
    rng = np.random.default_rng(3)
    hard = rng.random(200)
    one, other = PerQueryMetrics({"x": hard}, "fingerprint"), PerQueryMetrics({"x": hard + 0.01}, "fingerprint")
    np.testing.assert_allclose(other.bootstrap_means("x") - one.bootstrap_means("x"), 0.01)
    unpaired = PerQueryMetrics({"x": hard + 0.01}, "fingerprint", seed=1)
    assert (unpaired.bootstrap_means("x") - one.bootstrap_means("x")).std() > 0.005


def test_queries_without_a_value_are_ignored() -> None:
    values = np.array([1.0, np.nan, 3.0, np.nan])
    with_gaps, without = (
        PerQueryMetrics({"x": values}, "fingerprint"),
        PerQueryMetrics({"x": values[[0, 2]]}, "fingerprint"),
    )
    assert with_gaps.means() == {"x": 2.0}
    assert with_gaps.interval("x") == without.interval("x")
    assert with_gaps.interval("x").low == 1.0


def test_the_mean_of_no_values_is_nan() -> None:
    empty = PerQueryMetrics({"x": np.array([np.nan, np.nan])}, "fingerprint")
    assert np.isnan(empty.means()["x"])
    assert np.isnan(empty.interval("x")).all()


def test_means_are_weighted() -> None:
    weighted = PerQueryMetrics({"x": np.array([1.0, 4.0])}, "fingerprint", weights=np.array([2.0, 1.0]))
    assert weighted.means()["x"] == 2.0


def test_a_wider_level_gives_a_wider_interval() -> None:
    values = PerQueryMetrics({"x": np.random.default_rng(5).random(50)}, "fingerprint")
    narrow, wide = values.interval("x", 0.5), values.interval("x", 0.99)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
    assert values.intervals(0.5)["x"] == {"mean": narrow.mean, "low": narrow.low, "high": narrow.high}


def test_an_unknown_metric_and_an_invalid_level_are_refused() -> None:
    values = PerQueryMetrics({"recall@10": np.ones(3)}, "fingerprint")
    with pytest.raises(SettingError, match=r"no metric 'recall@5'\. Metrics: recall@10"):
        values.interval("recall@5")
    with pytest.raises(SettingError, match="level must be a number from 0 to 1"):
        values.interval("recall@10", 95)
