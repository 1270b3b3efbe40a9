"""Exact search with codes in memory and vectors on disk, against the index that holds both."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.kernels.topk.inner_product import ItemIndex
from leanrec.kernels.topk.mapped_search import MappedIndex


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
@pytest.mark.parametrize(("bits", "most_reads"), [(8, 60), (4, 400), (2, 3000)])
def test_lists_and_scores_are_exact(vectors: np.ndarray, rows: int, bits: int, most_reads: int) -> None:
    rng = np.random.default_rng(1)
    Q = rng.normal(size=(rows, 36)).astype(np.float32)
    index = MappedIndex.build(vectors, bits, rotation=7)
    seen = sp.random_array((rows, 3000), density=0.1, rng=rng, format="csr", dtype=np.float32)
    for rules in ({}, {"seen": seen, "allowed": rng.random(3000) < 0.5}):
        items, scores, reads = index.count_reads(Q, 12, **rules)
        expected, best = ItemIndex.build(np.asarray(vectors)).top_k(Q, 12, **rules)
        np.testing.assert_array_equal(items, expected)
        np.testing.assert_allclose(scores, best, rtol=1e-5)
        assert (reads >= 12).all()
        assert reads.mean() < most_reads
    # Codes are packed in groups of 32 bits.
    assert index.nbytes <= 3008 * (-(-36 * bits // 32) * 4 + 4 + 6) + 40 * 3


@pytest.mark.parametrize("scale", [1e-20, 1e-7, 1e15])
def test_vectors_of_any_scale(vectors: np.ndarray, scale: float) -> None:
    V, Q = vectors * np.float32(scale), np.random.default_rng(1).normal(size=(5, 36)).astype(np.float32)
    items, _, reads = MappedIndex.build(V).count_reads(Q, 12)
    np.testing.assert_array_equal(items, ItemIndex.build(np.asarray(vectors)).top_k(Q, 12)[0])
    assert reads.mean() < 60


def test_equal_vectors_are_in_item_order(vectors: np.ndarray) -> None:
    items = MappedIndex.build(vectors).top_k(vectors[20:21] * 1e-3, 3000)[0][0]
    at = items.tolist().index(20)
    assert items[at : at + 10].tolist() == list(range(20, 30))


def test_the_index_of_many_rows_is_built_in_blocks(monkeypatch: pytest.MonkeyPatch, vectors: np.ndarray) -> None:
    whole = MappedIndex.build(vectors, 5)
    monkeypatch.setattr("leanrec.kernels.topk.mapped_search._BLOCK_ROWS", 1024)
    blocks = MappedIndex.build(vectors, 5)
    for name in ("first", "rest", "steps", "tiles"):
        np.testing.assert_array_equal(getattr(blocks.rows, name), getattr(whole.rows, name))


def test_no_vectors() -> None:
    assert (MappedIndex.build(np.zeros((0, 4), np.float32)).top_k(np.ones((1, 4), np.float32), 2)[0] == -1).all()
