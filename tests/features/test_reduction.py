"""Truncated SVD against the full decomposition by NumPy."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec import artifacts
from leanrec.errors import SettingError
from leanrec.features.reduction import FittedTruncatedSVD, TruncatedSVD
from leanrec.run import Run
from leanrec.types import empty_csr

X = sp.random_array((40, 25), density=0.3, format="csr", dtype=np.float32, rng=np.random.default_rng(4))
NAMES = tuple(f"f{i}" for i in range(25))


def test_components_are_those_of_the_full_decomposition() -> None:
    reduction = TruncatedSVD(6).fit(X, NAMES, Run(seed=0))
    singular = np.linalg.svd(X.toarray(), compute_uv=False)
    np.testing.assert_allclose(reduction.shares, singular[:6] ** 2 / (singular**2).sum(), rtol=0.02)
    np.testing.assert_allclose(reduction.components @ reduction.components.T, np.eye(6), atol=1e-5)
    rows = reduction.apply(X)
    assert rows.shape == (40, 6)
    assert (rows**2).sum() == pytest.approx(reduction.shares.sum() * (X.data**2).sum(), rel=1e-3)


def test_with_all_dimensions_products_stay() -> None:
    rows = TruncatedSVD(25).fit(X, NAMES).apply(X)
    np.testing.assert_allclose(rows @ rows.T, (X @ X.T).toarray(), atol=1e-4)


def test_components_are_named_by_their_features() -> None:
    blocks = np.zeros((20, 4), np.float32)
    blocks[:12, :2] = 1
    blocks[12:, 2:] = 1
    report = TruncatedSVD(2).fit(sp.csr_array(blocks), ("a", "b", "c", "d")).report()
    assert [share for _, share in report] == pytest.approx([0.6, 0.4])
    assert report[0][0].startswith(("component 1 (a, b", "component 1 (b, a"))


def test_has_no_more_dimensions_than_there_are() -> None:
    assert TruncatedSVD(99).fit(X, NAMES).apply(X).shape == (40, 25)
    nothing = TruncatedSVD(5).fit(empty_csr(3, 25), NAMES)
    assert nothing.apply(empty_csr(3, 25)).shape == (3, 0)
    assert TruncatedSVD(5).fit(empty_csr(0, 25), NAMES).labels == ()


def test_survives_saving(tmp_path: Any) -> None:
    reduction = TruncatedSVD(4).fit(X, NAMES)
    loaded = artifacts.load(artifacts.save(reduction, tmp_path / "svd"), FittedTruncatedSVD)
    np.testing.assert_array_equal(loaded.apply(X), reduction.apply(X))
    assert loaded.report() == reduction.report()


def test_refuses_wrong_settings() -> None:
    with pytest.raises(SettingError, match="n_components must be a number of at least 1"):
        TruncatedSVD(0)
