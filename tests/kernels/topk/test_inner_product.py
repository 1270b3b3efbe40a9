"""Exact search: the integer bounds leave out nothing that a full float product would list."""

import numba
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.topk import inner_product
from leanrec.kernels.topk.inner_product import ItemIndex, top_k_dot
from leanrec.kernels.topk.selection import top_k
from leanrec.kernels.topk.simd import (
    PANEL_ITEMS,
    any_reaches_1x2,
    any_reaches_4x1,
    element_pointer,
    has_vnni,
    lowest_set_bit,
)


@pytest.fixture(params=["codes", "float"])
def way(request, monkeypatch) -> str:
    """Both ways to search; a machine without the instructions has only the second."""
    if request.param == "float":
        monkeypatch.setattr(inner_product, "has_vnni", lambda: False)
    return request.param


def agree(Q: np.ndarray, V: np.ndarray, k: int, **rules) -> None:
    """The lists of the index hold the scores that a product in double precision and a full sort give."""
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
def test_lists_are_those_of_the_full_product(seed: int, rows: int, n: int, width: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.lognormal(0, rng.uniform(0, 2), n)[:, None]
    Q = rng.normal(size=(rows, width)).astype(np.float32)
    V = (rng.normal(size=(n, width)) * lengths + rng.normal(size=width)).astype(np.float32)
    agree(Q, V, k)


def test_rules_hold(way: str) -> None:
    rng = np.random.default_rng(0)
    Q, V = rng.normal(size=(40, 20)).astype(np.float32), rng.normal(size=(3000, 20)).astype(np.float32)
    seen = sp.random_array((40, 3000), density=0.05, rng=rng, format="csr", dtype=np.float32)
    for share in (0.02, 0.5):
        agree(Q, V, 30, seen=seen, allowed=rng.random(3000) < share)
        agree(Q[:1], V, 30, seen=seen[:1], allowed=rng.random(3000) < share)


@pytest.mark.parametrize("rows", [1, 5, 300])
def test_equal_scores_keep_the_order_of_the_items(rows: int, way: str) -> None:
    rng = np.random.default_rng(1)
    # Whole numbers are exact in float32, and with few of them ties are the rule.
    Q = rng.integers(-2, 3, (rows, 6)).astype(np.float32)
    V = rng.integers(-2, 3, (2100, 6)).astype(np.float32)
    for k in (1, 25):
        items, scores = ItemIndex.build(V).top_k(Q, k)
        expected = top_k(Q @ V.T, k)
        np.testing.assert_array_equal(items, expected[0])
        np.testing.assert_array_equal(scores, expected[1])


def test_queries_of_zeros_list_the_first_items(way: str) -> None:
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
def test_any_scale_of_the_numbers(scale: float) -> None:
    rng = np.random.default_rng(3)
    Q, V = rng.normal(size=(20, 12)).astype(np.float32), (rng.normal(size=(1500, 12)) * scale).astype(np.float32)
    agree(Q, V, 10)
    agree(V[:20], Q, 10)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_multiplied_as_they_are(bad: float) -> None:
    rng = np.random.default_rng(4)
    Q, V = rng.normal(size=(20, 4)).astype(np.float32), rng.normal(size=(100, 4)).astype(np.float32)
    V[7, 1] = bad
    np.testing.assert_array_equal(ItemIndex.build(V).top_k(Q, 9)[0], top_k(Q @ V.T, 9)[0])
    Q[3, 2] = bad
    np.testing.assert_array_equal(ItemIndex.build(V[8:]).top_k(Q, 9)[0], top_k(Q @ V[8:].T, 9)[0])


def test_few_and_many_queries_agree() -> None:
    rng = np.random.default_rng(5)
    Q, V = rng.normal(size=(33, 24)).astype(np.float32), rng.normal(size=(1800, 24)).astype(np.float32)
    many, _ = top_k_dot(Q, V, 12)
    for row in range(len(Q)):
        np.testing.assert_array_equal(top_k_dot(Q[row : row + 1], V, 12)[0][0], many[row])
        np.testing.assert_array_equal(ItemIndex.build(V).top_k(Q[row : row + 1], 12)[0][0], many[row])


def test_empty_sides_give_empty_lists(way: str) -> None:
    some, none = np.ones((20, 4), np.float32), np.zeros((0, 4), np.float32)
    assert ItemIndex.build(some).top_k(none, 2)[0].shape == (0, 2)
    assert (ItemIndex.build(none).top_k(some, 2)[0] == -1).all()
    assert ItemIndex.build(some).top_k(some, 0)[0].shape == (20, 0)
    widthless = ItemIndex.build(np.zeros((3, 0), np.float32)).top_k(np.zeros((2, 0), np.float32), 2)[0]
    assert widthless.tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize(("rows", "panels"), [(4, 1), (1, 2)])
def test_byte_products_are_those_of_integers(rows: int, panels: int) -> None:
    if not has_vnni():
        assert not len(ItemIndex.build(np.ones((3, 4), np.float32)).panels)
        return
    kernel = any_reaches_4x1 if rows == 4 else any_reaches_1x2

    @numba.njit
    def run(items, queries, base, floors, words):
        return kernel(
            element_pointer(items, 0),
            element_pointer(queries, 0),
            items.shape[1],
            element_pointer(base, 0),
            element_pointer(floors, 0),
            element_pointer(words, 0),
        )

    rng = np.random.default_rng(6)
    items = rng.integers(0, 256, (panels, 7, PANEL_ITEMS, 4), dtype=np.uint8)
    queries = rng.integers(-128, 128, (rows, 7, 4), dtype=np.int8)
    base = rng.integers(-1000, 1000, rows, dtype=np.int32)
    sums = np.einsum("pgid,rgd->rpi", items.astype(np.int64), queries.astype(np.int64)) + base[:, None, None]
    floors = np.sort(sums.reshape(rows, -1), axis=1)[:, -5].astype(np.int32)
    words = np.zeros((rows, panels), np.uint64)
    assert run(items, queries, base, floors, words)
    bits = (words[:, :, None] >> np.arange(PANEL_ITEMS, dtype=np.uint64)) & np.uint64(1)
    np.testing.assert_array_equal(bits.astype(bool), sums >= floors[:, None, None])
    assert not run(items, queries, base, (sums.max(axis=(1, 2)) + 1).astype(np.int32), words)


def test_lowest_bit() -> None:
    @numba.njit
    def first(word):
        return lowest_set_bit(word)

    assert [first(np.uint64(word)) for word in (1, 6, 2**63)] == [0, 1, 63]
