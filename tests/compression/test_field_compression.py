"""Compression of models of clicks: what the codes keep, their bytes, and the powers that stay."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leanrec import artifacts
from leanrec.compression.field_compression import FieldCompression, propose_fields
from leanrec.compression.methods import count_parts
from leanrec.compression.proposals import check_compressible
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.ctr.core.models import FieldModel
from leanrec.models.ctr.core.rows import ContentEncoder, QueryEncoder, encode_items
from leanrec.models.ctr.deepfm import DeepFM
from leanrec.models.linear.ease import EASE
from leanrec.run import Run


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> FieldModel:
    """A DeepFM with random weights, whose layers are large enough for codes."""
    settings, rng = DeepFM(embedding_dim=12, hidden_sizes=(24, 40)), np.random.default_rng(3)
    content = ContentEncoder.fit(dataset.item_table, ("genres",), "tfidf", Run())
    queries, items = QueryEncoder.from_dataset(dataset, None, settings.max_length), encode_items(dataset, content)
    sides = queries.fields, items.fields
    weights = {name: _draw_weight(name, shape, rng) for name, shape in settings.weight_shapes(sides, 1).items()}
    return FieldModel(settings, sides, 1, weights, queries, items, content)


def _draw_weight(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Random numbers; a variance is above 0, and a count is a whole number."""
    if name.endswith("num_batches_tracked"):
        return np.array(1)
    numbers = rng.normal(size=shape).astype(np.float32) * np.float32(0.3)
    return np.abs(numbers) + np.float32(1) if name.endswith("running_var") else numbers


@pytest.mark.parametrize(("bits", "most"), [(16, 0.002), (8, 0.02), (4, 0.25)])
def test_scores_are_those_of_the_decoded_weights_and_near_those_of_the_model(
    model: FieldModel, dataset: Dataset, bits: int, most: float
) -> None:
    method = FieldCompression(bits)
    small = method.compress(model, dataset)
    small.check_state()
    scores, expected = small.score(dataset.queries()), model.score(dataset.queries())
    assert np.sqrt(np.mean((scores - expected) ** 2)) < most * expected.std()
    decoded = {name: each if isinstance(each, np.ndarray) else each.decode() for name, each in small.weights.items()}
    slow = dataclasses.replace(model, weights=decoded).score(dataset.queries())
    np.testing.assert_allclose(scores, slow, rtol=1e-3, atol=1e-4 * np.ptp(slow))
    found = sum(count_parts(small).values())
    assert 0.9 * method.estimate_bytes(model) < found <= method.estimate_bytes(model) < sum(count_parts(model).values())


def test_a_model_in_codes_is_saved_extended_and_not_compressed_again(
    model: FieldModel, dataset: Dataset, tmp_path: Path
) -> None:
    small = FieldCompression(8).compress(model, dataset)
    artifacts.save(small, tmp_path / "small")
    loaded = artifacts.load(tmp_path / "small")
    np.testing.assert_array_equal(loaded.score(dataset.queries()), small.score(dataset.queries()))
    assert dataset.item_table is not None
    assert loaded.extend(dataset.item_table.take(np.array([0]))).n_items == model.n_items + 1
    with pytest.raises(SettingError, match="compressed already"):
        check_compressible(small)


def test_methods_fit_the_bytes_and_the_kind_of_model(model: FieldModel, dataset: Dataset) -> None:
    check_compressible(model)
    limit = FieldCompression(6).estimate_bytes(model)
    proposed = propose_fields(model, limit)
    assert proposed[0].table_bits <= 6
    assert all(each.estimate_bytes(model) <= limit for each in proposed)
    with pytest.raises(SettingError, match="table_bits"):
        FieldCompression(12)
    with pytest.raises(SettingError, match="deepfm"):
        FieldCompression(8).compress(EASE().fit(dataset), dataset)
