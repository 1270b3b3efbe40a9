"""Rotations are orthogonal, can be undone, and mix all numbers."""

import numpy as np
import pytest

from leanrec.kernels.quantization.rotation import rotate_back, rotate_rows


@pytest.mark.parametrize("width", [1, 2, 3, 5, 64, 65, 100, 255])
def test_is_orthogonal_and_can_be_undone(width: int) -> None:
    identity = np.eye(width, dtype=np.float32)
    rotation = rotate_rows(identity, 7)
    np.testing.assert_allclose(rotation @ rotation.T, identity, atol=1e-5)
    np.testing.assert_allclose(rotate_back(rotation, 7), identity, atol=1e-5)


@pytest.mark.parametrize("width", [64, 100, 255])
def test_one_number_is_spread_over_all(width: int) -> None:
    rotated = rotate_rows(np.eye(width, dtype=np.float32), 0)
    assert np.abs(rotated).max() < 0.5
    assert (np.abs(rotated) > 0.1 / np.sqrt(width)).mean() > 0.7


def test_never_changes() -> None:
    """Codes on disk are in this rotation."""
    rotated = rotate_rows(np.arange(6, dtype=np.float32)[None], 3)
    np.testing.assert_allclose(rotated[0], _slow_rotation(np.arange(6), 3), atol=1e-5)
    assert (rotate_rows(np.ones((1, 8), np.float32), 1) != rotate_rows(np.ones((1, 8), np.float32), 2)).any()


def _slow_rotation(x: np.ndarray, seed: int) -> np.ndarray:
    """Four rounds for six numbers, with the constants of SplitMix64 written out."""
    x, mask, hadamard = x.astype(float), 2**64 - 1, np.array([[1, 1], [1, -1]])
    transform = np.kron(hadamard, hadamard) / 2
    for turn in range(4):
        for d in range(6):
            z = ((1 + turn * 6 + d + (seed << 32)) * 0x9E3779B97F4A7C15) & mask
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            x[d] *= 1 - 2 * ((z ^ (z >> 31)) & 1)
        part = slice(0, 4) if turn % 2 == 0 else slice(2, 6)
        x[part] = transform @ x[part]
    return x
