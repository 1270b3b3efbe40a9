"""Blending: places by hand, and the properties of every blended list against a slow reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.pipeline.lists.blending import NO_ITEM, OWN_LIST, assign_places, blend_lists
from leanrec.pipeline.lists.sources import FittedSource
from leanrec.types import Candidates


def make_source(quota: int, *positions: int) -> FittedSource:
    return FittedSource("s", quota, positions, None, None)


def to_list(rows: list[int], length: int) -> Candidates:
    padded = np.array([rows + [-1] * (length - len(rows))], np.int32)
    return Candidates(padded, np.where(padded < 0, -np.inf, 100 - padded).astype(np.float32))


@pytest.mark.parametrize(
    ("n", "sources", "expected"),
    [
        (4, [make_source(1)], [-1, -1, -1, 0]),
        (6, [make_source(1, 3), make_source(2)], [-1, -1, 0, -1, 1, 1]),
        (4, [make_source(2, 1), make_source(5)], [0, -1, -1, 0]),  # at most half of the list
        (1, [make_source(3)], [-1]),
        (2, [make_source(2, 1, 2)], [0, 0]),  # positions are kept in any case
        (3, [make_source(1, 5)], [-1, -1, -1]),
    ],
)
def test_places(n: int, sources: list[FittedSource], expected: list[int]) -> None:
    assert assign_places(sources, n).tolist() == expected


def test_a_list_by_hand() -> None:
    owners = np.array([-1, 0, -1, 1], np.int32)
    made = blend_lists(to_list([1, 2, 3, 4], 4), [to_list([1, 9], 4), to_list([9, 2], 4)], owners)
    assert made.items.tolist() == [[1, 9, 2, 3]]  # 1 is listed by the model, 9 and 2 are in the list already
    assert made.origins.tolist() == [[OWN_LIST, 0, OWN_LIST, OWN_LIST]]
    assert made.scores.tolist() == [[99, 91, 98, 97]]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_blended_list(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 6))
    rows = st.lists(st.integers(0, 8), max_size=n, unique=True)
    own, others = data.draw(rows), data.draw(st.lists(rows, min_size=1, max_size=3))
    owners = np.array(data.draw(st.lists(st.integers(-1, len(others) - 1), min_size=n, max_size=n)), np.int32)
    made = blend_lists(to_list(own, n), [to_list(each, n) for each in others], owners)

    expected: list[tuple[int, int]] = []
    for owner in owners.tolist():
        for origin in (owner, OWN_LIST):
            listed = [item for item, _ in expected]
            left = [item for item in (own if origin < 0 else others[origin]) if item not in listed]
            if left:
                expected.append((left[0], origin))
                break
    n_missing = n - len(expected)
    assert made.items[0].tolist() == [item for item, _ in expected] + [-1] * n_missing
    assert made.origins[0].tolist() == [origin for _, origin in expected] + [NO_ITEM] * n_missing
    for item, origin, rank, score in zip(made.items[0], made.origins[0], made.ranks[0], made.scores[0], strict=True):
        if item >= 0:
            assert (own if origin < 0 else others[origin])[rank] == item
            assert score == 100 - item
