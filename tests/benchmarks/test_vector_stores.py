"""Measurement of vector stores: recall by exact search, and scores from what a store returns."""

import numpy as np
import pytest
import vector_stores
from vector_stores import Store, Vectors


@pytest.fixture
def vectors() -> Vectors:
    rng = np.random.default_rng(0)
    items = rng.standard_normal((300, 8), dtype=np.float32) * rng.uniform(0.1, 3, (300, 1)).astype(np.float32)
    return Vectors(items, rng.standard_normal((20, 8), dtype=np.float32), {})


def test_exact_search_has_all_and_another_order_of_rows_is_mapped(vectors: Vectors) -> None:
    def search(query, k, mask):
        scores = np.where(mask, vectors.items @ query, -np.inf) if mask is not None else vectors.items @ query
        best = np.argsort(-scores)[:k]
        return best, scores[best]

    mask = np.arange(300) % 7 == 0
    assert vector_stores.measure_recall(search, vectors) == 1
    assert vector_stores.measure_recall(search, vectors, mask) == 1
    assert vector_stores.measure_recall(lambda q, k, _: search(q, k, mask), vectors) < 0.5
    order = np.random.default_rng(1).permutation(300)
    place = np.argsort(order)
    moved = lambda q, k, m: (place[search(q, k, m)[0]], None)  # noqa: E731
    assert vector_stores.measure_recall(moved, vectors, rows=order) == 1
    assert vector_stores.measure_recall(moved, vectors) < 0.5


def test_euclidean_search_with_one_dimension_more_finds_the_largest_dot_products(vectors: Vectors) -> None:
    longer = vector_stores.add_dimension(vectors.items)
    np.testing.assert_allclose(np.linalg.norm(longer, axis=1), np.linalg.norm(vectors.items, axis=1).max(), rtol=1e-5)

    def search(query, k, _):
        distance = np.linalg.norm(longer - vector_stores.add_zero(query), axis=1)
        best = np.argsort(distance)[:k]
        return best, distance[best]

    assert vector_stores.measure_recall(search, vectors) == 1
    store = Store(lambda _: search, "", vector_stores.from_distance)
    assert vector_stores.check_scores(store, search, vectors)
    assert not vector_stores.check_scores(Store(lambda _: search, "", vector_stores.one_minus), search, vectors)
