"""Comparison: sign-flip tests against enumeration and scipy, Holm by hand, and verdicts."""

import importlib
import itertools
import json

import numpy as np
import pytest
import scipy.stats

from leanrec.errors import DataError, SettingError
from leanrec.evaluation.bootstrap import PerQueryMetrics
from leanrec.evaluation.compare import compare, holm_correction, sign_flip_test

module = importlib.import_module("leanrec.evaluation.compare")


def evaluations(seed: int = 0, n: int = 300, **lifts: float) -> dict[str, PerQueryMetrics]:
    """Models that share hard and easy queries, each lifted a little."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    return {
        name: PerQueryMetrics({"ndcg@10": hard + lift + rng.normal(0, 0.05, n)}, "fingerprint")
        for name, lift in lifts.items()
    }


def test_sign_flips_agree_with_all_signs() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(0.3, 1, (9, 2))
    differences[4] = 0
    weights = rng.integers(1, 4, 9).astype(float)
    found = sign_flip_test(differences, weights, n_resamples=40_000)
    scaled = differences * weights[:, None]
    signs = np.array(list(itertools.product([-1, 1], repeat=9)))
    exact = (np.abs(signs @ scaled) >= np.abs(scaled.sum(axis=0)) - 1e-12).mean(axis=0)
    np.testing.assert_allclose(found, exact, atol=0.01)


def test_sign_flips_agree_with_scipy() -> None:
    differences = np.random.default_rng(1).normal(0.08, 1, 200)
    expected = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(0)
    )
    assert sign_flip_test(differences[:, None])[0] == pytest.approx(expected.pvalue, abs=0.02)


def test_p_values_are_uniform_under_the_null_hypothesis() -> None:
    noise = np.random.default_rng(2).normal(size=(60, 400))
    p = sign_flip_test(noise, n_resamples=999)
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01


def test_blocks_of_flips_give_the_same_p_values(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(3).normal(0.2, 1, (50, 3))
    whole = sign_flip_test(differences, n_resamples=500)
    monkeypatch.setattr(module, "_CELLS", 50 * 100)
    np.testing.assert_allclose(sign_flip_test(differences, n_resamples=500), whole, atol=0.06)


def test_equal_models_have_a_p_value_of_1() -> None:
    assert sign_flip_test(np.zeros((5, 2))).tolist() == [1, 1]
    assert sign_flip_test(np.full((5, 1), np.nan)).tolist() == [1]


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04, made monotone.
    np.testing.assert_allclose(holm_correction([0.03, 0.01, 0.04, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm_correction([0.9, 0.8]), [1, 1])
    assert holm_correction([]).tolist() == []


def test_only_clear_differences_are_significant() -> None:
    result = compare(evaluations(popularity=0.0, ease=0.1, slim=0.099))
    assert list(result.means)[-1] == "popularity"
    assert len(result.pairs) == 2
    assert result.n_tests == 3
    verdicts = {pair.b: pair for pair in result.pairs}
    assert verdicts["popularity"].significant
    assert f"{result.best} is better than popularity in ndcg@10" in verdicts["popularity"].verdict
    tied = verdicts[({"ease", "slim"} - {result.best}).pop()]
    assert not tied.significant
    assert tied.verdict.startswith("No significant difference between")
    assert tied.low < 0 < tied.high
    assert str(result).count("\n") == 1


def test_differences_are_paired() -> None:
    # Queries differ by 0.3, models by 0.02: only a paired test can detect it.
    result = compare(evaluations(worse=0.0, better=0.02))
    assert result.pairs[0].significant
    assert result.pairs[0].difference == pytest.approx(0.02, abs=0.01)
    assert result.pairs[0].low < result.pairs[0].difference < result.pairs[0].high


def test_the_family_wise_error_rate_is_kept() -> None:
    wrong = 0
    for seed in range(60):
        same = evaluations(seed, n=80, a=0.0, b=0.0, c=0.0, d=0.0)
        wrong += any(pair.significant for pair in compare(same, against="all", n_resamples=500, seed=seed).pairs)
    # 5 % of 60 is 3; 9 or more has a probability below 0.4 % at that rate.
    assert wrong <= 8


def test_against_all_and_against_one() -> None:
    some = evaluations(a=0.3, b=0.2, c=0.1, d=0.0)
    assert len(compare(some, against="all").pairs) == 6
    baseline = compare(some, against="c")
    assert [(pair.a, pair.b) for pair in baseline.pairs] == [("c", "a"), ("c", "b"), ("c", "d")]
    assert baseline.n_tests == 3
    assert "c is worse than a in ndcg@10" in baseline.pairs[0].verdict
    assert "c is better than d in ndcg@10" in baseline.pairs[2].verdict


def test_lower_errors_are_better_and_other_metrics_are_only_higher() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(100)
    both = {
        name: PerQueryMetrics(
            {"mae": base + lift, "novelty@10": base + lift}, "fingerprint", weights=np.arange(1.0, 101)
        )
        for name, lift in (("low", 0.0), ("high", 0.2))
    }
    errors = compare(both, "mae")
    assert errors.best == "low"
    assert "low is better than high in mae" in str(errors)
    assert errors.pairs[0].difference == pytest.approx(-0.2)
    assert "high is higher than low in novelty@10" in str(compare(both, "novelty@10"))


def test_queries_without_a_value_are_ignored() -> None:
    values = np.random.default_rng(0).random(50)
    gaps = np.where(np.arange(50) < 20, np.nan, values)
    result = compare(
        {"a": PerQueryMetrics({"x": gaps}, "fingerprint"), "b": PerQueryMetrics({"x": gaps - 0.1}, "fingerprint")}, "x"
    )
    assert result.n_queries == 30
    assert result.pairs[0].difference == pytest.approx(0.1)


def test_invalid_arguments_are_refused() -> None:
    one = PerQueryMetrics({"x": np.ones(3)}, "these")
    with pytest.raises(DataError, match="'a' and 'b' are not: evaluate both on the same part"):
        compare({"a": one, "b": PerQueryMetrics({"x": np.ones(3)}, "those")}, "x")
    with pytest.raises(SettingError, match=r"at least two evaluations\. Got 1"):
        compare({"a": one}, "x")
    with pytest.raises(SettingError, match="no metric 'y'"):
        compare({"a": one, "b": one}, "y")
    with pytest.raises(SettingError, match=r"against must be 'best', 'all' or one of a, b\. Got 'c'"):
        compare({"a": one, "b": one}, "x", against="c")
    with pytest.raises(SettingError, match="n_resamples must be a number of at least 100"):
        compare({"a": one, "b": one}, "x", n_resamples=1)


def test_the_dictionary_is_reproducible_and_survives_json() -> None:
    first, again = (compare(evaluations(a=0.1, b=0.0), seed=3).to_dict() for _ in range(2))
    assert first == again
    report = json.loads(json.dumps(first))
    assert report["best"] == "a"
    assert report["pairs"][0]["verdict"].startswith("a is better than b")


def test_a_swapped_pair_has_the_opposite_difference() -> None:
    pair = compare(evaluations(a=0.1, b=0.0)).pairs[0]
    swapped = pair.swap()
    assert (swapped.a, swapped.b, swapped.difference) == (pair.b, pair.a, -pair.difference)
    assert (swapped.low, swapped.high) == (-pair.high, -pair.low)
    assert swapped.swap() == pair
