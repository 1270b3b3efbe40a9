"""Pairwise stochastic gradients: a step against the formula, threads, and sampling."""

import numpy as np
import scipy.sparse as sp

from leanrec.kernels.sgd.pairwise import PairwiseStep, draw_negatives, fold_in_users, run_epoch
from leanrec.run import Run

UNIFORM = PairwiseStep(learning_rate=0.1, l2=0.05, by_popularity=False)


def test_one_step_follows_the_formula() -> None:
    rng = np.random.default_rng(0)
    # One pair and one negative: the epoch is a single, known step.
    X = sp.csr_array(np.array([[0, 1]], np.float32))
    users, items = rng.normal(size=(1, 3)).astype(np.float32), rng.normal(size=(2, 4)).astype(np.float32)
    w, (b, a) = users[0].astype(np.float64), items.astype(np.float64)
    pull = 1 / (1 + np.exp(w @ (a - b)[:3] + a[3] - b[3]))
    gradient_w = pull * (a - b)[:3] - 0.05 * w
    gradient_a = pull * np.append(w, 1) - 0.05 * a
    gradient_b = -pull * np.append(w, 1) - 0.05 * b
    run_epoch(X, users, items, UNIFORM, rng)
    np.testing.assert_allclose(users[0], w + 0.1 * gradient_w, rtol=1e-5)
    np.testing.assert_allclose(items[1], a + 0.1 * gradient_a, rtol=1e-5)
    np.testing.assert_allclose(items[0], b + 0.1 * gradient_b, rtol=1e-5)


def test_result_does_not_depend_on_threads() -> None:
    X = sp.random_array((90, 300), density=0.05, rng=np.random.default_rng(1), dtype=np.float32, format="csr")
    results = []
    for threads in (1, 2):
        rng = np.random.default_rng(2)
        users, items = (
            rng.normal(size=(90, 6)).astype(np.float32),
            rng.normal(size=(300, 7)).astype(np.float32),
        )
        with Run(threads=threads).limit_threads():
            run_epoch(X, users, items, UNIFORM, rng)
        results.append(np.concatenate([users.ravel(), items.ravel()]))
    np.testing.assert_array_equal(*results)


def test_user_with_every_item_changes_nothing() -> None:
    X = sp.csr_array(np.ones((1, 5), np.float32))
    users, items = np.ones((1, 2), np.float32), np.ones((5, 3), np.float32)
    run_epoch(X, users, items, UNIFORM, np.random.default_rng(0))
    assert (users == 1).all()
    assert (items == 1).all()


def test_popularity_sampling_draws_popular_items_more_often() -> None:
    # The first user draws negatives from items 1 … 99, of which item 1 has nine of ten interactions.
    rows = [[0], *[[1]] * 891, *[[i] for i in range(1, 100)]]
    X = sp.csr_array(
        (np.ones(len(rows), np.float32), np.concatenate(rows), np.arange(len(rows) + 1)),
        shape=(len(rows), 100),
    )
    items = np.zeros((100, 3), np.float32)
    frequency = np.cumsum(np.bincount(X.indices, minlength=100)).astype(np.int64)
    items[1] = 1
    drawn, uniform = (
        fold_in_users(X[[0]], items, draw_negatives(frequency, 100, step, 200), step)
        for step in (PairwiseStep(0.1, 0.0, by_popularity=True), PairwiseStep(0.1, 0.0, by_popularity=False))
    )
    assert (drawn < 5 * uniform).all()
    assert (uniform <= 0).all()


def test_fold_in_converges_to_the_optimum() -> None:
    rng = np.random.default_rng(5)
    items = rng.normal(size=(12, 4)).astype(np.float32)
    history = sp.csr_array(np.eye(12, dtype=np.float32)[[2]] + np.eye(12, dtype=np.float32)[[6]])
    step = PairwiseStep(0.1, 0.1, by_popularity=False)
    negatives = draw_negatives(np.zeros(0, np.int64), 12, step, 20_000)
    w = fold_in_users(history, items, negatives, step)[0].astype(np.float64)
    others = np.setdiff1d(np.arange(12), [2, 6])
    difference = items[[2, 6]][:, None] - items[others][None]
    pull = 1 / (1 + np.exp(difference[..., :3] @ w + difference[..., 3]))
    # A negative in the history is skipped, so gradient and regularization act in the same share of the draws.
    slope = (pull[..., None] * difference[..., :3]).mean(axis=(0, 1)) - 0.1 * w
    np.testing.assert_allclose(slope, 0, atol=0.02)


def test_empty_history_gives_a_zero_vector() -> None:
    empty = sp.csr_array((2, 12), dtype=np.float32)
    negatives = np.arange(12, dtype=np.int32)
    assert not fold_in_users(empty, np.ones((12, 4), np.float32), negatives, UNIFORM).any()


def test_a_fold_in_reads_the_rows_of_its_history_and_negatives_alone() -> None:
    rng = np.random.default_rng(2)
    items = rng.normal(size=(3000, 5)).astype(np.float32)
    history = sp.csr_array((np.ones(3, np.float32), [7, 90, 2999], [0, 3]), shape=(1, 3000))
    negatives = draw_negatives(np.zeros(0, np.int64), 3000, UNIFORM, 100)
    rows = np.unique(np.concatenate([negatives, history.indices]))
    narrow = sp.csr_array(
        (np.ones(3, np.float32), np.searchsorted(rows, history.indices), [0, 3]), shape=(1, len(rows))
    )
    places = np.searchsorted(rows, negatives).astype(np.int32)
    np.testing.assert_array_equal(
        fold_in_users(narrow, items[rows], places, UNIFORM), fold_in_users(history, items, negatives, UNIFORM)
    )
    assert len(rows) < 110
