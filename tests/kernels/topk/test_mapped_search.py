"""Exact search with codes in memory and vectors on disk, against the index that holds both."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.kernels.topk.inner_product import ItemIndex
from leanrec.kernels.topk.mapped_search import MappedIndex, quantize_rows


@pytest.fixture
def vectors(tmp_path) -> np.ndarray:
    """Vectors of very different lengths, mapped from a file; some are zero, some are equal."""
    rng = np.random.default_rng(0)
    V = (rng.normal(size=(3000, 36)) * rng.lognormal(0, 1, 3000)[:, None]).astype(np.float32)
    V[5:9] = 0
    V[20:30] = V[20]
    np.save(tmp_path / "V.npy", V)
    return np.load(tmp_path / "V.npy", mmap_mode="r")


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_lists_and_scores_are_exact(vectors: np.ndarray, rows: int) -> None:
    rng = np.random.default_rng(1)
    Q = rng.normal(size=(rows, 36)).astype(np.float32)
    index = MappedIndex.build(vectors)
    seen = sp.random_array((rows, 3000), density=0.1, rng=rng, format="csr", dtype=np.float32)
    for rules in ({}, {"seen": seen, "allowed": rng.random(3000) < 0.5}):
        items, scores, reads = index.count_reads(Q, 12, **rules)
        expected, best = ItemIndex.build(np.asarray(vectors)).top_k(Q, 12, **rules)
        np.testing.assert_array_equal(items, expected)
        np.testing.assert_allclose(scores, best, rtol=1e-5)
        assert (reads >= 12).all()
        assert reads.mean() < 60
    assert index.nbytes <= 3008 * (40 + 6) + 40 * 3


def test_equal_vectors_are_in_item_order(vectors: np.ndarray) -> None:
    items = MappedIndex.build(vectors).top_k(vectors[20:21] * 1e-3, 3000)[0][0]
    at = items.tolist().index(20)
    assert items[at : at + 10].tolist() == list(range(20, 30))


@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e4])
def test_codes_stay_within_half_a_step(scale: float) -> None:
    V = (np.random.default_rng(2).normal(size=(50, 7)) * scale).astype(np.float32)
    codes, steps = quantize_rows(V)
    decoded = (codes - 128.0) * steps.astype(np.float64)[:, None]
    assert (np.abs(decoded - V) <= 0.5001 * steps.astype(np.float64)[:, None]).all()


def test_no_vectors() -> None:
    assert (MappedIndex.build(np.zeros((0, 4), np.float32)).top_k(np.ones((1, 4), np.float32), 2)[0] == -1).all()
