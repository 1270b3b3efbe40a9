"""Fitted CTR models: scores in blocks, and predictions for rows of the same fields only."""

import numpy as np
import pytest

from contracts.ctr import SPEC, crossed_table
from leanrec.data.dataset import Dataset
from leanrec.errors import DataError
from leanrec.models.ctr.core import models
from leanrec.models.ctr.deepfm import DeepFM
from leanrec.run import Run

SMALL = DeepFM(embedding_dim=4, hidden_sizes=(8,), epochs=1, batch_size=256)


def test_small_blocks_give_the_same_scores(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = SMALL.fit(dataset, Run(seed=1, threads=1))
    queries = dataset.queries(np.arange(3, dtype=np.int32))
    expected = model.score(queries)
    monkeypatch.setattr(models, "_BLOCK", 7)
    np.testing.assert_allclose(model.score(queries), expected, rtol=1e-4, atol=1e-5)
    some = np.array([4, 2, 9], np.int32)
    np.testing.assert_allclose(model.score(queries, some), expected[:, some], rtol=1e-4, atol=1e-5)


def test_rows_of_other_fields_are_refused() -> None:
    examples = SPEC.fit(crossed_table(60)).encode_labeled(crossed_table(60))
    model = SMALL.fit_rows(examples, Run(seed=1, threads=1))
    assert model.predict(examples.rows.take(np.zeros(0, np.int64))).shape == (0, 1)
    with pytest.raises(DataError, match="fields of the fit"):
        model.predict(examples.rows.hstack(examples.rows))
