"""Similar items by the slow road."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.errors import SettingError
from leanrec.features.similar import similar_items

DENSE = np.round(np.random.default_rng(2).normal(size=(12, 5)), 1).astype(np.float32)
DENSE[7] = 0


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("matrix", [DENSE, sp.csr_array(DENSE)], ids=["dense", "sparse"])
def test_finds_the_nearest(matrix: Any, metric: str) -> None:
    found = similar_items(matrix, np.array([3, 0], np.int32), 4, metric=metric)
    for row, item in enumerate((3, 0)):
        a = DENSE[item].astype(np.float64)
        scores = {}
        for other, b in enumerate(DENSE.astype(np.float64)):
            if other not in {item, 7}:
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                scores[other] = {"cosine": cosine, "dot": a @ b, "euclidean": -np.linalg.norm(a - b)}[metric]
        best = sorted(scores, key=lambda other: -scores[other])[:4]
        assert found.items[row].tolist() == best
        np.testing.assert_allclose(found.scores[row], [scores[other] for other in best], rtol=1e-4)


def test_more_than_there_are_leaves_the_end_empty() -> None:
    found = similar_items(DENSE, np.array([0], np.int32), 20)
    assert (found.items[0, :10] >= 0).all()
    assert (found.items[0, 10:] == -1).all()
    assert similar_items(DENSE, np.zeros(0, np.int32), 3).items.shape == (0, 3)


def test_refuses_wrong_settings() -> None:
    with pytest.raises(SettingError, match="metric must be one of"):
        similar_items(DENSE, np.array([0], np.int32), 3, metric="manhattan")
    with pytest.raises(SettingError, match="k must be a number of at least 0"):
        similar_items(DENSE, np.array([0], np.int32), -1)
