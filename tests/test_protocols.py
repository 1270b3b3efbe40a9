"""Explanations from contributions of items."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.protocols import rank_contributions


def test_contributions_are_ranked_largest_first_and_ties_keep_their_order() -> None:
    first, second = rank_contributions(np.array([4, 7, 2, 9]), np.array([[0.5, 2, -1, 0.5], [1, 0, 3, 0]]))
    assert first.reason == "history"
    assert first.items.tolist() == [7, 4, 9, 2]
    assert first.weights.tolist() == [2, 0.5, 0.5, -1]
    assert first.items.dtype == np.int32
    assert first.weights.dtype == np.float32
    assert second.items.tolist() == [2, 4, 7, 9]


def test_only_positive_contributions() -> None:
    first, second = rank_contributions(
        np.array([4, 7, 2]),
        np.array([[0, 2, -1], [0, 0, 0]]),
        reason="content",
        features=[("Drama",), ()],
        only_positive=True,
    )
    assert first.reason == second.reason == "content"
    assert (first.features, second.features) == (("Drama",), ())
    assert (first.items.tolist(), second.items.tolist()) == ([7], [])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 300), st.integers(0, 4), st.integers(0, 5), st.booleans(), st.integers(0, 99))
def test_the_largest_contributions_are_the_head_of_all(
    n_history: int, n_items: int, top_k: int, only_positive: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # Few different values: many are equal.
    added = rng.integers(-2, 3, (n_items, n_history)).astype(np.float32)
    history = rng.permutation(n_history)
    all_of_them = rank_contributions(history, added, only_positive=only_positive)
    largest = rank_contributions(history, added, only_positive=only_positive, top_k=top_k)
    assert len(largest) == len(all_of_them) == n_items
    for few, many in zip(largest, all_of_them, strict=True):
        assert few.items.tolist() == many.items[:top_k].tolist()
        assert few.weights.tolist() == many.weights[:top_k].tolist()


@pytest.mark.parametrize("top_k", [None, 2])
def test_no_items(top_k: int | None) -> None:
    (explanation,) = rank_contributions(np.zeros(0, np.int32), np.zeros((1, 0), np.float32), top_k=top_k)
    assert len(explanation.items) == 0
    assert rank_contributions(np.arange(3), np.zeros((0, 3), np.float32), top_k=top_k) == []
