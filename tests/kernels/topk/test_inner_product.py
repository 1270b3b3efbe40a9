"""Exact inner product search: integer bounds never exclude an item that float products would list."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.topk import inner_product
from leanrec.kernels.topk.inner_product import ItemIndex, top_k_dot
from leanrec.kernels.topk.selection import top_k


@pytest.fixture(params=["codes", "float"])
def search_path(request, monkeypatch) -> str:
    """Both search paths; a machine without VNNI has only the second."""
    if request.param == "float":
        monkeypatch.setattr(inner_product, "has_vnni", lambda: False)
    return request.param


def check_lists(Q: np.ndarray, V: np.ndarray, k: int, **rules) -> None:
    """Check lists and scores of the index against products in float64 and a full sort."""
    exact = Q.astype(np.float64) @ V.astype(np.float64).T
    if rules.get("seen") is not None:
        exact[rules["seen"].toarray() > 0] = -np.inf
    if rules.get("allowed") is not None:
        exact[:, ~rules["allowed"]] = -np.inf
    items, scores = ItemIndex.build(V).top_k(Q, k, **rules)
    best = -np.sort(-exact, axis=1)[:, :k]
    scale = np.abs(Q).astype(np.float64) @ np.abs(V).astype(np.float64).T.max(axis=1) + 1e-30
    kept = items[:, : best.shape[1]]
    there = np.isfinite(best)
    assert (kept[there] >= 0).all()
    assert (items[:, best.shape[1] :] == -1).all()
    assert (kept[~there] == -1).all()
    own = np.take_along_axis(exact, np.maximum(kept, 0), axis=1)
    tolerance = 1e-6 * np.broadcast_to(scale[:, None], best.shape)
    assert (np.abs(own - best)[there] <= tolerance[there]).all()
    assert (np.abs(scores[:, : best.shape[1]] - own)[there] <= tolerance[there]).all()
    for row in items:
        chosen = row[row >= 0]
        assert len(set(chosen.tolist())) == len(chosen)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 5, 17, 300]),
    st.sampled_from([1, 63, 64, 65, 1024, 1025, 2500]),
    st.sampled_from([1, 3, 4, 16, 63, 64, 130]),
    st.sampled_from([1, 10, 200]),
)
def test_lists_equal_those_of_the_full_product(seed: int, rows: int, n: int, width: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(0, rng.uniform(0, 2), n)[:, None]
    Q = rng.normal(size=(rows, width)).astype(np.float32)
    V = (rng.normal(size=(n, width)) * lengths + rng.normal(size=width)).astype(np.float32)
    check_lists(Q, V, k)


def test_seen_and_forbidden_items_are_left_out(search_path: str) -> None:
    rng = np.random.default_rng(0)
    Q, V = rng.normal(size=(40, 20)).astype(np.float32), rng.normal(size=(3000, 20)).astype(np.float32)
    seen = sp.random_array((40, 3000), density=0.05, rng=rng, format="csr", dtype=np.float32)
    for share in (0.02, 0.5):
        check_lists(Q, V, 30, seen=seen, allowed=rng.random(3000) < share)
        check_lists(Q[:1], V, 30, seen=seen[:1], allowed=rng.random(3000) < share)


@pytest.mark.parametrize("rows", [1, 5, 300])
def test_ties_are_in_item_order(rows: int, search_path: str) -> None:
    rng = np.random.default_rng(1)
    # Small integers are exact in float32 and give many ties.
    Q = rng.integers(-2, 3, (rows, 6)).astype(np.float32)
    V = rng.integers(-2, 3, (2100, 6)).astype(np.float32)
    for k in (1, 25):
        items, scores = ItemIndex.build(V).top_k(Q, k)
        expected = top_k(Q @ V.T, k)
        np.testing.assert_array_equal(items, expected[0])
        np.testing.assert_array_equal(scores, expected[1])


def test_zero_queries_list_the_first_items(search_path: str) -> None:
    Q, V = np.zeros((3, 8), np.float32), np.random.default_rng(2).normal(size=(90, 8)).astype(np.float32)
    Q[1, 0] = 1
    seen = sp.csr_array(np.eye(3, 90, dtype=np.float32))
    items, scores = ItemIndex.build(V).top_k(Q, 4, seen=seen)
    assert items[0].tolist() == [1, 2, 3, 4]
    assert items[2].tolist() == [0, 1, 3, 4]
    assert (scores[[0, 2]] == 0).all()
    few = ItemIndex.build(V[:2]).top_k(Q, 4)[0]
    assert few[0].tolist() == [0, 1, -1, -1]


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e15])
def test_vectors_of_any_scale(scale: float) -> None:
    rng = np.random.default_rng(3)
    Q, V = rng.normal(size=(20, 12)).astype(np.float32), (rng.normal(size=(1500, 12)) * scale).astype(np.float32)
    check_lists(Q, V, 10)
    check_lists(V[:20], Q, 10)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_vectors_are_scored_in_float32(bad: float) -> None:
    rng = np.random.default_rng(4)
    Q, V = rng.normal(size=(20, 4)).astype(np.float32), rng.normal(size=(100, 4)).astype(np.float32)
    V[7, 1] = bad
    np.testing.assert_array_equal(ItemIndex.build(V).top_k(Q, 9)[0], top_k(Q @ V.T, 9)[0])
    Q[3, 2] = bad
    np.testing.assert_array_equal(ItemIndex.build(V[8:]).top_k(Q, 9)[0], top_k(Q @ V[8:].T, 9)[0])


def test_single_queries_and_batches_check_lists() -> None:
    rng = np.random.default_rng(5)
    Q, V = rng.normal(size=(33, 24)).astype(np.float32), rng.normal(size=(1800, 24)).astype(np.float32)
    many, _ = top_k_dot(Q, V, 12)
    for row in range(len(Q)):
        np.testing.assert_array_equal(top_k_dot(Q[row : row + 1], V, 12)[0][0], many[row])
        np.testing.assert_array_equal(ItemIndex.build(V).top_k(Q[row : row + 1], 12)[0][0], many[row])


def test_empty_inputs_give_empty_lists(search_path: str) -> None:
    some, none = np.ones((20, 4), np.float32), np.zeros((0, 4), np.float32)
    assert ItemIndex.build(some).top_k(none, 2)[0].shape == (0, 2)
    assert (ItemIndex.build(none).top_k(some, 2)[0] == -1).all()
    assert ItemIndex.build(some).top_k(some, 0)[0].shape == (20, 0)
    widthless = ItemIndex.build(np.zeros((3, 0), np.float32)).top_k(np.zeros((2, 0), np.float32), 2)[0]
    assert widthless.tolist() == [[0, 1], [0, 1]]
