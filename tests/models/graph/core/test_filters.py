"""Filters on the item graph: scores, contributions and kept weights are of one filter."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.data.dataset import Dataset
from leanrec.errors import DataError
from leanrec.models.graph.cheby_cf import ChebyCF
from leanrec.models.graph.core.filters import filter_bytes
from leanrec.models.graph.gf_cf import GFCF

MODELS = [ChebyCF(n_components=6), ChebyCF(n_components=0, order=4), GFCF(n_components=6), GFCF(n_components=0)]


@pytest.mark.parametrize("estimator", MODELS, ids=str)
def test_contributions_add_up_to_the_scores(dataset: Dataset, estimator: ChebyCF | GFCF) -> None:
    items, query = np.arange(len(dataset.items), dtype=np.int32), dataset.queries().block(3, 4)
    for top_k in (0, 7):
        model = dataclasses.replace(estimator, top_k=top_k).fit(dataset)
        sums = [explanation.weights.sum() for explanation in model.explain(query, items)]
        np.testing.assert_allclose(sums, model.score(query)[0], atol=1e-4)


@pytest.mark.parametrize("estimator", MODELS, ids=str)
def test_kept_weights_are_the_positive_responses_to_other_items(dataset: Dataset, estimator: ChebyCF | GFCF) -> None:
    by_graph = estimator.fit(dataset)
    by_weights = dataclasses.replace(estimator, top_k=len(dataset.items)).fit(dataset)
    assert by_graph.item_weights() is None
    units = sp.csr_array(np.eye(len(dataset.items), dtype=np.float32))
    responses = by_graph.apply_filter(units)
    np.fill_diagonal(responses, 0)
    np.testing.assert_allclose(by_weights.item_weights().toarray(), np.maximum(responses, 0), atol=1e-5)
    np.testing.assert_allclose(by_weights.apply_filter(units), np.maximum(responses, 0), atol=1e-5)


def test_a_model_of_both_or_of_neither_is_refused(dataset: Dataset) -> None:
    model = GFCF(n_components=4).fit(dataset)
    sparse = GFCF(n_components=4, top_k=5).fit(dataset)
    for wrong in (
        dataclasses.replace(model, graph=None),
        dataclasses.replace(model, weights=sparse.weights),
        dataclasses.replace(sparse, graph=model.graph),
        dataclasses.replace(sparse, settings=model.settings),
    ):
        with pytest.raises(DataError, match="GFCFModel must have weights where top_k is set, and its graph otherwise"):
            wrong.check_state()


def test_kept_weights_need_memory_of_their_own(dataset: Dataset) -> None:
    sizes = [filter_bytes(dataset.shape, 8, top_k) for top_k in (0, 5, 20)]
    assert sizes == sorted(set(sizes))
