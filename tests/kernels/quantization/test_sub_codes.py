"""Sub-codes, against loops."""

import itertools

import numpy as np

from leanrec.kernels.quantization.sub_codes import (
    add_tables,
    decode_sub_codes,
    fill_tables,
    fit_centroids,
    merge_table_scores,
    nearest_centroids,
    sum_by_code,
)
from leanrec.kernels.topk.selection import empty_lists, sort_heaps, top_k

STARTS = np.array([0, 3, 4, 9])
RNG = np.random.default_rng(0)
BOOKS = RNG.standard_normal((16, 9)).astype(np.float32)
CODES = RNG.integers(0, 16, (5000, 3)).astype(np.uint8)
SCALES = RNG.random(5000).astype(np.float32)


def slow_decode(codes: np.ndarray, scales: np.ndarray) -> np.ndarray:
    groups = [BOOKS[codes[:, m], STARTS[m] : STARTS[m + 1]] for m in range(3)]
    return np.concatenate(groups, axis=1) * scales[:, None]


def test_decodes_few_and_many_rows() -> None:
    for n in (0, 1, 5000):
        decoded = decode_sub_codes(CODES[:n], BOOKS, STARTS, SCALES[:n])
        np.testing.assert_array_equal(decoded, slow_decode(CODES[:n], SCALES[:n]))


def test_tables_add_up_to_products() -> None:
    query = RNG.standard_normal(9).astype(np.float32)
    tables = np.stack([BOOKS[:, a:b] @ query[a:b] for a, b in itertools.pairwise(STARTS)])
    for n in (7, 5000):
        added = add_tables(tables, np.tile(CODES[:n], (4, 1)), np.tile(SCALES[:n], 4))
        np.testing.assert_allclose(added, np.tile(slow_decode(CODES[:n], SCALES[:n]) @ query, 4), rtol=1e-4, atol=1e-5)


def test_tables_have_the_products_of_each_centroid() -> None:
    query, tables = RNG.standard_normal(9).astype(np.float32), np.empty((3, 16), np.float32)
    fill_tables(np.ascontiguousarray(BOOKS.T), query, STARTS, tables)
    expected = np.stack([BOOKS[:, a:b] @ query[a:b] for a, b in itertools.pairwise(STARTS)])
    np.testing.assert_allclose(tables, expected, rtol=1e-4, atol=1e-5)


def test_merged_lists_are_those_of_all_scores() -> None:
    tables, levels = RNG.standard_normal((3, 16)).astype(np.float32), RNG.integers(0, 256, 5000).astype(np.uint8)
    factors, seen, allowed = (
        np.geomspace(0.1, 9, 256, dtype=np.float32),
        np.array([0, 3, 4000], np.int32),
        CODES[:, 0] != 3,
    )
    for n in (1, 2, 3, 5, 1024, 1027, 5000):
        scores = add_tables(tables, CODES[:n], factors[levels[:n]])[None]
        scores[:, seen[seen < n]] = -np.inf
        expected = top_k(scores, 30, allowed=allowed[:n])
        items, best = empty_lists(1, 30)
        for part in (slice(0, n // 2), slice(n // 2, n)):
            merge_table_scores(
                tables, CODES[part], levels[part], factors, part.start, items[0], best[0], seen, allowed[:n]
            )
        sort_heaps(items, best)
        np.testing.assert_array_equal(items, expected[0])
        np.testing.assert_array_equal(best, expected[1])


def test_sums_are_the_transpose_of_decoding() -> None:
    X, books = RNG.standard_normal((2, 5000, 9)).astype(np.float32), BOOKS
    product = np.vdot(decode_sub_codes(CODES, books, STARTS, SCALES).astype(float), X[0])
    assert np.isclose(product, np.vdot(books, sum_by_code(X[0], CODES, STARTS, SCALES, 16)), rtol=1e-4)


def test_the_nearest_centroid_is_found() -> None:
    X = RNG.standard_normal((200, 9)).astype(np.float32)
    for m, found in enumerate(nearest_centroids(X, BOOKS, STARTS).T):
        group = slice(STARTS[m], STARTS[m + 1])
        distances = np.square(X[:, None, group] - BOOKS[None, :, group]).sum(axis=2)
        np.testing.assert_array_equal(found, distances.argmin(axis=1))


def test_separate_clusters_are_found_and_rows_without_weight_ignored() -> None:
    centers = 10 * RNG.standard_normal((4, 9)).astype(np.float32)
    X = np.repeat(centers, 50, axis=0) + 0.01 * RNG.standard_normal((200, 9)).astype(np.float32)
    weights = np.repeat(np.array([1, 1, 1, 0], np.float32), 50)
    books = fit_centroids(X, weights, np.array([0, 9]), 3, np.random.default_rng(1))
    found = books[nearest_centroids(centers[:3], books, np.array([0, 9]))[:, 0]]
    np.testing.assert_allclose(found, centers[:3], atol=0.02)
