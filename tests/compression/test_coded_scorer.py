"""What scorers over coded item vectors share."""

from typing import Any

import numpy as np
import pytest

from leanrec.compression import HalfCodec, compress_factors
from leanrec.compression.coded_scorer import sample_query_vectors
from leanrec.data.dataset import Dataset
from leanrec.kernels.topk.selection import top_k
from leanrec.models import get_model


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> Any:
    return get_model("pure_svd")(embedding_dim=8).fit(dataset)


def test_a_search_finds_the_best_scores(model: Any, dataset: Dataset) -> None:
    coded, queries = compress_factors(model, HalfCodec()), dataset.queries()
    items, scores, is_unknown = coded.search(queries, 5, seen=queries.history)
    expected, values = top_k(coded.score(queries), 5, seen=queries.history)
    np.testing.assert_array_equal(items, expected)
    np.testing.assert_allclose(scores, values, rtol=1e-5)
    assert not is_unknown.any()
    assert coded.search(queries.block(0, 0), 5)[0].shape == (0, 5)


def test_a_sample_of_queries_follows_the_seed(model: Any, dataset: Dataset) -> None:
    assert sample_query_vectors(model, None, 0) is None
    first, again = (sample_query_vectors(model, dataset, 3) for _ in range(2))
    assert first is not None
    assert again is not None
    assert first.shape == (len(dataset.users), 8)
    np.testing.assert_array_equal(first, again)
