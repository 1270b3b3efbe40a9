"""Pruning: the budget, the choice of weights against a slow twin, and the solution of what is kept."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from contracts.fitting import fit_once
from leanrec.compression.weights import pruning
from leanrec.compression.weights.packed_weights import PackedWeights
from leanrec.compression.weights.pruning import find_weights, prune
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.kernels.weighting import weight_interactions
from leanrec.models import get_model
from leanrec.run import Run

_RUN = Run(seed=3, threads=1)


def fit(name: str, dataset: Dataset, **settings: Any) -> Any:
    return fit_once(get_model(name)(**settings), dataset, _RUN)


def find_importances(model: Any, dataset: Dataset) -> np.ndarray:
    weights = find_weights(model)[1]
    dense = weights if isinstance(weights, np.ndarray) else weights.toarray()
    frequency = np.maximum(np.bincount(dataset.interactions.indices, minlength=len(dense)), 1)
    return np.asarray(abs(dense) * frequency[:, None] ** 0.3 * frequency**-0.2)


@pytest.mark.parametrize("name", ["item_knn", "rp3"])
@pytest.mark.parametrize("n_weights", [0, 1, 77, 10**6])
def test_a_model_that_cannot_solve_keeps_its_most_important_weights(
    name: str, n_weights: int, dataset: Dataset
) -> None:
    model = fit(name, dataset)
    field, weights = find_weights(model)
    pruned = getattr(prune(model, dataset, n_weights=n_weights), field).toarray()
    importances = find_importances(model, dataset)
    assert np.count_nonzero(pruned) == min(n_weights, weights.nnz)
    left_out = np.where(pruned == 0, importances, 0).max()
    assert (importances[pruned != 0] >= left_out).all()
    np.testing.assert_array_equal(pruned[pruned != 0], weights.toarray()[pruned != 0])


def test_kept_weights_of_ease_are_those_of_regressions_on_them(dataset: Dataset) -> None:
    model = fit("ease", dataset, l2=5.0)
    pruned = prune(model, dataset, n_weights=300, run=_RUN).weights.toarray()
    X = weight_interactions(dataset.interactions, "log").toarray().astype(np.float64)
    assert 0 < np.count_nonzero(pruned) <= 300
    for item in range(X.shape[1]):
        near = np.flatnonzero(pruned[:, item])
        gram = X[:, near].T @ X[:, near] + 5.0 * np.eye(len(near))
        np.testing.assert_allclose(pruned[near, item], np.linalg.solve(gram, X[:, near].T @ X[:, item]), atol=1e-4)


def test_a_dense_matrix_is_cut_in_blocks_as_a_sparse_one(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fit("ease", dataset, l2=5.0)
    whole = prune(model, dataset, n_weights=200, run=_RUN)
    monkeypatch.setattr(pruning, "_BLOCK_WEIGHTS", 1)
    blocks = prune(model, dataset, n_weights=200, run=_RUN)
    np.testing.assert_array_equal(whole.weights.toarray(), blocks.weights.toarray())


@pytest.mark.parametrize("name", ["ease", "slim", "local_regression", "item_knn"])
def test_packed_rows_take_at_most_the_bytes_per_item(name: str, dataset: Dataset) -> None:
    model = fit(name, dataset)
    for limit, bits in ((10, 4), (20, 6)):
        pruned = prune(model, dataset, bytes_per_item=limit, value_bits=bits, run=_RUN)
        assert type(pruned) is type(model)
        used = PackedWeights.encode(find_weights(pruned)[1], bits).nbytes / model.n_items
        # The penalty of SLIM sets some of the kept weights to 0.
        assert (0.5 if name == "slim" else 0.9) * limit < used <= limit


def test_items_share_one_budget(dataset: Dataset) -> None:
    pruned = prune(fit("ease", dataset), dataset, n_weights=400, run=_RUN)
    counts = np.bincount(pruned.weights.indices, minlength=pruned.n_items)
    assert counts.max() > counts.min()


def test_pruned_solutions_rank_better_than_those_that_are_only_cut(dataset: Dataset) -> None:
    """The squared error on the histories is that of a regression, so it cannot be larger."""
    model = fit("ease", dataset, l2=5.0)
    pruned = prune(model, dataset, n_weights=400, run=_RUN)
    cut = np.where(pruned.weights.toarray() != 0, model.weights, 0)
    X = weight_interactions(dataset.interactions, "log").toarray()

    def find_loss(weights: np.ndarray) -> float:
        return float(((X - X @ weights) ** 2).sum() + 5.0 * (weights**2).sum())

    assert find_loss(pruned.weights.toarray()) < find_loss(cut)


def test_other_budgets_and_models_are_refused(dataset: Dataset) -> None:
    model = fit("rp3", dataset)
    with pytest.raises(SettingError, match="not both"):
        prune(model, dataset)
    with pytest.raises(SettingError, match="not both"):
        prune(model, dataset, n_weights=5, bytes_per_item=5)
    with pytest.raises(SettingError, match="n_weights"):
        prune(model, dataset, n_weights=-1)
    with pytest.raises(SettingError, match="item-item weights"):
        prune(fit("popularity", dataset), dataset, n_weights=5)
    for name in ("user_knn", "sansa"):
        with pytest.raises(SettingError, match="item-item weights"):
            prune(fit(name, dataset), dataset, n_weights=5)


def test_the_model_does_not_change(dataset: Dataset) -> None:
    model = fit("slim", dataset)
    before = dataclasses.replace(model, weights=model.weights.copy())
    prune(model, dataset, n_weights=50, run=_RUN)
    np.testing.assert_array_equal(model.weights.toarray(), before.weights.toarray())
