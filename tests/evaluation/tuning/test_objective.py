"""What a search compares settings by."""

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.splits.split import split
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.evaluate import evaluate
from leanrec.evaluation.metrics.ratings import evaluate_ratings
from leanrec.evaluation.tuning.objective import QueryScores, TuningObjective, is_significantly_worse, estimate_optimism
from leanrec.models.baselines.bias import Bias
from leanrec.models.baselines.popularity import Popularity
from leanrec.run import Run


def judged(values: object) -> QueryScores:
    array = np.asarray(values, dtype=np.float64)
    return QueryScores(array, np.ones(len(array)))


def test_a_ranking_metric_is_that_of_evaluate() -> None:
    data = make_dataset()
    parts = split(data, "leave-one-out")
    model = Popularity().fit(parts.train)
    yard = TuningObjective("recall@5")
    rows = yard.answerable(parts.valid)
    found = yard.judge(model, parts.valid.take(rows), model, Run())
    wanted = evaluate(model, parts.valid, k=(5,))
    assert found.mean == pytest.approx(wanted.means()["recall@5"])
    assert yard.quality(found, 0).value == pytest.approx(wanted.interval("recall@5").mean)


def test_an_error_is_better_the_lower_and_over_ratings() -> None:
    data = make_dataset()
    parts = split(data, "ratio")
    model = Bias().fit(parts.train)
    yard = TuningObjective("rmse")
    found = yard.judge(model, parts.valid, model, Run())
    wanted = evaluate_ratings(model, parts.valid)
    assert yard.show(found.mean) == pytest.approx(wanted.rmse)
    quality, interval = yard.quality(found, 0), wanted.interval("rmse")
    assert (quality.low, quality.high) == pytest.approx((interval.low, interval.high))
    worse = QueryScores(found.values - 0.1, found.weights)
    gap = yard.gap(found, worse, 0)
    assert gap.value == pytest.approx(np.sqrt(wanted.rmse**2 + 0.1) - wanted.rmse)
    assert gap.significant
    with pytest.raises(SettingError, match="rmse needs a model that predicts ratings"):
        yard.judge(Popularity().fit(parts.train), parts.valid, model, Run())


@pytest.mark.parametrize("metric", ["ndcg", "ndgc@10", "ndcg@0", "rmse@10", "coverage@10", ""])
def test_other_metrics_are_refused(metric: str) -> None:
    with pytest.raises(SettingError, match="metric must be one of"):
        TuningObjective(metric)


def test_no_ratings_held_out_leave_nothing_to_ask() -> None:
    data = make_dataset()
    parts = split(data, "ratio")
    import dataclasses

    bare = dataclasses.replace(parts.valid, ratings=None)
    assert len(TuningObjective("mae").answerable(bare)) == 0


def test_clearly_worse_is_beyond_chance() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(300)
    assert is_significantly_worse(judged(base - 0.05), judged(base))
    assert not is_significantly_worse(judged(base + 0.05), judged(base))
    assert not is_significantly_worse(judged(base), judged(base))
    noisy = judged(base + rng.normal(-0.005, 0.3, 300))
    assert not is_significantly_worse(noisy, judged(base))
    assert not is_significantly_worse(judged([0.0]), judged([1.0]))


def test_the_more_is_tried_the_more_the_best_owes_to_chance() -> None:
    rng = np.random.default_rng(1)
    # Settings that are all the same, but for noise: whatever the best has above 0 is chance.
    tried = [judged(rng.normal(0, 1, 400)) for _ in range(30)]
    best = max(each.mean for each in tried)
    assert estimate_optimism(tried, 0) == pytest.approx(best, abs=0.05)
    assert estimate_optimism(tried[:1], 0) == 0
    clear = [judged(np.full(50, 0.2)), judged(np.full(50, 0.9))]
    assert estimate_optimism(clear, 0) == pytest.approx(0)
    assert estimate_optimism(tried, 5) == estimate_optimism(tried, 5)


def test_only_the_same_cases_are_compared() -> None:
    with pytest.raises(DataError, match="over the same cases"):
        TuningObjective().gap(judged([1.0, 0.0]), QueryScores(np.ones(2), np.array([1.0, 2.0])), 0)


def test_what_is_asked_in_parts_is_what_is_asked_at_once() -> None:
    first, second = judged([0.1, 0.2]), judged([0.4])
    both = second.and_more(first)
    assert both.values.tolist() == [0.1, 0.2, 0.4]
    assert second.and_more(None) is second
