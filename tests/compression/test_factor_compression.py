"""The method that codes the tables of a model of embeddings."""

from typing import Any

import numpy as np
import pytest

from leanrec.compression.factor_compression import FactorCompression
from leanrec.compression.methods import CompressionMethod, count_parts
from leanrec.compression.vectors.half import HalfCodec
from leanrec.compression.vectors.product import ProductCodec
from leanrec.compression.vectors.scalar import ScalarCodec
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models import get_model
from leanrec.run import Run

RUN = Run(seed=3, threads=1)
METHODS = [
    FactorCompression(HalfCodec()),
    FactorCompression(ScalarCodec(4)),
    FactorCompression(ScalarCodec(2), 1),
    FactorCompression(ProductCodec(4), 1),
]


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> Any:
    return get_model("ials")(embedding_dim=8, epochs=4).fit(dataset, RUN)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_the_bytes_are_known_before(model: Any, dataset: Dataset, method: FactorCompression) -> None:
    assert isinstance(method, CompressionMethod)
    smaller = method.compress(model, dataset, RUN)
    size = sum(count_parts(smaller).values())
    assert size <= method.estimate_bytes(model) <= size + 64 + 8 * 8
    scores, others = model.score(dataset.queries()), smaller.score(dataset.queries())
    assert np.corrcoef(scores.ravel(), others.ravel())[0, 1] > 0.7
    again = method.compress(model, dataset, RUN)
    np.testing.assert_array_equal(again.score(dataset.queries()), others)


def test_only_what_can_be_refitted_is_refined(model: Any, dataset: Dataset) -> None:
    assert [each.rounds for each in FactorCompression(ScalarCodec(2)).refine(model)] == [1, 3]
    assert FactorCompression(ScalarCodec(2), 1).refine(model) == ()
    assert FactorCompression(HalfCodec()).refine(model) == ()
    svd = get_model("pure_svd")(embedding_dim=8).fit(dataset, RUN)
    assert FactorCompression(ScalarCodec(2)).refine(svd) == ()


def test_a_refit_lowers_the_loss_of_the_fit(model: Any, dataset: Dataset) -> None:
    target = (dataset.interactions.toarray() > 0).astype(np.float32)
    errors = []
    for rounds in (0, 3):
        smaller = FactorCompression(ScalarCodec(1), rounds).compress(model, dataset, RUN)
        scores = smaller.score(dataset.queries())
        weights = target + model.settings.unobserved_weight
        errors.append(float((weights * (scores - target) ** 2).sum()))
    assert errors[1] < errors[0]


def test_a_model_without_embeddings_is_refused(dataset: Dataset) -> None:
    with pytest.raises(SettingError, match="must score by item embeddings"):
        FactorCompression(ScalarCodec(4)).compress(get_model("ease")().fit(dataset), dataset)
    with pytest.raises(SettingError, match="rounds"):
        FactorCompression(ScalarCodec(4), -1)
