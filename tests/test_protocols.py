"""Explanations from contributions of items."""

import numpy as np

from leanrec.protocols import rank_contributions


def test_contributions_are_ranked_largest_first_and_ties_keep_their_order() -> None:
    explanation = rank_contributions(np.array([4, 7, 2, 9]), np.array([0.5, 2, -1, 0.5]))
    assert explanation.reason == "history"
    assert explanation.items.tolist() == [7, 4, 9, 2]
    assert explanation.weights.tolist() == [2, 0.5, 0.5, -1]
    assert explanation.items.dtype == np.int32
    assert explanation.weights.dtype == np.float32


def test_only_positive_contributions() -> None:
    explanation = rank_contributions(
        np.array([4, 7, 2]), np.array([0, 2, -1]), reason="content", features=("Drama",), only_positive=True
    )
    assert explanation.reason == "content"
    assert explanation.features == ("Drama",)
    assert explanation.items.tolist() == [7]


def test_no_items() -> None:
    assert len(rank_contributions(np.zeros(0, np.int32), np.zeros(0, np.float32)).items) == 0
