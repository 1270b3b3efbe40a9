"""Result of a search: ranking of trials, summary and dictionary."""

import json

from leanrec.evaluation.frontier.results import QualityEstimate
from leanrec.evaluation.tuning.objective import Difference
from leanrec.evaluation.tuning.search_space import NumericRange
from leanrec.evaluation.tuning.study import Trial
from leanrec.evaluation.tuning.tuning_result import TuningResult, find_best_trial
from leanrec.models.linear.ease import EASE

TRIALS = (
    Trial(0, {"l2": 100.0}, "completed", 0.2),
    Trial(1, {"l2": 50.0}, "completed", 0.3),
    Trial(2, {"l2": 20.0}, "completed", 0.3),
    Trial(3, {"l2": 1.0}, "pruned", 0.9),
)


def make_result(metric: str = "ndcg@10") -> TuningResult:
    return TuningResult(
        model="ease",
        estimator=EASE(l2=50.0),
        default=EASE(),
        metric=metric,
        space={"l2": NumericRange(1, 100, log=True)},
        trials=TRIALS,
        valid=QualityEstimate(0.3, 0.29, 0.31, 100),
        valid_default=QualityEstimate(0.2, 0.19, 0.21, 100),
        improvement=Difference(0.1, 0.08, 0.12),
        selection_bias=0.01,
        test=QualityEstimate(0.28, 0.27, 0.29, 100),
        n_test_evaluations=1,
        importance={},
        seconds=3.0,
        stop_reason="trials",
    )


def test_the_first_of_equal_trials_is_the_best() -> None:
    assert make_result().best.number == 1
    assert [trial.number for trial in make_result().ranked_trials()] == [1, 2, 0]
    assert make_result("rmse").best.number == 0
    assert find_best_trial(list(TRIALS[:3]), lower_is_better=True).number == 0


def test_the_summary_has_best_default_bias_and_test() -> None:
    assert make_result().summary() == (
        "4 trials in 3 s (3 completed, 1 pruned).",
        "Best: trial 1, l2=50: ndcg@10 0.3000 (0.2900 to 0.3100) on validation.",
        (
            "The default settings have 0.2000 (0.1900 to 0.2100); the best settings are better by 0.1000 "
            "(95 % interval 0.0800 to 0.1200, not corrected for selection)."
        ),
        "The estimated selection bias of the validation result is 0.0100 (bootstrap).",
        "Test part, evaluated once: ndcg@10 0.2800 (0.2700 to 0.2900).",
    )


def test_the_dictionary_survives_json() -> None:
    plain = json.loads(json.dumps(make_result().to_dict()))
    assert (plain["best"], plain["settings"]["l2"], plain["default"]["l2"]) == (1, 50.0, EASE().l2)
    assert plain["space"] == {"l2": "1..100:log"}
