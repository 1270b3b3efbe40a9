"""Codes that are refitted to the data."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import make_dataset
from contracts.fitting import fit_once
from leanrec.compression import AxesCodec, HalfCodec, ScalarCodec, compress_factors, refit_factors
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models import get_model
from leanrec.run import Run

_RUN = Run(seed=3, threads=1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(120, 60, 9)


@pytest.fixture(scope="module")
def model(data: Dataset) -> Any:
    return fit_once(get_model("ials")(embedding_dim=24, relaxation=1.0), data, _RUN)


def measure_loss(compressed: Any, data: Dataset) -> float:
    """The loss of the fit with users solved against the decoded items."""
    settings, V = compressed.settings, compressed.embed_items()
    W = compressed.embed_queries(data.queries())
    X = settings._prepare_weights(data.interactions)
    scores = W @ V.T
    observed = (X.toarray() * (scores - 1) ** 2).sum() + settings.unobserved_weight * (scores**2).sum()
    users, items = settings._ridge(X), settings._ridge(sp.csr_array(X.T))
    return float(observed + (users * (W**2).sum(axis=1)).sum() + (items * (V**2).sum(axis=1)).sum())


@pytest.mark.parametrize(
    "codec",
    [ScalarCodec(bits=1), ScalarCodec(bits=2, balanced=True), AxesCodec(ScalarCodec(bits=2), n_axes=17)],
    ids=str,
)
def test_lowers_the_loss_of_the_fit(codec: Any, model: Any, data: Dataset) -> None:
    before = measure_loss(compress_factors(model, codec, seed=3), data)
    after = refit_factors(model, codec, data, run=_RUN)
    assert measure_loss(after, data) < 0.997 * before
    assert measure_loss(model_as_compressed(model), data) < measure_loss(after, data)


def model_as_compressed(model: Any) -> Any:
    return compress_factors(model, HalfCodec())


def test_the_seed_decides_the_codes(model: Any, data: Dataset) -> None:
    one, other = (refit_factors(model, ScalarCodec(bits=2), data, run=Run(seed=3, threads=t)) for t in (1, 2))
    np.testing.assert_array_equal(one.items.coded.first, other.items.coded.first)
    np.testing.assert_array_equal(one.items.coded.steps, other.items.coded.steps)


def test_refuses_what_has_no_levels(model: Any, data: Dataset) -> None:
    with pytest.raises(SettingError, match="scalar codec"):
        refit_factors(model, HalfCodec(), data)
    other = fit_once(get_model("pure_svd")(embedding_dim=8), data, _RUN)
    with pytest.raises(SettingError, match="ials"):
        refit_factors(other, ScalarCodec(), data)
