"""Two-tower: the contract, new items by content, and uniformity."""

import dataclasses

import numpy as np
import pytest

from conftest import make_dataset
from contracts.estimator import EstimatorContract, OddDataContract, add_people
from leanrec.data.dataset import Dataset
from leanrec.data.splits.split import split
from leanrec.data.table import Table
from leanrec.errors import ColumnError, DataError
from leanrec.evaluation.evaluate import evaluate
from leanrec.models.deep.two_tower import TwoTower, TwoTowerModel
from leanrec.pipeline.pipeline import Pipeline
from leanrec.run import Run
from leanrec.types import Queries

SMALL = TwoTower(embedding_dim=8, hidden_dim=8, epochs=12, batch_size=256, learning_rate=0.02)


class TestTwoTower(EstimatorContract, OddDataContract):
    estimator = SMALL


class TestTwoTowerAligned(EstimatorContract):
    estimator = dataclasses.replace(SMALL, loss="alignment")


def test_alignment_without_uniformity_collapses(dataset: Dataset) -> None:
    def measure_spread(spread: float) -> float:
        model = dataclasses.replace(SMALL, loss="alignment", uniformity_weight=spread).fit(
            dataset, Run(seed=1, threads=1)
        )
        active = np.flatnonzero(np.bincount(dataset.interactions.indices, minlength=model.n_items))
        return float(np.linalg.norm(model.items[active] - model.items[active].mean(axis=0), axis=1).mean())

    assert measure_spread(0.0) < 0.5 * measure_spread(1.0)


@pytest.fixture(scope="module")
def fitted(dataset: Dataset) -> TwoTowerModel:
    return SMALL.fit(dataset, Run(seed=1, threads=1))


def test_new_item_is_close_to_an_item_with_the_same_content(fitted: TwoTowerModel, dataset: Dataset) -> None:
    assert dataset.item_table is not None
    wide = dataclasses.replace(SMALL, id_dropout=1.0).fit(dataset, Run(seed=1, threads=1))
    larger = wide.extend(dataset.item_table.take(np.array([0, 5])))
    np.testing.assert_allclose(larger.items[-2:], wide.items[[0, 5]], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(larger.items[:-2], wide.items)


def test_new_item_is_recommended_to_users_of_its_genre(fitted: TwoTowerModel, dataset: Dataset) -> None:
    assert dataset.item_table is not None
    scores = fitted.extend(dataset.item_table.take(np.arange(4))).score(_wider(dataset.queries(), 4))[:, -4:]
    assert (scores.argmax(axis=1) == np.arange(len(scores)) % 4).mean() > 0.6


def _wider(queries: Queries, more: int) -> Queries:
    history = queries.history.copy()
    history.resize((history.shape[0], history.shape[1] + more))
    return dataclasses.replace(queries, history=history, seen=None, ratings=None)


def test_a_person_of_the_user_table_keeps_their_taste_after_a_click() -> None:
    data = add_people(make_dataset(n_users=400, per_user=2))
    pipeline = Pipeline.fit(dataclasses.replace(SMALL, epochs=20), data, Run(seed=1, threads=1))
    space = {100 + item for item in range(0, 40, 4)}

    def share_of_taste() -> float:
        """Of the ten best items for a user of whom only the user table tells something: chance is 0.25."""
        recommended = pipeline.recommend("user-400", n=10)
        assert recommended.fallback is None
        return len(space & {item.id for item in recommended.items}) / 10

    assert share_of_taste() >= 0.8
    assert pipeline.recommend("user-400").items[0].reasons == ("chosen by people like you",)
    pipeline.record_event("user-400", 101)
    assert share_of_taste() >= 0.8
    assert pipeline.recommend(history=[101]).items != pipeline.recommend("user-400").items


def test_both_held_out_parts_know_the_people() -> None:
    """Test users have one more event than training: what is known of them must count as if they had not."""
    data = add_people(make_dataset())
    both, alone = split(data, "leave-one-out"), split(data, "leave-one-out", valid=0)
    model = SMALL.fit(both.train, Run(seed=1, threads=1))
    assert evaluate(model, both.test).means() == evaluate(model, alone.test).means()


def test_values_of_people_without_events_are_no_features(dataset: Dataset) -> None:
    data = add_people(dataset)
    assert data.user_table is not None
    taste = data.user_table.columns["taste"].copy()
    taste[-1] = "opera"
    model = SMALL.fit(dataclasses.replace(data, user_table=Table({"taste": taste})), Run(seed=1, threads=1))
    assert not model.users[-1].any()
    assert model.users[:-1].any(axis=1).all()


def test_user_table_distinguishes_users(dataset: Dataset) -> None:
    group = np.array([f"group {u % 4}" for u in range(len(dataset.users))], np.dtypes.StringDType())
    model = SMALL.fit(dataclasses.replace(dataset, user_table=Table({"group": group})), Run(seed=1, threads=1))
    assert np.abs(model.users).max() > 0
    np.testing.assert_array_equal(model.users[0], model.users[4])


def test_without_an_item_table_new_items_are_refused(dataset: Dataset) -> None:
    model = SMALL.fit(dataclasses.replace(dataset, item_table=None), Run(threads=1))
    assert dataset.item_table is not None
    with pytest.raises(DataError, match="no item table"):
        model.extend(dataset.item_table)
    with pytest.raises(ColumnError, match="genres"):
        dataclasses.replace(SMALL, columns=("genres",)).fit(dataclasses.replace(dataset, item_table=None))


def test_query_vectors_have_length_one_over_temperature(fitted: TwoTowerModel, dataset: Dataset) -> None:
    np.testing.assert_allclose(np.linalg.norm(fitted.items, axis=1), 1, rtol=1e-3)
    lengths = np.linalg.norm(fitted.embed_queries(dataset.queries()), axis=1)
    np.testing.assert_allclose(lengths, 1 / SMALL.temperature, rtol=1e-3)


def test_stops_by_patience(dataset: Dataset) -> None:
    model = dataclasses.replace(SMALL, patience=1, hidden_dim=0).fit(dataset, Run(threads=1))
    assert np.isfinite(model.score(dataset.queries())).all()
