"""Draws of places: what is shown has the propensities that are told."""

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from leanrec.retrieval.exploration import draw_places


@pytest.mark.parametrize(("n", "n_items", "rate"), [(3, 8, 0.3), (5, 7, 0.5), (2, 12, 1.0), (6, 5, 0.4)])
def test_what_is_shown_has_the_propensities(n: int, n_items: int, rate: float) -> None:
    n_lists = 3000
    shown = [collections.Counter[int]() for _ in range(n)]
    told: list[dict[int, float | None]] = [{} for _ in range(n)]
    for number in range(n_lists):
        drawn = draw_places(n_items, n, rate, f"list {number}")
        assert drawn is not None
        for place, (rank, propensity) in enumerate(zip(*drawn, strict=True)):
            shown[place][rank] += 1
            assert told[place].setdefault(rank, propensity) == propensity
    for place in range(min(n, n_items)):
        propensities = [each for each in told[place].values() if each is not None]
        assert sum(propensities) == pytest.approx(1)  # every item that a place may show was shown
        expected = [each * n_lists for each in propensities]
        assert stats.chisquare([shown[place][rank] for rank in told[place]], expected).pvalue > 1e-4
    for place in range(n_items, n):
        assert told[place] == {place: None}


@given(n=st.integers(1, 12), n_items=st.integers(0, 30), rate=st.floats(1e-9, 1), request=st.text(max_size=8))
def test_no_item_has_two_places(n: int, n_items: int, rate: float, request: str) -> None:
    drawn = draw_places(n_items, n, rate, request)
    assert (drawn is None) == (n_items < 2)
    if drawn is not None:
        assert len(set(drawn.ranks)) == len(drawn.ranks) == len(drawn.propensities) == n
        assert all(0 <= rank < max(n, n_items) for rank in drawn.ranks)
        assert all(each is None or 0 < each <= 1 for each in drawn.propensities)


def test_the_same_request_gives_the_same_draw() -> None:
    draws = [draw_places(30, 10, 0.5, "a list") for _ in range(3)]
    assert draws[0] == draws[1] == draws[2]
    assert len({draw_places(30, 10, 0.5, f"list {number}") for number in range(20)}) > 15
