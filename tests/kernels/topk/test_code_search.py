"""Searches of packed codes against products with the decoded vectors in float64 and a full sort."""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from leanrec.kernels.topk.code_search import CodeRows, bound_tiles
from leanrec.kernels.topk.selection import top_k


def make_rows(rng: np.random.Generator, n: int, width: int, bits: int, spread: float = 1.0) -> CodeRows:
    """Random codes with norms that differ by ``spread``."""
    codes = rng.integers(0, 2**bits, (n, width), dtype=np.uint8)
    steps = np.exp(rng.normal(0, spread, n)).clip(1e-4, 1e4).astype(np.float16)
    return CodeRows.build(codes, steps, bits, (2**bits - 1) / 2)


def quantize(V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of 8 bits and steps of vectors."""
    steps = (np.abs(V).max(axis=1) / 126).astype(np.float16)
    return (np.rint(V / steps.astype(np.float32)[:, None]) + 128).astype(np.uint8), steps


def check_lists(rows: CodeRows, Q: np.ndarray, k: int, **rules) -> None:
    exact = Q.astype(np.float64) @ rows.decode(np.arange(len(rows))).astype(np.float64).T
    lengths = np.linalg.norm(rows.decode(np.arange(len(rows))), axis=1).max()
    scale = 1e-5 * (1e-30 + np.linalg.norm(Q, axis=1, keepdims=True) * lengths)
    items, scores = rows.top_k(Q, k, **rules)
    expected, best = top_k(exact.astype(np.float32), k, **rules)
    best = np.where(expected >= 0, best, 0)
    np.testing.assert_array_equal(items >= 0, expected >= 0)
    there = items >= 0
    own = np.take_along_axis(exact, np.maximum(items, 0), axis=1)
    assert (np.abs(np.where(there, own - best, 0)) <= scale).all()
    assert (np.abs(np.where(there, own - scores, 0)) <= scale).all()
    for row in items:
        chosen = row[row >= 0]
        assert len(set(chosen.tolist())) == len(chosen)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 8),
    st.sampled_from([1, 3, 4, 9, 260]),
    st.sampled_from([1, 15, 63, 64, 65, 1024, 1030, 2500]),
    st.sampled_from([1, 3, 16, 33, 64, 130]),
    st.sampled_from([1, 10, 200]),
)
def test_lists_equal_those_of_the_decoded_vectors(seed: int, bits: int, b: int, n: int, width: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    rows = make_rows(rng, n, width, bits, spread=rng.uniform(0, 3))
    check_lists(rows, rng.normal(size=(b, width)).astype(np.float32) * 10.0 ** int(rng.integers(-6, 6)), k)


@pytest.mark.parametrize("bits", [1, 3, 4, 7, 8])
def test_seen_and_forbidden_rows_are_left_out(bits: int) -> None:
    rng = np.random.default_rng(bits)
    rows, Q = make_rows(rng, 2100, 24, bits), rng.normal(size=(5, 24)).astype(np.float32)
    seen = sp.random_array((5, 2100), density=0.2, rng=rng, format="csr", dtype=np.float32)
    for share in (0.02, 0.6):
        allowed = rng.random(2100) < share
        check_lists(rows, Q, 30, seen=seen, allowed=allowed)
        check_lists(rows, Q[:1], 30, seen=seen[:1], allowed=allowed)


@pytest.mark.parametrize("b", [1, 5])
@pytest.mark.parametrize("bits", [2, 8])
def test_equal_scores_are_in_the_order_of_the_rows(b: int, bits: int) -> None:
    # More equal rows than candidates can wait.
    codes = np.full((5000, 8), 2**bits - 1, np.uint8)
    rows = CodeRows.build(codes, np.ones(5000, np.float16), bits, 0.0)
    items, scores = rows.top_k(np.ones((b, 8), np.float32), 30)
    assert (items == np.arange(30)).all()
    assert (scores == 8 * (2**bits - 1)).all()


def test_zero_rows_zero_queries_and_values_that_are_not_finite() -> None:
    rng = np.random.default_rng(4)
    rows = make_rows(rng, 1100, 12, 4)
    rows.steps[:1090] = 0
    Q = rng.normal(size=(6, 12)).astype(np.float32)
    Q[2] = 0
    check_lists(rows, Q, 40)
    check_lists(rows, Q[2:3], 40)
    assert rows.top_k(Q[2:3], 3)[0].tolist() == [[0, 1, 2]]
    Q[3, 1] = np.nan
    items = rows.top_k(Q, 4)[0]
    assert (items[3] == -1).all()
    assert (items[4] >= 0).all()


def test_scores_of_some_rows() -> None:
    rng = np.random.default_rng(5)
    rows, Q = make_rows(rng, 2050, 20, 5), rng.normal(size=(3, 20)).astype(np.float32)
    chosen = np.array([2049, 0, 7])
    np.testing.assert_allclose(rows.score(Q), Q @ rows.decode(np.arange(2050)).T, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(rows.score(Q, chosen), Q @ rows.decode(chosen).T, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("b", [1, 40])
def test_certified_lists_are_those_of_the_original_vectors(b: int) -> None:
    rng = np.random.default_rng(6)
    V, Q = rng.normal(size=(3000, 16)).astype(np.float32), rng.normal(size=(b, 16)).astype(np.float32)
    certified = 0
    for k in (1, 2, 3, 20):
        codes, steps = quantize(V)
        items, _, is_certified = CodeRows.build(codes, steps, 8, 128.0, V).certify_top_k(Q, k)
        for row in np.flatnonzero(is_certified):
            assert set(items[row].tolist()) == set(np.argsort(-(V @ Q[row]))[:k].tolist())
        certified += is_certified.sum()
    # Most first places are far enough ahead of the second, and long lists hardly ever.
    assert b / 4 < certified < 4 * b


def test_bounds_hold_for_each_row() -> None:
    rng = np.random.default_rng(7)
    V = (rng.normal(size=(1500, 10)) * rng.lognormal(0, 1, 1500)[:, None]).astype(np.float32)
    codes, steps = quantize(V)
    rows = CodeRows.build(codes, steps, 8, 128.0, V)
    lost = np.linalg.norm(V - rows.decode(np.arange(1500)), axis=1) / steps
    first = (codes >> 4) * 16 + 7.5 - 128
    for tile, part in enumerate((slice(0, 1024), slice(1024, 1500))):
        expected = [
            np.linalg.norm(first[part], axis=1).max(),
            np.linalg.norm((codes[part] & 15) - 7.5, axis=1).max(),
            np.linalg.norm(codes[part] - 128.0, axis=1).max(),
            lost[part].max(),
        ]
        np.testing.assert_allclose(rows.tiles[tile, :4], expected, rtol=1e-3)
        assert rows.tiles[tile, 4] >= np.linalg.norm(V[part], axis=1).max() * (1 - 1e-6)
    assert (bound_tiles(rows.first, rows.rest, steps, 8, 128.0, 10)[:, 3] == 0).all()


def test_empty_inputs_give_empty_lists() -> None:
    rows = make_rows(np.random.default_rng(8), 10, 4, 8)
    assert rows.top_k(np.zeros((0, 4), np.float32), 3)[0].shape == (0, 3)
    assert rows.top_k(np.ones((2, 4), np.float32), 0)[0].shape == (2, 0)
    none = CodeRows.build(np.zeros((0, 4), np.uint8), np.zeros(0, np.float16), 8, 128.0)
    assert (none.top_k(np.ones((5, 4), np.float32), 3)[0] == -1).all()
    assert rows.top_k(np.ones((1, 4), np.float32), 20)[0][0, 10:].tolist() == [-1] * 10


@pytest.mark.slow
@pytest.mark.timeout(900)  # compiles every kernel again
def test_other_processors_find_the_same_lists(tmp_path) -> None:
    code = (
        "import numpy as np; from leanrec.kernels.topk.code_search import CodeRows; rng = np.random.default_rng(0);"
        "rows = CodeRows.build(rng.integers(0, 256, (2000, 40), dtype=np.uint8), rng.random(2000).astype(np.float16), 8, 128.0);"
        "Q = rng.integers(-9, 9, (9, 40)).astype(np.float32);"
        "print(rows.top_k(Q, 9)[0].tolist(), rows.top_k(Q[:1], 9)[0].tolist())"
    )
    rng = np.random.default_rng(0)
    rows = CodeRows.build(
        rng.integers(0, 256, (2000, 40), dtype=np.uint8), rng.random(2000).astype(np.float16), 8, 128.0
    )
    Q = rng.integers(-9, 9, (9, 40)).astype(np.float32)
    expected = f"{rows.top_k(Q, 9)[0].tolist()} {rows.top_k(Q[:1], 9)[0].tolist()}"
    # An empty list of features: the plainest processor of this kind.
    environment = dict(os.environ, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="", NUMBA_CACHE_DIR=str(tmp_path))
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=800)
    assert out.stdout.strip() == expected, out.stderr[-2000:]
