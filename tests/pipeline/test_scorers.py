"""Wrapping scorers and the thread settings of a single query."""

import threading
from typing import Any

import numba
import numpy as np
import pytest
import threadpoolctl

from contracts.updatable import grow
from contracts.wrapper import SearchingScorer, WrapperContract, widen_queries
from leanrec.data.dataset import Dataset
from leanrec.kernels.topk.selection import top_k
from leanrec.models import get_model
from leanrec.pipeline.scorers import ConstantScores, PaddedScorer, pad_scorer, single_query
from leanrec.protocols import Scorer, Updatable
from leanrec.types import Queries, empty_csr


class TestPaddedScorer(WrapperContract):
    n_new = 3

    def wrap(self, scorer: Scorer) -> Any:
        return pad_scorer(scorer, scorer.n_items + self.n_new)

    def test_new_items_come_last(self, model: Any, queries: Queries) -> None:
        scores = self.wrap(model).score(queries)
        known, new = scores[:, : model.n_items], scores[:, model.n_items :]
        personal = known.max(axis=1) > known.min(axis=1)
        assert (new[personal] == known[personal].min(axis=1, initial=0)[:, None] - 1).all()


@pytest.mark.parametrize("n_allowed", [0, 2, 39, 43])
def test_new_items_are_listed_after_the_known_ones_that_may_be(dataset: Dataset, n_allowed: int) -> None:
    model = SearchingScorer(get_model("pure_svd")().fit(dataset))
    padded = pad_scorer(model, 43)
    queries = widen_queries(dataset.queries(), 43)
    allowed = np.arange(43) >= 43 - n_allowed
    for seen in (None, queries.history):
        items, scores, _ = padded.search(queries, 41, seen=seen, allowed=allowed)  # type: ignore[attr-defined]  # a Searcher
        expected, values = top_k(padded.score(queries), 41, seen=seen, allowed=allowed)
        np.testing.assert_array_equal(items, expected)
        np.testing.assert_allclose(scores, values, rtol=1e-6)


class TestPaddedByNothing(WrapperContract):
    def wrap(self, scorer: Scorer) -> Any:
        return pad_scorer(scorer, scorer.n_items)

    def test_is_the_scorer_itself(self, model: Any) -> None:
        assert self.wrap(model) is model


def test_a_padded_scorer_of_no_items_gives_equal_scores() -> None:
    padded = pad_scorer(ConstantScores(np.zeros((1, 0), np.float32)), 2)
    assert padded.score(Queries(np.array([-1], np.int32), empty_csr(1, 2))).tolist() == [[0.0, 0.0]]


def test_wrapper_classes_are_shared(dataset: Dataset) -> None:
    models = [get_model("ease")(l2=l2).fit(dataset) for l2 in (10.0, 20.0)]
    one, two = (type(pad_scorer(model, 50)) for model in models)
    assert one is two
    assert issubclass(one, PaddedScorer)


@pytest.mark.parametrize("n_new", [0, 2])
def test_an_update_knows_the_items_of_the_data_and_pads_the_others(dataset: Dataset, n_new: int) -> None:
    padded = pad_scorer(get_model("item_knn")().fit(dataset), 43)
    assert isinstance(padded, Updatable)
    grown = grow(dataset, 1, 300, n_new_items=n_new)
    updated = padded.update(grown)
    assert updated.n_items == 43
    known = get_model("item_knn")().fit(grown).score(grown.queries())
    scores = updated.score(widen_queries(grown.queries(), 43))
    np.testing.assert_allclose(scores[:, : 40 + n_new], known, rtol=1e-6)


def test_constant_scores_are_the_same_for_every_query(dataset: Dataset) -> None:
    scorer = ConstantScores(np.arange(40, dtype=np.float32)[None, :])
    query = widen_queries(dataset.queries().block(0, 1), 40)
    assert scorer.n_items == 40
    assert scorer.score(query)[0, 5] == 5
    assert scorer.score(query, np.array([7, 3], np.int32)).tolist() == [[7.0, 3.0]]


def test_a_query_holds_blas_to_one_thread_and_restores_the_number() -> None:
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = _count_blas_threads()
        with single_query():
            with single_query():  # a list is made of several queries
                assert _count_blas_threads() == [1] * len(before)
            assert _count_blas_threads() == [1] * len(before)
        assert _count_blas_threads() == before


def _count_blas_threads() -> list[int]:
    return [each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]


def test_a_single_query_uses_one_kernel_thread_and_restores_the_number() -> None:
    before = numba.get_num_threads()
    with single_query():
        assert numba.get_num_threads() == 1
    assert numba.get_num_threads() == before


def test_queries_take_turns_where_the_threading_layer_is_unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba, "threading_layer", lambda: "workqueue")
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with single_query():
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
