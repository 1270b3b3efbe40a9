"""Content: the contract for each similarity, sparse and dense, and the definitions by slow twins."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import make_dataset
from contracts.estimator import EstimatorContract, OddDataContract
from leanrec import artifacts
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import BudgetError, ColumnError, DataError, SettingError
from leanrec.features.categorical import MultiLabelEncoder
from leanrec.features.pipeline import FeatureBlock, FeatureSpec
from leanrec.features.selection import FeatureSelector
from leanrec.features.text import TfIdf
from leanrec.models.content.content import Content, ContentModel, DenseContentModel, find_similar_items
from leanrec.protocols import Embedder, Explainable, Extendable
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.types import Queries, empty_csr

STRINGS = np.dtypes.StringDType()
METRICS = ("cosine", "euclidean", "dot")
BOTH = [Content(similarity=similarity, embedding_dim=d) for similarity in METRICS for d in (0, 12)]


class TestContent(EstimatorContract, OddDataContract):
    estimator = Content()


class TestContentEuclidean(EstimatorContract, OddDataContract):
    estimator = Content(similarity="euclidean")


class TestContentDot(EstimatorContract, OddDataContract):
    estimator = Content(similarity="dot")


class TestContentWithHalfLife(EstimatorContract, OddDataContract):
    estimator = Content(half_life=5.0)


class TestContentDense(EstimatorContract, OddDataContract):
    estimator = Content(embedding_dim=12)


class TestContentDenseEuclidean(EstimatorContract, OddDataContract):
    estimator = Content(embedding_dim=12, similarity="euclidean")


class TestContentTopics(EstimatorContract, OddDataContract):
    estimator = Content(text="nmf")


class TestContentEmbedding(EstimatorContract, OddDataContract):
    estimator = Content(text="embedding")
    # The artifact holds the table, 4 MB, and so does the fit.
    memory_slack = 32 * 2**20


class TestContentSelected(EstimatorContract, OddDataContract):
    estimator = Content(
        features=FeatureSpec(select=FeatureSelector(by="mutual-information", n_groups=4, max_features=30))
    )


def ask(items: list[int], n_items: int, weights: list[float] | None = None) -> Queries:
    history = empty_csr(1, n_items).tolil()
    history[0, items] = weights or [1.0] * len(items)
    return Queries(users=np.array([-1], np.int32), history=history.tocsr(), sequences=(np.array(items, np.int32),))


@pytest.mark.parametrize("estimator", BOTH, ids=str)
def test_score_is_the_metric_between_profile_and_item(estimator: Content, dataset: Dataset) -> None:
    model: Any = dataclasses.replace(estimator, weighting="none").fit(dataset)
    X = model.features.transform(dataset.item_table).toarray()
    if estimator.similarity == "cosine":
        X /= np.linalg.norm(X, axis=1, keepdims=True)
    profile = (2 * X[3] + X[8]) / 3
    slow = {
        "cosine": lambda x: profile @ x / np.linalg.norm(profile) / np.linalg.norm(x),
        "euclidean": lambda x: -(np.linalg.norm(profile - x) ** 2),
        "dot": lambda x: profile @ x,
    }[estimator.similarity]
    scores = model.score(ask([3, 8], len(X), [2.0, 1.0]))[0]
    np.testing.assert_allclose(scores, [slow(x) for x in X], rtol=1e-4, atol=1e-5)


def test_profile_is_of_this_user_alone(dataset: Dataset) -> None:
    """A common mistake is to average over the items of all users."""
    model = Content().fit(dataset)
    alone = model.score(ask([1], len(dataset.items)))
    np.testing.assert_array_equal(model.score(dataset.queries())[5:6], model.score(dataset.queries().block(5, 6)))
    # One item in the history: that item is the best match, with cosine 1.
    assert alone[0].argmax() == 1
    assert alone[0, 1] == pytest.approx(1.0, abs=1e-5)


def test_half_life_halves_the_weight_of_earlier_interactions(dataset: Dataset) -> None:
    model = Content(half_life=2.0, weighting="binary", similarity="dot").fit(dataset)
    X = model.features.transform(dataset.item_table).toarray()
    weights = np.array([0.5, 0.5**0.5, 1.0])
    expected = X @ (weights @ X[[7, 2, 5]]) / weights.sum()
    np.testing.assert_allclose(model.score(ask([7, 2, 5], len(X)))[0], expected, rtol=1e-4, atol=1e-6)


def test_half_life_counts_an_item_from_its_last_time(dataset: Dataset) -> None:
    model = Content(half_life=1.0).fit(dataset)
    n = len(dataset.items)
    once = ask([4, 9], n)
    again = dataclasses.replace(once, sequences=(np.array([9, 4, 9], np.int32),))
    np.testing.assert_allclose(model.score(once), model.score(again), rtol=1e-5)


def test_half_life_without_an_order_counts_all_alike(dataset: Dataset) -> None:
    queries = dataclasses.replace(dataset.queries(), sequences=None)
    np.testing.assert_array_equal(
        Content(half_life=1.0).fit(dataset).score(queries), Content().fit(dataset).score(queries)
    )


@pytest.mark.parametrize("estimator", BOTH, ids=str)
def test_explanation_sums_to_the_score(estimator: Content, dataset: Dataset) -> None:
    model: Any = estimator.fit(dataset)
    assert isinstance(model, Explainable)
    for user in (0, 7):
        queries = dataset.queries().block(user, user + 1)
        for item in (2, 11):
            explanation = model.explain(queries, np.array([item]))[0]
            assert explanation.reason == "content"
            assert explanation.weights.sum() == pytest.approx(model.score(queries)[0, item], abs=1e-4)


@pytest.mark.parametrize("estimator", [Content(), Content(embedding_dim=20)], ids=str)
def test_explanation_names_matching_features(estimator: Content, dataset: Dataset) -> None:
    model: Any = estimator.fit(dataset)
    explanation = model.explain(ask([0, 4, 8], len(dataset.items)), np.array([12]))[0]
    assert "genres: space" in explanation.features
    assert not any("romance" in name for name in explanation.features)


def test_explanation_of_an_empty_history_is_empty(dataset: Dataset) -> None:
    for estimator in BOTH:
        empty = Queries(users=np.array([-1], np.int32), history=empty_csr(1, len(dataset.items)))
        (explanation,) = estimator.fit(dataset).explain(empty, np.array([3]))
        assert len(explanation.items) == 0
        assert explanation.features == ()


def test_claims_to_embed_only_where_it_does(dataset: Dataset) -> None:
    assert not isinstance(Content().fit(dataset), Embedder)
    for similarity in METRICS:
        assert isinstance(Content(similarity=similarity, embedding_dim=8).fit(dataset), Embedder)


@pytest.mark.parametrize("estimator", BOTH, ids=str)
def test_new_item_scores_as_its_twin(estimator: Content, dataset: Dataset) -> None:
    model: Any = estimator.fit(dataset)
    assert isinstance(model, Extendable)
    assert dataset.item_table is not None
    larger: Any = model.extend(dataset.item_table.take(np.array([0, 5])))
    scores = larger.score(ask([1, 4], larger.n_items))[0]
    np.testing.assert_allclose(scores[-2:], scores[[0, 5]], rtol=1e-5, atol=1e-6)
    assert model.n_items == len(dataset.items)
    assert larger.similar(np.array([0], np.int32), 1).items[0, 0] == len(dataset.items)


def test_new_item_may_lack_columns_but_not_all(dataset: Dataset) -> None:
    model = Content().fit(dataset)
    larger = model.extend(Table({"genres": np.array(["space"], STRINGS)}))
    scores = larger.score(ask([0, 4], larger.n_items))[0]
    assert scores[-1] > scores[1]
    with pytest.raises(ColumnError, match="must have at least one of the columns title"):
        model.extend(Table({"color": np.array(["red"], STRINGS)}))


@pytest.mark.parametrize("estimator", BOTH, ids=str)
def test_item_without_content_is_recommended_to_no_user(estimator: Content, dataset: Dataset) -> None:
    assert dataset.item_table is not None
    model: Any = estimator.fit(dataset)
    larger: Any = model.extend(dataset.item_table.take(np.array([-1])))
    best = ExactRetriever(larger).retrieve(ask([0, 4], larger.n_items), 5).items
    assert len(dataset.items) not in best
    unknown = ExactRetriever(larger).retrieve(ask([len(dataset.items)], larger.n_items), 5)
    assert unknown.fallback is not None
    assert unknown.fallback.all()


def test_similar_items_share_the_genre(dataset: Dataset) -> None:
    for estimator in BOTH:
        model: Any = estimator.fit(dataset)
        similar = model.similar(np.array([0, 1], np.int32), 3)
        assert (similar.items % 4 == np.array([[0], [1]])).all()
        assert (np.diff(similar.scores, axis=1) <= 0).all()


def test_needs_an_item_table(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="must have an item table"):
        Content().fit(dataclasses.replace(dataset, item_table=None))


def test_error_gives_the_reason_why_no_column_is_usable(dataset: Dataset) -> None:
    table = Table({"item_id": 100.0 + np.arange(len(dataset.items))})
    with pytest.raises(DataError, match="item_id: its name is that of an id"):
        Content().fit(dataclasses.replace(dataset, item_table=table))


def test_looks_at_the_size_of_the_texts_before_it_starts(dataset: Dataset) -> None:
    long = Table({"text": np.array([f"w{i} " * 100_000 for i in range(len(dataset.items))], STRINGS)})
    with pytest.raises(BudgetError, match="Features of 40 rows"):
        Content().fit(dataclasses.replace(dataset, item_table=long), Run(budget=Budget(memory=40 * 2**20)))


def test_works_with_other_scripts_and_few_items() -> None:
    texts = ["机器学习入门教程", "机器学习实战", "意大利面的做法", "面包的做法", "Deep learning für Anfänger"]
    small = make_dataset(n_users=3, n_items=5, per_user=2)
    data = dataclasses.replace(small, item_table=Table({"content": np.array(texts, STRINGS)}))
    model = Content().fit(data)
    scores = model.score(ask([0], 5))[0]
    assert scores[1] > 0.2
    assert scores[4] == 0
    assert "content: 机器" in model.explain(ask([0], 5), np.array([1]))[0].features


def test_columns_and_text_choose_the_features(dataset: Dataset) -> None:
    names = Content(columns=("genres",)).fit(dataset).features.names
    assert set(names) == {
        "genres: space",
        "genres: romance",
        "genres: crime",
        "genres: music",
        "genres: drama",
    }
    hashed = Content(columns=("title",), text="hashing").fit(dataset)
    assert hashed.items.shape[1] == 2**14


def test_features_in_full(dataset: Dataset, tmp_path: Any) -> None:
    spec = FeatureSpec(
        blocks=(FeatureBlock("genres", MultiLabelEncoder(), 2.0), FeatureBlock("description", TfIdf(ngrams=2), 0.5))
    )
    model = Content(features=spec, similarity="dot").fit(dataset)
    again = artifacts.load(artifacts.save(model, tmp_path / "m"), ContentModel)
    assert again.settings.features == spec
    lengths = np.sqrt(model.items.multiply(model.items).sum(axis=1))
    np.testing.assert_allclose(lengths, np.hypot(2.0, 0.5), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"similarity": "manhattan"}, "similarity must be one of cosine, euclidean, dot"),
        ({"half_life": -1.0}, "half_life must be a number of at least 0"),
        ({"embedding_dim": -1}, "embedding_dim must be a number of at least 0"),
        ({"text": "bert"}, "text must be one of tfidf"),
        ({"features": FeatureSpec(), "columns": ("title",)}, "must not be set where features are given"),
    ],
)
def test_refuses_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Content(**settings)


def test_one_row_vocabulary() -> None:
    data = make_dataset(n_users=1, n_items=1, per_user=1)
    assert isinstance(data.items, Vocabulary)
    table = Table({"title": np.array(["only"], STRINGS), "text": np.array(["a tale of one"], STRINGS)})
    with pytest.raises(DataError, match="every filled cell is the same"):
        Content().fit(dataclasses.replace(data, items=Vocabulary(id_array([1])), item_table=table))


def test_dense_model_has_no_more_dimensions_than_the_features(dataset: Dataset) -> None:
    model = Content(embedding_dim=500).fit(dataset)
    assert isinstance(model, DenseContentModel)
    assert model.items.shape[1] <= len(dataset.items)


_ROWS = np.round(np.random.default_rng(2).normal(size=(12, 5)), 1).astype(np.float32)
_ROWS[7] = 0


@pytest.mark.parametrize("similarity", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("matrix", [_ROWS, sp.csr_array(_ROWS)], ids=["dense", "sparse"])
def test_similar_items_are_those_of_the_highest_score(matrix: Any, similarity: str) -> None:
    found = find_similar_items(matrix, np.array([3, 0], np.int32), 4, similarity=similarity)
    for row, item in enumerate((3, 0)):
        a = _ROWS[item].astype(np.float64)
        scores = {}
        for other, b in enumerate(_ROWS.astype(np.float64)):
            if other not in {item, 7}:
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                scores[other] = {"cosine": cosine, "dot": a @ b, "euclidean": -np.linalg.norm(a - b)}[similarity]
        best = sorted(scores, key=lambda other: -scores[other])[:4]
        assert found.items[row].tolist() == best
        np.testing.assert_allclose(found.scores[row], [scores[other] for other in best], rtol=1e-4)


def test_fewer_similar_items_than_asked_are_padded() -> None:
    found = find_similar_items(_ROWS, np.array([0], np.int32), 20)
    assert (found.items[0, :10] >= 0).all()
    assert (found.items[0, 10:] == -1).all()
    assert find_similar_items(_ROWS, np.zeros(0, np.int32), 3).items.shape == (0, 3)


def test_similar_items_refuse_wrong_arguments() -> None:
    with pytest.raises(SettingError, match="similarity must be one of"):
        find_similar_items(_ROWS, np.array([0], np.int32), 3, similarity="manhattan")
    with pytest.raises(SettingError, match="k must be a number of at least 0"):
        find_similar_items(_ROWS, np.array([0], np.int32), -1)
