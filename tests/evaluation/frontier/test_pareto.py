"""Pareto optimality against its definition."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from leanrec.evaluation.frontier.pareto import is_pareto_optimal

NUMBERS = st.floats(0.001, 100) | st.sampled_from([0.0, 1.0, 2.0])


def is_dominated(point: tuple[float, float], others: Sequence[tuple[float, float]]) -> bool:
    """The definition: another point is at least as cheap and as good, and better in one of them."""
    cost, quality = point
    return any(c <= cost and q >= quality and (c < cost or q > quality) for c, q in others)


def test_a_known_front() -> None:
    cost = [1.0, 2.0, 3.0, 2.5, 4.0, 1.0]
    quality = [0.1, 0.3, 0.3, 0.2, 0.4, 0.05]
    assert is_pareto_optimal(cost, quality).tolist() == [True, True, False, False, True, False]


def test_equal_points_are_optimal_together_and_nan_never_is() -> None:
    assert is_pareto_optimal([1.0, 1.0, np.nan, 0.5], [0.2, 0.2, 0.9, np.nan]).tolist() == [True, True, False, False]
    assert is_pareto_optimal([], []).tolist() == []


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=30))
def test_optimal_points_are_those_that_no_other_dominates(points: list[tuple[float, float]]) -> None:
    optimal = is_pareto_optimal([c for c, _ in points], [q for _, q in points])
    assert optimal.tolist() == [not is_dominated(point, points) for point in points]
