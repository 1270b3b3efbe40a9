"""Evaluation against plain loops, in blocks, and with queries that cannot be evaluated."""

import dataclasses
import importlib
import json
import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import make_dataset
from leanrec.callbacks import ProgressBar
from leanrec.data.splits.split import EvaluationSet, Split, split
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.evaluate import Evaluation, evaluate, warn_small_sample
from leanrec.models.linear.ease import EASE, EASEModel
from leanrec.protocols import Context
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.types import Candidates, Float32Array, Int32Array, Queries, empty_csr

module = importlib.import_module("leanrec.evaluation.evaluate")


@pytest.fixture(scope="module")
def parts() -> Split:
    return split(make_dataset(), "ratio", valid=0.1, test=0.25)


@pytest.fixture(scope="module")
def model(parts: Split) -> EASEModel:
    return EASE(l2=20.0).fit(parts.train, Run(threads=1))


@dataclasses.dataclass
class Spy:
    """Scores items by a fixed order, the same for all users, and records the sizes of batches."""

    order: np.ndarray
    batch_sizes: list[int] = dataclasses.field(default_factory=list)

    @property
    def n_items(self) -> int:
        return len(self.order)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        self.batch_sizes.append(len(queries))
        scores = np.broadcast_to(self.order.astype(np.float32), (len(queries), len(self.order)))
        return np.array(scores if items is None else scores[:, items])


class NeedsHistory(Spy):
    """The same, but with scores of zero for users without a history."""

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        return super().score(queries, items) * (np.diff(queries.history.indptr) > 0)[:, None].astype(np.float32)


def make_evaluation_set(
    truth: list[list[int]], history: list[list[int]], n_items: int = 6, **options: Any
) -> EvaluationSet:
    def matrix(rows: list[list[int]]) -> Any:
        dense = np.zeros((len(rows), n_items), np.float32)
        for b, row in enumerate(rows):
            dense[b, row] = 1
        return sp.csr_array(dense)

    users = np.full(len(truth), -1, np.int32)
    return EvaluationSet(Queries(users, matrix(history)), matrix(truth), **options)


def test_agrees_with_plain_loops(parts: Split, model: EASEModel) -> None:
    cases = parts.test
    found = evaluate(model, cases, k=(5,))
    scores = model.score(cases.queries)
    for b in range(len(cases)):
        seen = set(cases.queries.seen[[b]].indices.tolist()) if cases.queries.seen is not None else set()
        truth = set(cases.ground_truth[[b]].indices.tolist())
        best = [i for i in sorted(range(40), key=lambda i: (-scores[b, i], i)) if i not in seen][:5]
        hits = [item in truth for item in best]
        dcg = sum(hit / math.log2(position + 2) for position, hit in enumerate(hits))
        ideal = sum(1 / math.log2(position + 2) for position in range(min(5, len(truth))))
        assert found.per_query["recall@5"][b] == pytest.approx(sum(hits) / len(truth))
        assert found.per_query["precision@5"][b] == pytest.approx(sum(hits) / 5)
        assert found.per_query["hit_rate@5"][b] == float(any(hits))
        assert found.per_query["ndcg@5"][b] == pytest.approx(dcg / ideal)
    assert found.means()["recall@5"] == pytest.approx(found.per_query["recall@5"].mean())


def test_a_model_is_better_than_random_lists(parts: Split, model: EASEModel) -> None:
    random = Spy(np.random.default_rng(0).permutation(40))
    ours, theirs = (evaluate(each, parts.test).means()["ndcg@10"] for each in (model, random))
    assert ours > theirs + 0.1


def test_blocks_give_the_same_result(parts: Split, model: EASEModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(model, parts.test, train=parts.train, with_auc=True)
    monkeypatch.setattr(module, "_BLOCK_SIZE", 7)
    blocks = evaluate(model, parts.test, train=parts.train, with_auc=True)
    assert list(blocks.per_query) == list(whole.per_query)
    for name, values in whole.per_query.items():
        np.testing.assert_allclose(blocks.per_query[name], values, atol=1e-9, err_msg=name)
    assert blocks.catalog == pytest.approx(whole.catalog)
    spy = Spy(np.arange(40))
    evaluate(spy, parts.test)
    assert max(spy.batch_sizes) == 7
    assert sum(spy.batch_sizes) == len(parts.test)


def test_seen_items_are_excluded_unless_repeats_are_allowed() -> None:
    truth, history = [[5]], [[4, 5]]
    hidden = evaluate(Spy(np.arange(6)), make_evaluation_set(truth, history), k=(1,))
    assert hidden.means()["recall@1"] == 0
    shown = evaluate(Spy(np.arange(6)), make_evaluation_set(truth, history, allow_repeats=True), k=(1,))
    assert shown.means()["recall@1"] == 1


def test_a_cutoff_above_the_catalog_size_includes_every_unseen_item() -> None:
    found = evaluate(Spy(np.arange(6)), make_evaluation_set([[0, 3]], [[5]]), k=(2, 50))
    assert found.means()["recall@50"] == 1
    assert found.means()["precision@50"] == 2 / 50
    assert found.means()["recall@2"] == 0.5
    assert found.catalog["coverage@50"] == pytest.approx(5 / 6)


def test_queries_without_relevant_items_are_excluded_and_counted() -> None:
    found = evaluate(Spy(np.arange(6)), make_evaluation_set([[5], [], [0]], [[], [1], []]), k=(1,))
    assert (found.n_queries, found.n_excluded) == (2, 1)
    np.testing.assert_array_equal(found.per_query["recall@1"], [1, np.nan, 0])
    assert found.means()["recall@1"] == 0.5
    with pytest.raises(DataError, match="No query has a relevant item"):
        evaluate(Spy(np.arange(6)), make_evaluation_set([[], []], [[], [1]]))


def test_fallback_answers_and_empty_lists_are_counted() -> None:
    cases = make_evaluation_set([[0], [0], [0], [0]], [[1], [], [2], [3]])
    order = np.array([9, 1, 1, 1, 1, 2])
    alone = evaluate(NeedsHistory(order), cases, k=(1,))
    assert alone.fallback.tolist() == [False, True, False, False]
    assert (alone.fallback_share, alone.n_empty) == (0.25, 1)
    assert alone.means()["recall@1"] == 0.75
    helped = evaluate(NeedsHistory(order), cases, k=(1,), fallback=Spy(order))
    assert (helped.fallback_share, helped.n_empty) == (0.25, 0)
    assert helped.means()["recall@1"] == 1


def test_a_retriever_can_be_evaluated(parts: Split, model: EASEModel) -> None:
    by_scorer, by_retriever = evaluate(model, parts.test), evaluate(ExactRetriever(model), parts.test)
    assert by_scorer.means() == by_retriever.means()

    class Short:
        """Returns at most three items, whatever k is."""

        def retrieve(self, queries: Queries, k: int, context: Context | None = None) -> Candidates:
            items = np.tile(np.array([5, 4, 3], np.int32), (len(queries), 1))
            return Candidates(items, np.ones(items.shape, np.float32))

    short = evaluate(Short(), make_evaluation_set([[3], [0]], [[], []]), k=(2, 10))
    assert short.means()["recall@10"] == 0.5
    assert short.means()["recall@2"] == 0
    assert short.fallback_share == 0


def test_auc_excludes_seen_items() -> None:
    # Among the unseen 0, 1, 2, 4, the relevant item 2 is above 0 and 1 and below 4.
    found = evaluate(Spy(np.arange(6)), make_evaluation_set([[2]], [[3, 5]]), with_auc=True)
    assert found.means()["auc"] == pytest.approx(2 / 3)


def test_graded_ndcg_is_computed_where_weights_differ() -> None:
    cases = make_evaluation_set([[4, 5]], [[]])
    assert "graded_ndcg@10" not in evaluate(Spy(np.arange(6)), cases).per_query
    cases.ground_truth.data[:] = [3, 1]
    found = evaluate(Spy(np.arange(6)), cases, k=(2,))
    assert found.means()["ndcg@2"] == 1
    expected = (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
    assert found.means()["graded_ndcg@2"] == pytest.approx(expected)


def test_training_data_add_beyond_accuracy_metrics(parts: Split, model: EASEModel) -> None:
    found = evaluate(model, parts.test, k=(3, 5), train=parts.train)
    for name in ("novelty@3", "popularity@5", "diversity@5"):
        assert np.isfinite(found.per_query[name]).all()
    assert set(found.catalog) == {f"{name}@{k}" for name in ("coverage", "gini", "popularity_lift") for k in (3, 5)}
    top = evaluate(Spy(np.bincount(parts.train.events.item, minlength=40)), parts.test, k=(5,), train=parts.train)
    assert top.catalog["popularity_lift@5"] > found.catalog["popularity_lift@5"]
    assert top.catalog["gini@5"] > found.catalog["gini@5"]
    assert top.means()["novelty@5"] < found.means()["novelty@5"]
    by_content = evaluate(model, parts.test, k=(5,), train=parts.train, features=sp.csr_array(np.ones((40, 1))))
    assert by_content.means()["diversity@5"] == pytest.approx(0)


def test_ratings_are_evaluated_where_the_model_predicts_them(parts: Split, model: EASEModel) -> None:
    class Rates(Spy):
        def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
            return np.full(len(items), 3.0, np.float32)

    found = evaluate(Rates(np.arange(40)), parts.test)
    assert parts.test.ratings is not None
    assert found.ratings is not None
    assert found.ratings.mae == pytest.approx(np.abs(parts.test.ratings.data - 3).mean(), rel=1e-6)
    assert evaluate(model, parts.test).ratings is None
    assert evaluate(Rates(np.arange(40)), dataclasses.replace(parts.test, ratings=None)).ratings is None


def test_the_dictionary_is_reproducible_and_survives_json(parts: Split, model: EASEModel) -> None:
    first, again = (evaluate(model, parts.test, train=parts.train, run=Run(seed=5)).to_dict() for _ in range(2))
    assert first == again
    report = json.loads(json.dumps(first))
    assert report["n_queries"] == len(parts.test)
    interval = report["metrics"]["ndcg@10"]
    assert interval["low"] < interval["mean"] < interval["high"]


def test_a_progress_bar_changes_nothing(parts: Split, model: EASEModel) -> None:
    shown, quiet = (
        evaluate(model, parts.test, run=Run(callbacks=(ProgressBar(),) if bar else ())) for bar in (True, False)
    )
    assert shown.means() == quiet.means()


def test_invalid_arguments_are_refused(parts: Split, model: EASEModel) -> None:
    for k in ((), (0,), (10, -1), (2.5,)):
        with pytest.raises(SettingError, match="k must be one or more whole numbers"):
            evaluate(model, parts.test, k=k)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="a retriever has its own"):
        evaluate(ExactRetriever(model), parts.test, fallback=model)
    with pytest.raises(SettingError, match="AUC needs the scores"):
        evaluate(ExactRetriever(model), parts.test, with_auc=True)
    with pytest.raises(DataError, match="The model scores 6, the evaluation set has 40"):
        evaluate(Spy(np.arange(6)), parts.test)


def test_an_empty_evaluation_set_is_refused() -> None:
    empty = EvaluationSet(Queries(np.zeros(0, np.int32), empty_csr(0, 6)), empty_csr(0, 6))
    with pytest.raises(DataError, match="No query has"):
        evaluate(Spy(np.arange(6)), empty)


def test_an_evaluation_has_the_fingerprint_of_its_evaluation_set(parts: Split, model: EASEModel) -> None:
    found: Evaluation = evaluate(model, parts.test)
    assert found.fingerprint == parts.test.fingerprint != parts.valid.fingerprint


def test_a_small_sample_gets_a_warning(parts: Split) -> None:
    assert warn_small_sample("test", make_evaluation_set([[0], []], [[], []])) == (
        "The test part holds 1 query: means over fewer than 30 are not reliable."
    )
    assert warn_small_sample("test", parts.test) == ""
