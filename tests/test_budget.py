"""Budgets: parsing of limits, and the costs that violate them."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanrec.budget import COST_AXES, Budget, BudgetViolation
from leanrec.errors import SettingError


def test_limits_are_parsed_from_text_and_numbers() -> None:
    budget = Budget(p99="5ms", memory="200MB", fit_time="2min", size=1500)
    assert budget.limits == {"p99": 0.005, "memory": 2e8, "fit_time": 120.0, "size": 1500.0}
    assert Budget(p99=1e-6).limits == {"p99": 1e-6}
    assert Budget().limits == {}


def test_text_and_number_give_equal_budgets() -> None:
    assert Budget(p99="5ms") == Budget(p99=0.005)
    assert dataclasses.replace(Budget(p99="5ms"), memory="1kB") == Budget(p99=0.005, memory=1000)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"p99": "5 parsecs"}, "p99.*duration must be a number and a unit"),
        ({"memory": "plenty"}, "memory.*size must be a number and a unit"),
        ({"fit_time": -1.0}, "fit_time must be a finite number of at least zero"),
        ({"size": float("nan")}, "size must be a finite number of at least zero"),
        ({"size": float("inf")}, "size must be a finite number of at least zero"),
        ({"memory": "1.2.3GB"}, "memory"),
    ],
)
def test_invalid_limits_raise_a_setting_error(limits: dict[str, object], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Budget(**limits)  # type: ignore[arg-type]


def test_the_worst_violation_comes_first_relative_to_its_limit() -> None:
    found = Budget(p99="5ms", memory="100MB", fit_time="1s").violations({"p99": 0.006, "memory": 3e8, "fit_time": 1.0})
    assert found == (BudgetViolation("memory", 3e8, 1e8), BudgetViolation("p99", 0.006, 0.005))
    assert [each.excess for each in found] == pytest.approx([2.0, 0.2])
    assert str(found[1]) == "p99 of one request 6 ms, limit 5 ms (20% over)"
    assert str(found[0]) == "peak memory of the fit 300 MB, limit 100 MB (3 times)"


@given(st.dictionaries(st.sampled_from(sorted(COST_AXES)), st.floats(1e-6, 1e9)), st.floats(0.1, 10))
def test_a_cost_equal_to_its_limit_is_no_violation(limits: dict[str, float], factor: float) -> None:
    budget = Budget(**limits)
    assert budget.violations(limits) == ()
    violated = {each.axis for each in budget.violations({name: limit * factor for name, limit in limits.items()})}
    assert violated == {name for name in limits if limits[name] * factor > limits[name]}


def test_a_budget_prints_its_limits() -> None:
    assert str(Budget(p99="5ms", size="2MB")) == "p99 of one request ≤ 5 ms, size on disk ≤ 2 MB"
    assert str(Budget()) == "no limits"


def test_any_cost_above_a_limit_of_zero_is_infinitely_over() -> None:
    (violation,) = Budget(fit_time=0).violations({"fit_time": 0.1})
    assert violation.excess == math.inf
