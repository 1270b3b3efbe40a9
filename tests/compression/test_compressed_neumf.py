"""Compressed NeuMF: the laws of the plain model, and the scores of the decoded tables."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from contracts.compressed import CompressedContract, CompressedEstimator
from contracts.fitting import fit_once
from leanrec import artifacts
from leanrec.compression import CompressedNeuMF, NetworkCompression
from leanrec.compression.proposals import check_compressible
from leanrec.data.dataset import Dataset
from leanrec.errors import DataError, SettingError
from leanrec.models.deep.neumf import NeuMF
from leanrec.run import Run

MLP = NeuMF(embedding_dim=16, hidden_sizes=(16, 8), epochs=2, batch_size=256, n_negatives=20, learning_rate=0.005)
GMF = dataclasses.replace(MLP, hidden_sizes=())
_RUN = Run(seed=3, threads=1)


class TestNeuMF(CompressedContract):
    estimator = CompressedEstimator(MLP, NetworkCompression(item_bits=6, input_bits=4))


class TestGMF(CompressedContract):
    estimator = CompressedEstimator(GMF, NetworkCompression(item_bits=16, input_bits=8))


@pytest.mark.parametrize("settings", [MLP, GMF], ids=["mlp", "gmf"])
def test_scores_and_explains_as_the_model_of_the_decoded_tables(settings: Any, dataset: Dataset) -> None:
    model = fit_once(settings, dataset, _RUN)
    small: Any = NetworkCompression(5, 3).compress(model, dataset, _RUN)
    decoded = dataclasses.replace(
        model,
        fold_in=dataclasses.replace(small.model.fold_in, items=small.vectors.decode()),
        items=small.items.decode(),
        hidden=model.hidden if small.hidden is None else small.hidden.decode(),
    )
    queries, items = dataset.queries(), np.array([5, 1, 9, 5], np.int32)
    np.testing.assert_allclose(small.score(queries), decoded.score(queries), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(small.score(queries, items), decoded.score(queries, items), rtol=1e-4, atol=1e-4)
    for found, expected in zip(
        small.explain(queries.block(2, 3), items), decoded.explain(queries.block(2, 3), items), strict=True
    ):
        np.testing.assert_array_equal(np.sort(found.items), np.sort(expected.items))
        np.testing.assert_allclose(found.weights, expected.weights, rtol=1e-3, atol=1e-4)


def test_half_precision_scores_as_the_model(dataset: Dataset) -> None:
    model, queries = fit_once(MLP, dataset, _RUN), dataset.queries()
    small, expected = NetworkCompression(16, 16).compress(model, dataset, _RUN), model.score(queries)
    np.testing.assert_allclose(small.score(queries), expected, atol=1e-3 * np.ptp(expected))


def test_tables_of_different_items_are_refused(dataset: Dataset, tmp_path: Any) -> None:
    small: Any = NetworkCompression(8, 8).compress(fit_once(MLP, dataset, _RUN), dataset, _RUN)
    assert isinstance(small, CompressedNeuMF)
    longer = small.vectors.append(np.ones((1, 16), np.float32))
    with pytest.raises(DataError, match="tables of the shapes"):
        artifacts.save(dataclasses.replace(small, vectors=longer), tmp_path / "model")


def test_a_compressed_model_is_not_compressed_again(dataset: Dataset) -> None:
    small: Any = NetworkCompression(8, 8).compress(fit_once(MLP, dataset, _RUN), dataset, _RUN)
    with pytest.raises(SettingError, match="must not be compressed already"):
        check_compressible(small)
