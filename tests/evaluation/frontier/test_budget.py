"""Limits: how they are written, what breaks them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leanrec.errors import SettingError
from leanrec.evaluation.frontier.budget import AXES, Budget, Overshoot


def test_limits_are_read_from_texts_and_numbers() -> None:
    budget = Budget(max_p99="5ms", max_memory="200MB", max_fit="2min", max_artifact=1500)
    assert budget.limits == {"p99": 0.005, "memory": 2e8, "fit": 120.0, "artifact": 1500.0}
    assert Budget(max_p99=1e-6).limits == {"p99": 1e-6}
    assert Budget().limits == {}


def test_a_text_and_its_number_are_the_same_limit() -> None:
    assert Budget(max_p99="5ms") == Budget(max_p99=0.005)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_p99": "5 parsecs"}, "max_p99.*duration must be a number and a unit"),
        ({"max_memory": "plenty"}, "max_memory.*size must be a number and a unit"),
        ({"max_fit": 0}, "max_fit must be above zero"),
        ({"max_fit": -1.0}, "max_fit must be above zero"),
        ({"max_artifact": float("nan")}, "max_artifact must be above zero"),
        ({"max_artifact": float("inf")}, "max_artifact must be above zero"),
        ({"max_memory": "1.2.3GB"}, "max_memory"),
    ],
)
def test_what_is_no_limit_is_refused(limits: dict[str, object], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Budget(**limits)  # type: ignore[arg-type]


def test_worst_overshoot_comes_first_and_is_relative() -> None:
    over = Budget(max_p99="5ms", max_memory="100MB", max_fit="1s").over({"p99": 0.006, "memory": 3e8, "fit": 1.0})
    assert over == (Overshoot("memory", 3e8, 1e8), Overshoot("p99", 0.006, 0.005))
    assert [each.relative for each in over] == pytest.approx([2.0, 0.2])
    assert str(over[1]) == "p99 of one request 6 ms, limit 5 ms (20% over)"
    assert str(over[0]) == "peak memory of the fit 300 MB, limit 100 MB (3 times)"


@given(st.dictionaries(st.sampled_from(sorted(AXES)), st.floats(1e-6, 1e9)), st.floats(0.1, 10))
def test_a_limit_is_kept_up_to_its_own_value(limits: dict[str, float], factor: float) -> None:
    budget = Budget(**{f"max_{name}": limit for name, limit in limits.items()})
    assert budget.over(limits) == ()
    broken = {each.axis for each in budget.over({name: limit * factor for name, limit in limits.items()})}
    assert broken == ({name for name in limits if limits[name] * factor > limits[name]})


def test_prints_for_people() -> None:
    assert str(Budget(max_p99="5ms", max_artifact="2MB")) == "p99 of one request ≤ 5 ms, size on disk ≤ 2 MB"
    assert str(Budget()) == "no limits"
