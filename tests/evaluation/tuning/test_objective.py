"""Tuning objective: scores, intervals and paired differences."""

import dataclasses

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.splits.split import split
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.evaluate import evaluate
from leanrec.evaluation.metrics.ratings import evaluate_ratings
from leanrec.evaluation.tuning.objective import QueryScores, TuningObjective, estimate_optimism, is_significantly_worse
from leanrec.models.baselines.bias import Bias
from leanrec.models.baselines.popularity import Popularity
from leanrec.run import Run


def make_scores(values: object) -> QueryScores:
    array = np.asarray(values, dtype=np.float64)
    return QueryScores(array, np.ones(len(array)))


def test_a_ranking_objective_agrees_with_evaluate() -> None:
    data = make_dataset()
    parts = split(data, "leave-one-out")
    model = Popularity().fit(parts.train)
    objective = TuningObjective("recall@5")
    rows = objective.find_evaluable(parts.valid)
    found = objective.score_queries(model, parts.valid.take(rows), model, Run())
    wanted = evaluate(model, parts.valid, k=(5,))
    assert found.mean == pytest.approx(wanted.means()["recall@5"])
    assert objective.estimate_quality(found, 0).value == pytest.approx(wanted.interval("recall@5").mean)


def test_an_error_objective_agrees_with_evaluate_ratings() -> None:
    data = make_dataset()
    parts = split(data, "ratio")
    model = Bias().fit(parts.train)
    objective = TuningObjective("rmse")
    found = objective.score_queries(model, parts.valid, model, Run())
    wanted = evaluate_ratings(model, parts.valid)
    assert objective.to_metric(found.mean) == pytest.approx(wanted.rmse)
    quality, interval = objective.estimate_quality(found, 0), wanted.interval("rmse")
    assert (quality.low, quality.high) == pytest.approx((interval.low, interval.high))
    worse = QueryScores(found.values - 0.1, found.weights)
    difference = objective.estimate_difference(found, worse, 0)
    assert difference.value == pytest.approx(np.sqrt(wanted.rmse**2 + 0.1) - wanted.rmse)
    assert difference.significant
    with pytest.raises(SettingError, match="rmse needs a model that predicts ratings"):
        objective.score_queries(Popularity().fit(parts.train), parts.valid, model, Run())


@pytest.mark.parametrize("metric", ["ndcg", "ndgc@10", "ndcg@0", "rmse@10", "coverage@10", ""])
def test_unknown_metrics_are_refused(metric: str) -> None:
    with pytest.raises(SettingError, match="metric must be one of"):
        TuningObjective(metric)


def test_without_held_out_ratings_no_query_is_evaluable() -> None:
    data = make_dataset()
    parts = split(data, "ratio")
    bare = dataclasses.replace(parts.valid, ratings=None)
    assert len(TuningObjective("mae").find_evaluable(bare)) == 0


def test_significantly_worse_is_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(300)
    assert is_significantly_worse(make_scores(base - 0.05), make_scores(base))
    assert not is_significantly_worse(make_scores(base + 0.05), make_scores(base))
    assert not is_significantly_worse(make_scores(base), make_scores(base))
    noisy = make_scores(base + rng.normal(-0.005, 0.3, 300))
    assert not is_significantly_worse(noisy, make_scores(base))
    assert not is_significantly_worse(make_scores([0.0]), make_scores([1.0]))


def test_optimism_is_the_mean_of_the_best_where_all_settings_are_equal() -> None:
    rng = np.random.default_rng(1)
    # All settings are equal up to noise, so whatever the best has above 0 is chance.
    trials = [make_scores(rng.normal(0, 1, 400)) for _ in range(30)]
    best = max(each.mean for each in trials)
    assert estimate_optimism(trials, 0) == pytest.approx(best, abs=0.05)
    assert estimate_optimism(trials[:1], 0) == 0
    clear = [make_scores(np.full(50, 0.2)), make_scores(np.full(50, 0.9))]
    assert estimate_optimism(clear, 0) == pytest.approx(0)
    assert estimate_optimism(trials, 5) == estimate_optimism(trials, 5)


def test_differences_need_the_same_queries() -> None:
    with pytest.raises(DataError, match="on the same evaluation set"):
        TuningObjective().estimate_difference(make_scores([1.0, 0.0]), QueryScores(np.ones(2), np.array([1.0, 2.0])), 0)


def test_scores_of_blocks_are_appended_in_order() -> None:
    first, second = make_scores([0.1, 0.2]), make_scores([0.4])
    both = second.append_to(first)
    assert both.values.tolist() == [0.1, 0.2, 0.4]
    assert second.append_to(None) is second


@pytest.mark.parametrize("metric", ["ndcg@10", "rmse", "mae"])
def test_scores_convert_to_the_metric_and_back(metric: str) -> None:
    objective = TuningObjective(metric)
    assert objective.to_metric(objective.from_metric(0.7)) == pytest.approx(0.7)
