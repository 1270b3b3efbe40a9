"""Wrapping scorers."""

from typing import Any

import numpy as np
import pytest

from contracts.updatable import grow
from contracts.wrapper import SearchingScorer, WrapperContract, widen_queries
from leanrec.data.dataset import Dataset
from leanrec.kernels.topk.selection import top_k
from leanrec.models import get_model
from leanrec.pipeline.scorers import ConstantScores, PaddedScorer, pad_scorer
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
