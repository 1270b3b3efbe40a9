"""Evaluation: against plain loops, in blocks, and telling what it could not judge."""

import dataclasses
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
from leanrec.evaluation import evaluate as module
from leanrec.evaluation.evaluate import Evaluation, evaluate
from leanrec.models.linear.ease import EASE, EASEModel
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.types import Candidates, Float32Array, Int32Array, Queries, empty_csr


@pytest.fixture(scope="module")
def parts() -> Split:
    return split(make_dataset(), "ratio", valid=0.1, test=0.25)


@pytest.fixture(scope="module")
def model(parts: Split) -> EASEModel:
    return EASE(l2=20.0).fit(parts.train, Run(threads=1))


@dataclasses.dataclass
class Spy:
    """Scores by a fixed order of items, the same for everybody, and notes how many asked at once."""

    order: np.ndarray
    asked: list[int] = dataclasses.field(default_factory=list)

    @property
    def n_items(self) -> int:
        return len(self.order)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        self.asked.append(len(queries))
        scores = np.broadcast_to(self.order.astype(np.float32), (len(queries), len(self.order)))
        return np.array(scores if items is None else scores[:, items])


class Knows(Spy):
    """The same, but only for askers with a history."""

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        return super().score(queries, items) * (np.diff(queries.history.indptr) > 0)[:, None].astype(np.float32)


def cases_of(truth: list[list[int]], history: list[list[int]], n_items: int = 6, **options: Any) -> EvaluationSet:
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
        dcg = sum(hit / math.log2(place + 2) for place, hit in enumerate(hits))
        ideal = sum(1 / math.log2(place + 2) for place in range(min(5, len(truth))))
        assert found.per_query["recall@5"][b] == pytest.approx(sum(hits) / len(truth))
        assert found.per_query["precision@5"][b] == pytest.approx(sum(hits) / 5)
        assert found.per_query["hit_rate@5"][b] == float(any(hits))
        assert found.per_query["ndcg@5"][b] == pytest.approx(dcg / ideal)
    assert found.means()["recall@5"] == pytest.approx(found.per_query["recall@5"].mean())


def test_beats_a_list_at_random(parts: Split, model: EASEModel) -> None:
    random = Spy(np.random.default_rng(0).permutation(40))
    ours, theirs = (evaluate(each, parts.test).means()["ndcg@10"] for each in (model, random))
    assert ours > theirs + 0.1


def test_streams_in_blocks_with_the_same_result(
    parts: Split, model: EASEModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(model, parts.test, train=parts.train, with_auc=True)
    monkeypatch.setattr(module, "_BLOCK", 7)
    blocks = evaluate(model, parts.test, train=parts.train, with_auc=True)
    assert list(blocks.per_query) == list(whole.per_query)
    for name, values in whole.per_query.items():
        np.testing.assert_allclose(blocks.per_query[name], values, atol=1e-9, err_msg=name)
    assert blocks.catalog == pytest.approx(whole.catalog)
    spy = Spy(np.arange(40))
    evaluate(spy, parts.test)
    assert max(spy.asked) == 7
    assert sum(spy.asked) == len(parts.test)


def test_seen_items_are_not_listed_unless_repeats_count() -> None:
    truth, history = [[5]], [[4, 5]]
    hidden = evaluate(Spy(np.arange(6)), cases_of(truth, history), k=(1,))
    assert hidden.means()["recall@1"] == 0
    significant = evaluate(Spy(np.arange(6)), cases_of(truth, history, allow_repeats=True), k=(1,))
    assert shown.means()["recall@1"] == 1


def test_k_beyond_the_catalogue_lists_everything_unseen() -> None:
    found = evaluate(Spy(np.arange(6)), cases_of([[0, 3]], [[5]]), k=(2, 50))
    assert found.means()["recall@50"] == 1
    assert found.means()["precision@50"] == 2 / 50
    assert found.means()["recall@2"] == 0.5
    assert found.catalog["coverage@50"] == pytest.approx(5 / 6)


def test_queries_without_an_answer_are_left_out_and_counted() -> None:
    found = evaluate(Spy(np.arange(6)), cases_of([[5], [], [0]], [[], [1], []]), k=(1,))
    assert (found.n_queries, found.n_excluded) == (2, 1)
    np.testing.assert_array_equal(found.per_query["recall@1"], [1, np.nan, 0])
    assert found.means()["recall@1"] == 0.5
    with pytest.raises(DataError, match="None of the cases has an answer"):
        evaluate(Spy(np.arange(6)), cases_of([[], []], [[], [1]]))


def test_says_what_the_fallback_answered_and_what_nobody_did() -> None:
    cases = cases_of([[0], [0], [0], [0]], [[1], [], [2], [3]])
    order = np.array([9, 1, 1, 1, 1, 2])
    alone = evaluate(Knows(order), cases, k=(1,))
    assert alone.fallback.tolist() == [False, True, False, False]
    assert (alone.fallback_share, alone.n_empty) == (0.25, 1)
    assert alone.means()["recall@1"] == 0.75
    helped = evaluate(Knows(order), cases, k=(1,), fallback=Spy(order))
    assert (helped.fallback_share, helped.n_empty) == (0.25, 0)
    assert helped.means()["recall@1"] == 1


def test_any_retriever_can_be_asked(parts: Split, model: EASEModel) -> None:
    by_scorer, by_retriever = evaluate(model, parts.test), evaluate(ExactRetriever(model), parts.test)
    assert by_scorer.means() == by_retriever.means()

    class Short:
        """Gives three items at most, whatever k is."""

        def retrieve(self, queries: Queries, k: int) -> Candidates:
            items = np.tile(np.array([5, 4, 3], np.int32), (len(queries), 1))
            return Candidates(items, np.ones(items.shape, np.float32))

    short = evaluate(Short(), cases_of([[3], [0]], [[], []]), k=(2, 10))
    assert short.means()["recall@10"] == 0.5
    assert short.means()["recall@2"] == 0
    assert short.fallback_share == 0


def test_auc_leaves_seen_items_out() -> None:
    # Of the unseen 0, 1, 2, 4, the answer 2 is above 0 and 1 and below 4.
    found = evaluate(Spy(np.arange(6)), cases_of([[2]], [[3, 5]]), with_auc=True)
    assert found.means()["auc"] == pytest.approx(2 / 3)


def test_grades_count_where_truth_has_them() -> None:
    cases = cases_of([[4, 5]], [[]])
    assert "graded_ndcg@10" not in evaluate(Spy(np.arange(6)), cases).per_query
    cases.ground_truth.data[:] = [3, 1]
    found = evaluate(Spy(np.arange(6)), cases, k=(2,))
    assert found.means()["ndcg@2"] == 1
    expected = (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3))
    assert found.means()["graded_ndcg@2"] == pytest.approx(expected)


def test_with_training_data_it_measures_variety_too(parts: Split, model: EASEModel) -> None:
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


def test_ratings_are_judged_where_the_model_predicts_them(parts: Split, model: EASEModel) -> None:
    class Rates(Spy):
        def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
            return np.full(len(items), 3.0, np.float32)

    found = evaluate(Rates(np.arange(40)), parts.test)
    assert parts.test.ratings is not None
    assert found.ratings is not None
    assert found.ratings.mae == pytest.approx(np.abs(parts.test.ratings.data - 3).mean(), rel=1e-6)
    assert evaluate(model, parts.test).ratings is None
    assert evaluate(Rates(np.arange(40)), dataclasses.replace(parts.test, ratings=None)).ratings is None


def test_same_seed_same_numbers_and_a_report_in_plain_numbers(parts: Split, model: EASEModel) -> None:
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


def test_refuses_what_cannot_be_asked(parts: Split, model: EASEModel) -> None:
    for k in ((), (0,), (10, -1), (2.5,)):
        with pytest.raises(SettingError, match="k must be one or more whole numbers"):
            evaluate(model, parts.test, k=k)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="a retriever brings its own"):
        evaluate(ExactRetriever(model), parts.test, fallback=model)
    with pytest.raises(SettingError, match="AUC needs the scores"):
        evaluate(ExactRetriever(model), parts.test, with_auc=True)
    with pytest.raises(DataError, match="The model scores 6, the cases hold 40"):
        evaluate(Spy(np.arange(6)), parts.test)


def test_no_case_at_all_is_refused() -> None:
    nobody = EvaluationSet(Queries(np.zeros(0, np.int32), empty_csr(0, 6)), empty_csr(0, 6))
    with pytest.raises(DataError, match="None of the cases"):
        evaluate(Spy(np.arange(6)), nobody)


def test_an_evaluation_knows_its_cases(parts: Split, model: EASEModel) -> None:
    found: Evaluation = evaluate(model, parts.test)
    assert found.fingerprint == parts.test.fingerprint != parts.valid.fingerprint
