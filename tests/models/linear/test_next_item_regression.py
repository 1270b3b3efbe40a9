"""Next-item regression: the contract, the order of histories, and the weights against a slow solution."""

import numpy as np
import pytest
import scipy.sparse as sp

from contracts.estimator import EstimatorContract, OddDataContract
from contracts.sequential import hits, laps, ring
from leanrec.compression.weights.compressed_weights import pack
from leanrec.errors import SettingError
from leanrec.models.linear.next_item_regression import NextItemRegression, _weigh_positions
from leanrec.run import Run
from leanrec.training.histories import PackedHistories

RUN = Run(seed=1, threads=1)


class TestNextItemRegression(EstimatorContract, OddDataContract):
    estimator = NextItemRegression(n_neighbors=20, top_k=10, l2=1.0)


def test_learns_the_order() -> None:
    data = ring()
    assert hits(NextItemRegression().fit(data, RUN), data) >= 0.9
    # Without decay the laps are one set of items.
    assert hits(NextItemRegression(decays=(1.0,)).fit(data, RUN), data) < 0.5


def test_weights_solve_the_equations_of_all_examples() -> None:
    data = ring(walks=40)
    n, decays, length = len(data.items), (0.5, 0.9), 5
    settings = NextItemRegression(decays=decays, max_length=length, n_neighbors=99, top_k=0, l2=0.2)
    X, T = [], []
    for row in data.queries().sequences or ():
        for cut in range(1, len(row)):
            x = np.zeros((2, n))
            for age, item in enumerate(row[max(0, cut - length) : cut][::-1]):
                x[:, item] += np.power(decays, age)
            X.append(x.ravel())
            T.append(np.eye(n)[row[cut]])
    gram = np.array(X).T @ X
    gram += 0.2 * gram.diagonal().mean() * np.eye(2 * n)
    products = np.array(X).T @ T
    weights = settings.fit(data, RUN).weights.toarray()
    for item in range(n):
        there = products[:, item] > 0
        expected = np.linalg.solve(gram[np.ix_(there, there)], products[there, item])
        np.testing.assert_allclose(weights[there, item], expected, atol=1e-4)
        assert not weights[~there, item].any()


def test_targets_of_another_model_are_learned() -> None:
    """Targets that go around the ring the other way."""
    data = ring()
    queries, following = laps(data)
    backward = np.array([row[-2] for row in queries.sequences or ()])
    targets = sp.csr_array(np.eye(len(data.items), dtype=np.float32)[backward])
    model = NextItemRegression(l2=0.01).fit_targets(data, queries, targets, RUN, weight=1e4)
    best = model.score(queries).argmax(axis=1)
    np.testing.assert_array_equal(best, backward)
    assert (best != following).all()


def test_most_important_weights_are_kept_and_examples_sampled() -> None:
    data = ring()
    few = NextItemRegression(top_k=10, n_examples=1000).fit(data, RUN)
    assert few.weights.nnz <= 10 * len(data.items)
    assert hits(few, data) >= 0.9
    packed = pack(few, value_bits=8)
    np.testing.assert_allclose(packed.score(data.queries()), few.score(data.queries()), atol=0.05)


def test_an_item_that_repeats_is_counted_at_each_of_its_places() -> None:
    histories = PackedHistories.from_rows([np.array([2, 0, 2], np.int32), np.zeros(0, np.int32)])
    weighed = _weigh_positions(histories, (0.5, 1.0), 3).toarray()
    np.testing.assert_allclose(weighed, [[0.5, 0, 1.25, 1, 0, 2], [0] * 6])


@pytest.mark.parametrize("decays", [(), (0.5, 0.5)])
def test_decays_must_differ(decays: tuple[float, ...]) -> None:
    with pytest.raises(SettingError, match="decays must be one or more different numbers"):
        NextItemRegression(decays=decays)
