"""Results as plain values."""

import json

from contracts.frontier_results import make_result
from leanrec.evaluation.frontier.results import ModelResult
from leanrec.models.linear.ease import EASE


def test_costs_are_empty_unless_fitted() -> None:
    assert ModelResult("a", "a", "content", {}, "failed").costs() == {}
    assert make_result("a", 0.1, p99=0.5, memory=3, fit=2.0, size=7).costs() == {
        "p99": 0.5,
        "memory": 3.0,
        "fit_time": 2.0,
        "size": 7.0,
    }


def test_the_dictionary_has_costs_and_no_estimator() -> None:
    result = ModelResult("a", "a", "content", {}, "failed", reason="broken", estimator=EASE())
    plain = json.loads(json.dumps(result.to_dict()))
    assert "estimator" not in plain
    assert (plain["reason"], plain["costs"]) == ("broken", {})
