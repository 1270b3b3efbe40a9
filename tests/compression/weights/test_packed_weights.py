"""Packed weights: what they keep of a matrix, their bytes, and what they refuse."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec import artifacts
from leanrec.compression.weights.packed_weights import PackedWeights, count_weight_bytes
from leanrec.errors import DataError, SettingError
from leanrec.types import CSR


def make_weights(rows: int = 90, columns: int = 120, density: float = 0.15, seed: int = 0) -> CSR:
    """Weights of either sign, whose rows differ by four decades, with rows without entries."""
    rng = np.random.default_rng(seed)
    mask = rng.random((rows, columns)) < density
    values = rng.normal(size=(rows, columns)) * 10 ** rng.uniform(-4, 0, (rows, 1))
    values[::7] = 0
    return sp.csr_array((values * mask).astype(np.float32))


@pytest.mark.parametrize("bits", [4, 5, 6, 7, 8])
def test_each_value_is_near_its_own_row_and_columns_are_exact(bits: int) -> None:
    weights = make_weights()
    decoded = PackedWeights.encode(weights, bits).decode()
    np.testing.assert_array_equal(decoded.indices, weights.indices)
    np.testing.assert_array_equal(decoded.indptr, weights.indptr)
    error, length = (
        np.sqrt(np.bincount(_rows(weights), (each**2))) for each in (decoded.data - weights.data, weights.data)
    )
    known = length > 0
    assert (error[known] < 2.5 * 0.5**bits * length[known]).all()


def _rows(weights: CSR) -> np.ndarray:
    return np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))


def test_two_to_the_bits_values_are_stored_as_they_are() -> None:
    """A row of one value, positive or negative, keeps it: the factors of rows are at least as fine as their own steps."""
    weights = sp.csr_array(np.where(np.random.default_rng(0).random((30, 40)) < 0.2, 0.25, 0).astype(np.float32))
    np.testing.assert_allclose(PackedWeights.encode(weights, 4).decode().toarray(), weights.toarray(), rtol=1e-3)


def test_the_size_is_known_before_and_is_that_of_the_files(tmp_path: Path) -> None:
    weights = make_weights(300, 41_000, 0.002)
    packed = PackedWeights.encode(weights, 6)
    assert packed.nbytes == count_weight_bytes(np.diff(weights.indptr), 6, 41_000)
    folder = artifacts.save(packed, tmp_path / "weights")
    arrays = sorted(folder.glob("*.npy"))
    assert packed.nbytes == sum(file.stat().st_size - 128 for file in arrays)
    assert packed.nbytes < 2.5 * packed.nnz
    loaded = artifacts.load(folder, PackedWeights)
    np.testing.assert_array_equal(loaded.decode().toarray(), packed.decode().toarray())


def test_the_same_weights_give_the_same_bytes() -> None:
    first, second = (PackedWeights.encode(make_weights(), 5) for _ in range(2))
    for name in ("stream", "starts", "counts", "scales", "levels"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_only_chosen_rows_are_decoded() -> None:
    packed = PackedWeights.encode(make_weights(), 6)
    some = packed.decode(np.array([88, 3, 3])).toarray()
    expected = np.zeros_like(some)
    expected[[3, 88]] = packed.decode().toarray()[[3, 88]]
    np.testing.assert_array_equal(some, expected)


def test_unsorted_columns_duplicates_and_zeros_are_brought_into_order() -> None:
    weights = sp.csr_array((2, 9), dtype=np.float32)
    weights.data = np.array([1, 2, 0, 3], np.float32)
    weights.indices, weights.indptr = np.array([7, 2, 5, 2], np.int32), np.array([0, 4, 4], np.int32)
    decoded = PackedWeights.encode(weights, 8).decode()
    assert decoded.indices.tolist() == [2, 7]
    np.testing.assert_allclose(decoded.data, [5, 1], rtol=0.01)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    weights = make_weights()
    weights.data[5] = value
    with pytest.raises(DataError, match="finite"):
        PackedWeights.encode(weights)


@pytest.mark.parametrize("bits", [0, 9])
def test_other_numbers_of_bits_are_refused(bits: int) -> None:
    with pytest.raises(SettingError, match="bits"):
        PackedWeights.encode(make_weights(), bits)


@pytest.mark.parametrize("name", ["stream", "starts", "counts", "n_columns"])
def test_a_file_whose_rows_do_not_fit_is_refused(name: str, tmp_path: Path) -> None:
    packed = PackedWeights.encode(make_weights(), 6)
    changed: object = 100
    if name != "n_columns":
        changed = getattr(packed, name).copy()
        changed[len(changed) // 2] ^= 5  # type: ignore[index]
    if name == "stream":
        changed = packed.stream[:-1]
    with pytest.raises(DataError):
        artifacts.save(dataclasses.replace(packed, **{name: changed}), tmp_path / "weights")
