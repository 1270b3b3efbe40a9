"""XSimGCL: the contract, both gradients, and what the noise does."""

import dataclasses

import numpy as np
import pytest

from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.kernels.graph.propagation import BipartiteGraph
from leanrec.models.graph.xsimgcl import XSimGCL, _add_noise, _Batch, _TrainingState
from leanrec.run import Run
from leanrec.types import Queries

SMALL = XSimGCL(embedding_dim=8, epochs=30, batch_size=32, n_negatives=20, contrast_batch_size=16)


class TestXSimGCL(EstimatorContract, OddDataContract):
    estimator = SMALL


class TestOneLayerFromRandomNumbers(EstimatorContract):
    estimator = dataclasses.replace(SMALL, n_init_iter=0, batch_size=0, n_layers=1)


def as_new(queries: Queries) -> Queries:
    return Queries(users=np.full(len(queries), -1, np.int32), history=queries.history)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_gradient_of_a_step_is_the_slope_of_its_loss(noise: float, dataset: Dataset) -> None:
    X, rng = dataset.interactions, np.random.default_rng(0)
    arrays = {n: rng.standard_normal((size, 4)).astype(np.float32) for n, size in (("users", 60), ("items", 40))}
    settings = dataclasses.replace(
        SMALL, temperature=0.5, contrast_weight=1.0, noise=noise, n_layers=3, contrast_layer=2, contrast_temperature=0.5
    )
    work = _TrainingState(settings, X, BipartiteGraph.from_matrix(X / 12), arrays)
    batch = _Batch(np.array([1, 2, 9, 30, 44]), np.array([0, 5, 6, 31]), np.array([1, 9, 44]), np.array([3, 4, 20, 35]))
    step = lambda: work.gradients(batch, np.random.default_rng(1))  # noqa: E731
    gradients = step()[1]
    for name, array in arrays.items():
        for row in range(0, len(array), 9):
            numeric = np.zeros(4)
            for column in range(4):
                for sign in (1, -1):
                    array[row, column] += sign * 0.02
                    numeric[column] += sign * step()[0] / 0.04
                    array[row, column] -= sign * 0.02
            # Where noise changes its sign the loss has a step.
            np.testing.assert_allclose(gradients[name][row], numeric, atol=2e-3 if not noise else 0.05)


def test_noise_has_its_length_and_keeps_signs() -> None:
    vectors = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
    shaken = _add_noise(vectors, 0.3, np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(shaken - vectors, axis=1), 0.3, rtol=1e-5)
    np.testing.assert_array_equal(np.sign(shaken), np.sign(vectors))
    assert not _add_noise(np.zeros((2, 3), np.float32), 0.3, np.random.default_rng(1)).any()


def test_agreement_spreads_the_items_out(dataset: Dataset) -> None:
    def closeness(agreement: float) -> float:
        items = dataclasses.replace(SMALL, contrast_weight=agreement, norm_exponent=0.0).fit(dataset).items
        return float(((items @ items.T) ** 2).mean())

    assert closeness(2.0) < closeness(0.0)


def test_a_new_user_is_served_much_as_a_known_one(dataset: Dataset) -> None:
    model = SMALL.fit(dataset)
    queries = dataset.queries()
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(model.score(queries), model.score(as_new(queries)), strict=True)]
    assert np.median(alike) > 0.9


def test_threads_do_not_change_a_bit(dataset: Dataset) -> None:
    one, two = (SMALL.fit(dataset, Run(seed=1, threads=threads)) for threads in (1, 2))
    np.testing.assert_array_equal(one.items, two.items)


def test_stops_when_the_time_is_over(dataset: Dataset) -> None:
    assert np.isfinite(SMALL.fit(dataset, Run(budget=Budget(fit_time=0.0))).items).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_layers": 0}, "n_layers must be a number of at least 1"),
        ({"contrast_layer": 3}, "contrast_layer must be a number from 1 to 2"),
        ({"noise": -0.1}, "noise must be a number of at least 0"),
        ({"contrast_temperature": 0.0}, "contrast_temperature must be a positive number"),
    ],
)
def test_refuses_settings_outside_their_range(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        XSimGCL(**wrong)  # type: ignore[arg-type]
