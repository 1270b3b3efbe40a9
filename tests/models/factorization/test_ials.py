"""iALS: the contract, the optimum of the loss, and a slow twin in float64."""

import dataclasses
import functools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_dataset
from contracts.estimator import EstimatorContract, OddDataContract
from contracts.updatable import UpdatableContract, find_changed, grow
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.data.vocabulary import Vocabulary
from leanrec.errors import DataError, SettingError
from leanrec.models.factorization.ials import IALS
from leanrec.run import Run
from leanrec.types import Events, Queries

SMALL = IALS(embedding_dim=8, l2=0.5, epochs=8)


class TestIALS(EstimatorContract, OddDataContract, UpdatableContract):
    estimator = SMALL
    equals_fit = False  # half an epoch more

    @pytest.mark.parametrize("is_whole", [True, False])
    def test_updated_items_solve_their_equations(self, is_whole: bool) -> None:
        data = make_dataset(25, 20, 6)
        grown = grow(data, 5)
        model, changed = SMALL.fit(data), find_changed(data, grown)
        V = np.zeros((22, 8))
        V[:20] = model.items
        C = np.log2(1 + grown.interactions.toarray().astype(np.float64))
        W = np.stack([slow_solve(c, V, SMALL) for c in C])
        for item in range(22) if is_whole else changed:
            V[item] = slow_solve(C[:, item], W, SMALL)
        found = model.update(grown, None if is_whole else changed).items
        # The embeddings are rotated, which changes no dot product.
        np.testing.assert_allclose(found @ found.T, V @ V.T, rtol=1e-4, atol=1e-5)
        gram = found.T @ found
        np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-4)


class TestGradients(EstimatorContract, OddDataContract):
    estimator = dataclasses.replace(SMALL, solver="cg", weighting="binary")


class TestBlocks(EstimatorContract, OddDataContract):
    estimator = dataclasses.replace(SMALL, solver="blocks", l2_exponent=1.0, l2=0.1)


class TestMoreDimensionsThanItems(EstimatorContract, OddDataContract):
    estimator = dataclasses.replace(SMALL, embedding_dim=50)


def slow_fit(C: np.ndarray, V: np.ndarray, W: np.ndarray, how: IALS) -> tuple[np.ndarray, np.ndarray]:
    """Alternate as the paper writes it, one dense system a row, in float64; beyond the solution in all epochs but the last."""
    V, W, C = V.astype(np.float64), W.astype(np.float64), C.astype(np.float64)
    for epoch in range(how.epochs):
        step = how.relaxation if epoch < how.epochs - 1 else 1
        W += step * (np.stack([slow_solve(c, V, how) for c in C]) - W)
        V += step * (np.stack([slow_solve(c, W, how) for c in C.T]) - V)
    return W, V


def slow_solve(c: np.ndarray, V: np.ndarray, how: IALS) -> np.ndarray:
    if not c.any():
        return np.zeros(V.shape[1])
    ridge = how.l2 * (c > 0).sum() ** how.l2_exponent * np.eye(V.shape[1])
    return np.linalg.solve((V.T * (c + how.unobserved_weight)) @ V + ridge, V.T @ c)


def loss(C: np.ndarray, W: np.ndarray, V: np.ndarray, how: IALS) -> float:
    scores = W @ V.T
    fit = (C * (scores - 1) ** 2).sum() + how.unobserved_weight * (scores**2).sum()
    ridge_users = (((C > 0).sum(axis=1) ** how.l2_exponent) * (W**2).sum(axis=1)).sum()
    ridge_items = (((C > 0).sum(axis=0) ** how.l2_exponent) * (V**2).sum(axis=1)).sum()
    return float(fit + how.l2 * (ridge_users + ridge_items))


@pytest.mark.parametrize("relaxation", [1.0, 1.6])
def test_takes_the_same_way_as_the_slow_twin(relaxation: float, dataset: Dataset) -> None:
    how = dataclasses.replace(SMALL, epochs=3, relaxation=relaxation)
    rng = Run(seed=5).rng()
    C = np.log2(1 + dataset.interactions.toarray())
    V, W = (rng.standard_normal((n, 8), dtype=np.float32) * 0.1 / np.sqrt(8) for n in C.shape[::-1])
    V[~C.any(axis=0)], W[~C.any(axis=1)] = 0, 0
    _, expected = slow_fit(C, V, W, how)
    found = how.fit(dataset, Run(seed=5)).items
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, rtol=1e-3, atol=1e-3)


def test_the_end_has_no_slope(dataset: Dataset) -> None:
    how = dataclasses.replace(SMALL, epochs=400, unobserved_weight=0.3)
    model = how.fit(dataset)
    C = np.log2(1 + dataset.interactions.toarray()).astype(np.float64)
    W, V = model.embed_queries(dataset.queries()).astype(np.float64), model.items.astype(np.float64)
    pull = C * (W @ V.T - 1) + how.unobserved_weight * (W @ V.T)
    slope_users = pull @ V + how.l2 * ((C > 0).sum(axis=1) ** how.l2_exponent)[:, None] * W
    slope_items = pull.T @ W + how.l2 * ((C > 0).sum(axis=0) ** how.l2_exponent)[:, None] * V
    assert abs(slope_users).max() < 1e-3 * abs(C @ V).max()
    assert abs(slope_items).max() < 1e-2 * abs(C.T @ W).max()


@pytest.mark.parametrize("relaxation", [1.0, 1.6])
def test_every_epoch_lowers_the_loss(relaxation: float, dataset: Dataset) -> None:
    C = np.log2(1 + dataset.interactions.toarray()).astype(np.float64)
    losses = []
    for epochs in (1, 2, 4, 8, 16):
        how = dataclasses.replace(SMALL, epochs=epochs, relaxation=relaxation)
        model = how.fit(dataset)
        losses.append(loss(C, model.embed_queries(dataset.queries()), model.items, how))
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("solver", ["cholesky", "cg"])
@pytest.mark.parametrize("step", [0.3, 1.0, 1.6, 1.9])
def test_a_step_beyond_the_solution_leaves_its_square_of_the_gain(step: float, solver: str) -> None:
    """Wide and long enough that three steps of conjugate gradients stop before the solution."""
    rng = np.random.default_rng(0)
    history = (rng.random((60, 50)) < 0.5).astype(np.float32)
    history[7], history[:, 9] = 0, 0
    how, X = IALS(embedding_dim=24, solver=solver), sp.csr_array(history)
    V, W = (rng.standard_normal((n, 24)).astype(np.float32) for n in (50, 60))
    ridge = how._ridge(X)
    states = {each: how._solve_side(X, V, ridge, W, each) for each in (step, 1.0, 0.0)}
    gone, best, before = (loss(history, *states[each], how) for each in (step, 1.0, 0.0))
    assert gone - best == pytest.approx((1 - step) ** 2 * (before - best), rel=1e-3, abs=1e-2)


def test_steps_beyond_the_solution_reach_the_same_in_fewer_epochs(dataset: Dataset) -> None:
    C = np.log2(1 + dataset.interactions.toarray()).astype(np.float64)

    def reached(epochs: int, relaxation: float) -> float:
        how = dataclasses.replace(SMALL, epochs=epochs, relaxation=relaxation)
        model = how.fit(dataset)
        return loss(C, model.embed_queries(dataset.queries()), model.items, how)

    assert reached(12, 1.6) < reached(20, 1.0)
    assert reached(400, 1.6) == pytest.approx(reached(400, 1.0), rel=1e-3)


@pytest.mark.parametrize("solver", ["cg", "blocks"])
def test_every_solver_ends_where_the_exact_one_ends(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users with more than 128 items and a width above 128, so that the approximations have rows to work on."""
    rng = np.random.default_rng(2)
    history = (rng.random((40, 300)) < np.where(np.arange(40) < 12, 0.6, 0.05)[:, None]).astype(np.float32)
    data = dataset_of(history)
    how = IALS(embedding_dim=140, l2=2.0, epochs=30, solver="cholesky")
    exact, found = how.fit(data), dataclasses.replace(how, solver=solver).fit(data)
    queries = data.queries()
    np.testing.assert_allclose(found.score(queries), exact.score(queries), atol=5e-3)
    first = dataclasses.replace(how, epochs=1)
    assert not np.array_equal(dataclasses.replace(first, solver=solver).fit(data).items, first.fit(data).items)


def dataset_of(history: np.ndarray) -> Dataset:
    user, item = np.nonzero(history)
    events = Events(
        user=user.astype(np.int32),
        item=item.astype(np.int32),
        time=np.zeros(len(user), np.int64),
        event_type=np.zeros(len(user), np.int8),
        weight=history[user, item].astype(np.float32),
    )
    users, items = (Vocabulary(np.arange(n), name) for n, name in zip(history.shape, ("user", "item"), strict=True))
    return Dataset(events=events, users=users, items=items)


def test_the_items_lie_in_their_principal_axes(dataset: Dataset) -> None:
    V = SMALL.fit(dataset).items.astype(np.float64)
    gram = V.T @ V
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-5 * gram.max())


def test_a_user_with_all_items_and_an_item_without_users() -> None:
    history = (np.random.default_rng(0).random((12, 20)) < 0.3).astype(np.float32)
    history[3], history[:, 6] = 1, 0
    data = dataset_of(history)
    model = SMALL.fit(data)
    expected = slow_solve(history[3], model.items.astype(np.float64), SMALL)
    np.testing.assert_allclose(model.embed_queries(data.queries())[3], expected, rtol=1e-3, atol=1e-4)
    assert not model.items[6].any()


def query(items: list[int], weights: list[float], n: int) -> Queries:
    """Entries as they come, duplicates and zeros included."""
    entries = (np.array(weights, np.float32), np.array(items, np.int32), np.array([0, len(items)], np.int32))
    return Queries(users=np.array([-1], np.int32), history=sp.csr_array(entries, shape=(1, n)))


def test_duplicates_are_summed_and_zeros_are_no_interactions(dataset: Dataset) -> None:
    model, n = SMALL.fit(dataset), len(dataset.items)
    untidy, tidy = query([5, 2, 5, 9], [1, 2, 3, 0], n), query([2, 5], [2, 4], n)
    np.testing.assert_allclose(model.embed_queries(untidy), model.embed_queries(tidy), rtol=1e-6)
    assert untidy.history.nnz == 4


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_refuses_weights_that_are_none(dataset: Dataset, weight: float) -> None:
    model = SMALL.fit(dataset)
    with pytest.raises(DataError, match="finite numbers of at least 0"):
        model.embed_queries(query([1, 2], [1, weight], len(dataset.items)))


def test_a_known_user_and_a_new_one_with_that_history_get_the_same(dataset: Dataset) -> None:
    model = SMALL.fit(dataset)
    known = dataset.queries(np.array([4], np.int32))
    new = Queries(users=np.array([-1], np.int32), history=known.history)
    np.testing.assert_array_equal(model.score(known), model.score(new))


def test_the_reasons_add_up_to_the_score(dataset: Dataset) -> None:
    model = SMALL.fit(dataset)
    query = dataset.queries(np.array([7], np.int32))
    explanation = model.explain(query, np.array([11]))[0]
    assert explanation.weights.sum() == pytest.approx(float(model.score(query)[0, 11]), abs=1e-4)


def test_an_item_without_interactions_scores_zero(dataset: Dataset) -> None:
    kept = dataset.events.take(dataset.events.item != 3)
    model = SMALL.fit(dataset.with_events(kept))
    assert not model.score(dataset.queries())[:, 3].any()


def test_stops_when_the_time_is_over(dataset: Dataset) -> None:
    plain = dataclasses.replace(SMALL, relaxation=1.0)
    short = plain.fit(dataset, Run(budget=Budget(fit_time=0.0)))
    np.testing.assert_array_equal(short.items, dataclasses.replace(plain, epochs=1).fit(dataset).items)


def test_the_end_of_the_time_leaves_the_solution_for_the_items(dataset: Dataset) -> None:
    """Not vectors beyond it: their Gram matrix is that of the plain half step after users beyond theirs."""
    short = SMALL.fit(dataset, Run(seed=5, budget=Budget(fit_time=0.0)))
    rng, C = Run(seed=5).rng(), np.log2(1 + dataset.interactions.toarray())
    V, W = (rng.standard_normal((n, 8), dtype=np.float32) * 0.1 / np.sqrt(8) for n in C.shape[::-1])
    V[~C.any(axis=0)], W[~C.any(axis=1)] = 0, 0
    W += SMALL.relaxation * (np.stack([slow_solve(c, V.astype(np.float64), SMALL) for c in C]) - W)
    expected = np.stack([slow_solve(c, W.astype(np.float64), SMALL) for c in C.T])
    np.testing.assert_allclose(short.items @ short.items.T, expected @ expected.T, rtol=1e-3, atol=1e-3)


def test_blocks_take_no_step_beyond_the_solution() -> None:
    data = dataset_of((np.random.default_rng(2).random((40, 300)) < 0.6).astype(np.float32))
    how = IALS(embedding_dim=140, epochs=4, solver="blocks")
    plain = dataclasses.replace(how, relaxation=1.0)
    np.testing.assert_array_equal(how.fit(data).items, plain.fit(data).items)


@functools.cache
def fitted() -> tuple[Dataset, object]:
    data = make_dataset()
    return data, SMALL.fit(data)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 39), st.floats(0.01, 1e4)), min_size=1, max_size=40, unique_by=lambda e: e[0]))
def test_any_history_solves_its_own_equations(entries: list[tuple[int, float]]) -> None:
    _, model = fitted()
    items, weights = zip(*entries, strict=True)
    history = sp.csr_array((np.array(weights, np.float32), (np.zeros(len(items), int), items)), shape=(1, 40))
    w = model.embed_queries(Queries(users=np.array([-1], np.int32), history=history))[0]  # type: ignore[attr-defined]
    expected = slow_solve(np.log2(1 + history.toarray()[0]), model.items.astype(np.float64), SMALL)  # type: ignore[attr-defined]
    np.testing.assert_allclose(w, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"embedding_dim": 0}, "embedding_dim must be a number of at least 1"),
        ({"l2": 0.0}, "l2 must be a positive number"),
        ({"unobserved_weight": -0.1}, "unobserved_weight must be a positive number"),
        ({"l2_exponent": 1.5}, "l2_exponent must be a number from 0 to 1"),
        ({"solver": "lu"}, "solver must be one of auto, cholesky, cg, blocks"),
        ({"epochs": 0}, "epochs must be a number of at least 1"),
        ({"relaxation": 0.9}, "relaxation must be a number from 1 to 1.99"),
        ({"relaxation": 2.0}, "relaxation must be a number from 1 to 1.99"),
    ],
)
def test_refuses_settings_outside_their_range(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        IALS(**wrong)  # type: ignore[arg-type]
