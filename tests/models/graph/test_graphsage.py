"""GraphSAGE: the contract, its gradient, and what new items and new users get."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import make_dataset
from contracts.estimator import EstimatorContract, OddDataContract
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.errors import ColumnError, DataError, SettingError
from leanrec.kernels.graph.propagation import BipartiteGraph, sample_masked_edges
from leanrec.models.graph.graphsage import GraphSAGE, _Items, _TrainingState
from leanrec.run import Run
from leanrec.types import Queries

SMALL = GraphSAGE(
    embedding_dim=8,
    content_dim=8,
    structure_dim=8,
    n_neighbors=5,
    n_steps=80,
    n_negatives=20,
    batch_size=40,
    temperature=0.5,
    structure_dropout=0.5,
)


class TestGraphSAGE(EstimatorContract, OddDataContract):
    estimator = SMALL


class TestOnContentAlone(EstimatorContract):
    estimator = dataclasses.replace(SMALL, structure_dim=0, n_neighbors=0, structure_dropout=0.0, batch_size=0)


def bare(data: Dataset) -> Dataset:
    return dataclasses.replace(data, item_table=None)


def test_neighbors_are_the_ends_of_walks(dataset: Dataset) -> None:
    X = dataset.interactions
    near = SMALL._find_neighbors(X, np.asarray(X.sum(axis=1))).toarray()
    dense = X.toarray()
    walks = (dense / dense.sum(axis=1, keepdims=True)).T @ dense
    np.fill_diagonal(walks, 0)
    for item in range(len(walks)):
        kept = near[item] > 0
        assert kept.sum() == 5
        np.testing.assert_allclose(near[item][kept], walks[item][kept] / walks[item][kept].sum(), rtol=1e-4)
        assert walks[item][kept].min() >= walks[item][~kept].max() - 1e-6


def test_the_gradient_of_a_step_is_the_slope_of_its_loss(dataset: Dataset) -> None:
    X, rng = dataset.interactions, np.random.default_rng(0)
    settings = dataclasses.replace(SMALL, temperature=0.5, embedding_dim=3, hidden_dim=4)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    items = _Items(
        draw(40, 3), draw(40, 2), BipartiteGraph.from_matrix(settings._find_neighbors(X, np.asarray(X.sum(axis=1))))
    )
    weights = settings._init_weights(items.width, rng)
    work = _TrainingState(
        settings, X, BipartiteGraph.from_matrix(sp.csr_array(X / 3)), items, weights, has_content=True
    )
    users, blind = np.array([1, 2, 9, 30, 44]), np.arange(40) % 5 == 0
    targets, hidden = sample_masked_edges(X, users, 0.5, rng)
    negatives = np.array([0, 5, 6, 31])
    step = lambda: work.gradients(users, targets, hidden, negatives, blind)  # noqa: E731
    gradients = step()[1]
    for name, array in weights.items():
        numeric = np.zeros(array.shape)
        for index in np.ndindex(*array.shape):
            for sign in (1, -1):
                array[index] += sign * 0.003
                numeric[index] += sign * step()[0] / 0.006
                array[index] -= sign * 0.003
        np.testing.assert_allclose(gradients[name], numeric, rtol=0.05, atol=0.02)


def test_a_new_item_is_found_by_its_content() -> None:
    data = make_dataset(n_users=200)
    model = SMALL.fit(data)
    assert data.item_table is not None
    larger = model.extend(data.item_table.take(np.arange(8, 16)))
    np.testing.assert_array_equal(larger.items[:40], model.items)
    scores = larger.score(
        Queries(
            users=np.arange(200, dtype=np.int32),
            history=sp.csr_array(
                (data.interactions.data, data.interactions.indices, data.interactions.indptr), shape=(200, 48)
            ),
        )
    )
    # Item 40 + i is of genre i % 4, and user u likes genre u % 4.
    right = np.array([scores[u, 40 + u % 4] - np.delete(scores[u, 40:44], u % 4).mean() for u in range(200)])
    assert (right > 0).mean() > 0.8


def test_without_an_item_table_only_the_graph_is_used(dataset: Dataset) -> None:
    model = SMALL.fit(bare(dataset))
    assert model.features is None
    assert np.isfinite(model.score(dataset.queries())).all()
    assert dataset.item_table is not None
    with pytest.raises(DataError, match="must be fitted with an item table"):
        model.extend(dataset.item_table)


def test_a_new_item_without_a_known_column_is_refused(dataset: Dataset) -> None:
    from leanrec.data.table import Table

    with pytest.raises(ColumnError, match="at least one of the columns"):
        SMALL.fit(dataset).extend(Table({"color": np.array(["red"], np.dtypes.StringDType())}))


def test_known_and_new_users_are_one(dataset: Dataset) -> None:
    model, queries = SMALL.fit(dataset), dataset.queries()
    new = Queries(users=np.full(len(queries), -1, np.int32), history=queries.history)
    np.testing.assert_array_equal(model.score(queries), model.score(new))


def test_reasons_add_up_to_the_score(dataset: Dataset) -> None:
    model, query = SMALL.fit(dataset), dataset.queries(np.array([7], np.int32))
    assert model.explain(query, np.array([11]))[0].weights.sum() == pytest.approx(
        float(model.score(query)[0, 11]), rel=1e-4, abs=1e-5
    )


def test_threads_hardly_change_it(dataset: Dataset) -> None:
    data = bare(dataset)
    one, two = (SMALL.fit(data, Run(seed=1, threads=threads)) for threads in (1, 2))
    np.testing.assert_allclose(one.items, two.items, rtol=1e-3, atol=1e-4)


def test_stops_when_the_time_is_over(dataset: Dataset) -> None:
    assert np.isfinite(SMALL.fit(dataset, Run(budget=Budget(fit_time=0.0))).items).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"content_dim": 0}, "content_dim must be a number of at least 1"),
        ({"structure_dropout": 1.5}, "structure_dropout must be a number from 0 to 1"),
        ({"mask_ratio": 0.0}, "mask_ratio must be a number from 0.05 to 0.95"),
    ],
)
def test_refuses_settings_outside_their_range(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        GraphSAGE(**wrong)  # type: ignore[arg-type]
