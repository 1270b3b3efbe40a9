"""Fitted sequential models: encoding in batches, and explanations."""

import numpy as np
import pytest

from leanrec.data.dataset import Dataset
from leanrec.models.sequential.core import models
from leanrec.models.sequential.core.models import SequentialModel
from leanrec.models.sequential.sasrec import SASRec
from leanrec.run import Run


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> SequentialModel:
    return SASRec(embedding_dim=8, n_layers=1, max_length=6, epochs=2).fit(dataset, Run(seed=1, threads=1))


def test_small_batches_give_the_same_vectors(
    model: SequentialModel, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = dataset.queries()
    expected = model.embed_queries(queries)
    monkeypatch.setattr(models, "_BATCH_ROWS", 7)
    np.testing.assert_allclose(model.embed_queries(queries), expected, rtol=1e-4, atol=1e-5)


def test_explanation_is_the_drop_of_the_score_without_each_item(model: SequentialModel, dataset: Dataset) -> None:
    query = dataset.queries(np.array([2], np.int32))
    assert query.sequences is not None
    history = query.sequences[0][-6:]
    found = model.explain(query, np.array([5]))[0]
    assert sorted(found.items.tolist()) == sorted(set(history.tolist()))
    assert (np.diff(found.weights) <= 0).all()
