"""No fit returns, and no folder holds, a model with NaN or infinity."""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import make_dataset
from leanrec import artifacts
from leanrec.errors import ArtifactError, DataError, TrainingWarning
from leanrec.finiteness import check_finite, find_non_finite
from leanrec.models import list_models
from leanrec.models.factorization.ials import IALS
from leanrec.models.linear.ease import EASE
from leanrec.run import Run


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_the_array_is_named(wrong: float) -> None:
    model = EASE().fit(make_dataset())
    assert find_non_finite(model) is None
    weights = np.array(model.weights)
    weights[3, 4] = wrong
    damaged = dataclasses.replace(model, weights=weights)
    assert find_non_finite(damaged) == "model.weights"
    with pytest.raises(DataError, match="model.weights of EASEModel is not. Do this."):
        check_finite(damaged, "Do this.")


def test_matrices_tuples_dictionaries_and_numbers_are_searched() -> None:
    matrix = sp.csr_array(np.array([[1.0, np.inf]]))
    assert find_non_finite((1, {"a": (matrix,)})) == "model.1.a.0"
    assert find_non_finite({"mean": np.nan}) == "model.mean"
    assert find_non_finite((np.zeros(0), np.array(["nan"]), np.array([1]), None)) is None


@pytest.mark.parametrize("name", sorted(list_models()))
def test_every_fit_is_checked(name: str) -> None:
    fit: Any = list_models()[name].settings.fit
    assert inspect.unwrap(fit) is not fit


@pytest.mark.parametrize("solver", ["auto", "cholesky"])
def test_weights_that_the_fit_cannot_hold_are_named(solver: str) -> None:
    data = make_dataset()
    seconds = np.random.default_rng(0).lognormal(40, 9, len(data.events)).astype(np.float32)
    large = data.with_events(dataclasses.replace(data.events, weight=seconds))
    with pytest.raises(DataError, match=r"weights of the interactions are in .* weighting that damps them"):
        IALS(embedding_dim=8, weighting="none", solver=solver).fit(large, Run(seed=1))
    assert find_non_finite(IALS(embedding_dim=8).fit(large, Run(seed=1))) is None


def test_a_model_with_nan_is_neither_saved_nor_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = EASE().fit(make_dataset())
    damaged = dataclasses.replace(model, weights=np.full_like(model.weights, np.nan))
    with pytest.raises(DataError, match="model.weights of EASEModel"):
        artifacts.save(damaged, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "_check_object", lambda _: None)
        artifacts.save(damaged, tmp_path / "model")
    with pytest.raises(ArtifactError, match="does not verify: The numbers of a model must be finite"):
        artifacts.load(tmp_path / "model")


def test_a_fit_on_tiny_weights_warns() -> None:
    data = make_dataset()
    shares = data.with_events(dataclasses.replace(data.events, weight=data.events.weight * np.float32(1e-9)))
    with pytest.warns(TrainingWarning, match="at most 1e-09. .* scale them to about 1"):
        EASE().fit(shares)
