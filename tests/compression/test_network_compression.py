"""Compressed Mult-VAE and two-tower: the laws of the plain models, axes that are cut, and what is proposed."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from contracts.compressed import CompressedContract, CompressedEstimator
from contracts.estimator import add_people
from contracts.fitting import fit_once
from leanrec.compression import NetworkCompression, cut_axes
from leanrec.compression.methods import count_parts
from leanrec.compression.network_compression import propose_networks
from leanrec.compression.proposals import propose_methods
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.deep.mult_vae import MultVAE, MultVAEModel
from leanrec.models.deep.two_tower import TwoTower, TwoTowerModel
from leanrec.protocols import Extendable, Searcher
from leanrec.run import Run

# Layers of more than 5,000 numbers are coded.
VAE = MultVAE(embedding_dim=32, hidden_dim=160, epochs=6, batch_size=32, learning_rate=0.01)
DEEPER = dataclasses.replace(VAE, n_layers=2, decoder_dim=32, beta=0.01, epochs=10)
TOWERS = TwoTower(embedding_dim=16, hidden_dim=320, epochs=6, batch_size=256, learning_rate=0.01)
_RUN = Run(seed=3, threads=1)


class TestMultVAE(CompressedContract):
    estimator = CompressedEstimator(VAE, NetworkCompression(item_bits=6, input_bits=3, item_axes=16, input_axes=24))


class TestMultVAEOfMoreLayers(CompressedContract):
    estimator = CompressedEstimator(DEEPER, NetworkCompression(item_bits=8, input_bits=4))


class TestTwoTower(CompressedContract):
    estimator = CompressedEstimator(TOWERS, NetworkCompression(item_bits=8, input_bits=6))


@pytest.fixture(scope="module")
def vae(dataset: Dataset) -> MultVAEModel:
    return fit_once(VAE, dataset, _RUN)


@pytest.fixture(scope="module")
def towers(dataset: Dataset) -> TwoTowerModel:
    return fit_once(TOWERS, dataset, _RUN)


@pytest.mark.parametrize("name", ["vae", "towers"])
@pytest.mark.parametrize("bits", [16, 8])
def test_scores_are_close_to_those_of_the_model(
    name: str, bits: int, dataset: Dataset, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    small = NetworkCompression(bits, bits).compress(model, dataset, _RUN)
    expected, queries = model.score(dataset.queries()), dataset.queries()
    error = np.abs(small.score(queries) - expected).max() / np.ptp(expected)
    assert error < {16: 1e-3, 8: 2e-2}[bits]
    assert isinstance(small, Searcher)
    assert {type(array).__name__ for array in small.model.weights.values()} - {"ndarray"}


def test_all_axes_give_the_same_scores(vae: MultVAEModel, dataset: Dataset) -> None:
    queries = dataset.queries()
    turned, expected = cut_axes(vae, queries, item_axes=32, input_axes=160), vae.score(queries)
    np.testing.assert_allclose(turned.score(queries), expected, atol=1e-3 * np.ptp(expected))


def test_few_axes_keep_more_than_the_longest_do(vae: MultVAEModel, dataset: Dataset) -> None:
    """The axes are those of the products with the queries, and not of the vectors alone."""
    queries = dataset.queries()
    expected = vae.score(queries)
    error = np.square(cut_axes(vae, queries, item_axes=4).score(queries) - expected).mean()
    axes = np.linalg.svd(vae.items[:, :-1], full_matrices=False)[2][:4].T
    plain = np.column_stack([vae.items[:, :-1] @ axes @ axes.T, vae.items[:, -1]])
    assert error <= np.square(vae.replace_items(plain).score(queries) - expected).mean()
    sums = vae.sum_history(queries)
    cut = cut_axes(vae, queries, input_axes=8)
    values = np.linalg.svd(sums, compute_uv=False)
    rest = np.square(cut.sum_history(queries) @ cut.weights["expand.weight"].T - sums).sum()
    assert rest == pytest.approx(np.square(values[8:]).sum(), rel=1e-3)


def test_new_items_get_the_rows_that_the_model_gives_them(towers: TwoTowerModel, dataset: Dataset) -> None:
    small: Any = NetworkCompression(8, 8).compress(towers, dataset, _RUN)
    assert dataset.item_table is not None
    table = dataset.item_table.take(np.arange(3))
    larger, expected = small.extend(table), towers.extend(table)
    assert isinstance(larger, Extendable)
    assert larger.n_items == towers.n_items + 3
    np.testing.assert_array_equal(larger.embed_items()[:-3], small.embed_items())
    np.testing.assert_allclose(larger.embed_items()[-3:], expected.items[-3:], atol=0.03)


def test_what_is_known_of_a_person_outlives_a_changed_history(dataset: Dataset) -> None:
    data = add_people(dataset)
    model = fit_once(TOWERS, data, _RUN)
    small = NetworkCompression(16, 16).compress(model, data, _RUN)
    queries = data.queries()
    stale = dataclasses.replace(queries, is_stale=np.ones(len(queries), np.bool_))
    np.testing.assert_allclose(small.score(stale), model.score(stale), atol=0.05)


def test_proposals_fit_and_end_where_nothing_is_small_enough(vae: MultVAEModel, dataset: Dataset) -> None:
    limit = sum(count_parts(vae).values()) / 2.5
    proposed = propose_networks(vae, limit)
    assert proposed
    assert proposed == propose_methods(vae, limit)
    for method in proposed:
        assert sum(count_parts(method.compress(vae, dataset, _RUN)).values()) <= limit
    assert propose_networks(vae, 100) == ()


def test_what_cannot_be_is_refused(vae: MultVAEModel, towers: TwoTowerModel, dataset: Dataset) -> None:
    with pytest.raises(SettingError, match="1 to 8, or 16"):
        NetworkCompression(item_bits=9)
    with pytest.raises(SettingError, match="mult_vae alone"):
        NetworkCompression(item_axes=4).compress(towers, dataset)
    with pytest.raises(SettingError, match="among 32 of the items"):
        NetworkCompression(item_axes=33).compress(vae, dataset)
    with pytest.raises(SettingError, match="hidden layer in the decoder"):
        NetworkCompression(item_axes=4).compress(fit_once(DEEPER, dataset, _RUN), dataset)
    with pytest.raises(SettingError, match="must be mult_vae, two_tower or neumf"):
        NetworkCompression().compress(NetworkCompression().compress(vae, dataset), dataset)
