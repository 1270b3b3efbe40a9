"""Spectral initialization: unit vectors, close for items that occur together."""

import numpy as np

from leanrec.models.sequential.core.spectral_init import spectral_bytes, spectral_vectors
from leanrec.training.histories import PackedHistories


def test_items_of_the_same_histories_are_close() -> None:
    rng = np.random.default_rng(0)
    # Items 0 to 9 and 10 to 19 never share a history; item 20 has none.
    rows = [(rng.permutation(10) + 10 * (i % 2)).astype(np.int32) for i in range(60)]
    vectors = spectral_vectors(PackedHistories.from_rows(rows), 21, 8, np.random.default_rng(1))
    assert vectors.shape == (21, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors[:20], axis=1), 1, rtol=1e-4)
    similarity = vectors[:20] @ vectors[:20].T
    same = np.arange(20)[:, None] // 10 == np.arange(20) // 10
    assert similarity[same].mean() > similarity[~same].mean() + 0.3


def test_items_without_neighbors_get_random_vectors() -> None:
    rows = [np.array([3], np.int32), np.zeros(0, np.int32)]
    vectors = spectral_vectors(PackedHistories.from_rows(rows), 5, 4, np.random.default_rng(1))
    assert np.isfinite(vectors).all()
    assert (np.linalg.norm(vectors, axis=1) > 0).all()


def test_memory_estimate_grows_with_items_and_events() -> None:
    assert spectral_bytes(200, 1000, 8) > spectral_bytes(100, 1000, 8)
    assert spectral_bytes(100, 2000, 8) > spectral_bytes(100, 1000, 8)
