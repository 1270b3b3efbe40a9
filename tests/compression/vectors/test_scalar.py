"""Scalar codes of 1 to 8 bits."""

import dataclasses

import numpy as np
import pytest

from contracts.codec import CodecContract, make_queries, make_vectors
from leanrec.compression import ScalarCodec
from leanrec.errors import DataError, SettingError

# Error of normal numbers by bits, with some room: rows have few numbers.
_ERRORS = {8: 0.012, 6: 0.04, 5: 0.07, 4: 0.13, 3: 0.22, 2: 0.38, 1: 0.65}


class TestEightBits(CodecContract):
    codec = ScalarCodec(bits=8)
    max_error = _ERRORS[8]


class TestFourBits(CodecContract):
    codec = ScalarCodec(bits=4)
    max_error = _ERRORS[4]


class TestOneBit(CodecContract):
    codec = ScalarCodec(bits=1)
    max_error = _ERRORS[1]


class TestSixBitsUnrotated(CodecContract):
    codec = ScalarCodec(bits=6, rotated=False)
    max_error = 0.06
    max_one_hot_error = 0.2


class TestBalancedThreeBits(CodecContract):
    codec = ScalarCodec(bits=3, balanced=True)
    max_error = 0.3
    max_one_hot_error = 0.6


def test_balanced_axes_are_more_equal() -> None:
    sizes = np.geomspace(4, 0.04, 64)
    V = (np.random.default_rng(0).standard_normal((400, 64)) * sizes).astype(np.float32)
    errors = [np.abs(ScalarCodec(bits=4, balanced=each).encode(V).decode() - V).mean(axis=0) for each in (False, True)]
    assert errors[1][-8:].mean() < 0.6 * errors[0][-8:].mean()
    assert errors[1][:8].mean() < 2.5 * errors[0][:8].mean()


@pytest.mark.parametrize("bits", sorted(_ERRORS))
def test_error_of_normal_numbers(bits: int) -> None:
    V = np.random.default_rng(0).standard_normal((500, 128)).astype(np.float32)
    decoded = ScalarCodec(bits=bits).encode(V).decode()
    error = np.linalg.norm(decoded - V) / np.linalg.norm(V)
    assert _ERRORS[bits] / 2.2 < error < _ERRORS[bits]


def test_an_error_is_never_far_from_the_best_of_many_steps() -> None:
    V = make_vectors(60, 48) ** 3
    codes = ScalarCodec(bits=3, rotated=False).encode(V)
    error = ((codes.decode() - V) ** 2).sum(axis=1)
    best = np.full(60, np.inf)
    for step in np.linspace(0.02, 1, 800) * np.abs(V).max() / 3.5:
        levels = np.clip(np.floor(V / step), -4, 3) + 0.5
        best = np.minimum(best, ((step * levels - V) ** 2).sum(axis=1))
    assert (error <= 1.06 * best + 1e-6).all()


def test_a_rotation_helps_rows_of_unequal_numbers() -> None:
    V = make_vectors(300, 64) * np.linspace(3, 0.05, 64, dtype=np.float32)
    plain, rotated = (ScalarCodec(bits=2, rotated=each).encode(V).decode() for each in (False, True))
    assert np.linalg.norm(rotated - V) < 0.9 * np.linalg.norm(plain - V)


def test_another_seed_is_another_rotation() -> None:
    V = make_vectors()
    one, other = (ScalarCodec(bits=4).encode(V, seed=seed) for seed in (0, 1))
    assert (one.coded.first != other.coded.first).any()
    Q = make_queries()
    np.testing.assert_allclose(one.score(Q), other.score(Q), atol=0.3 * np.abs(one.score(Q)).max())


@pytest.mark.parametrize(("bits", "expected"), [(8, 66), (6, 50), (5, 42), (4, 34), (3, 26), (2, 18), (1, 10)])
def test_bits_are_packed_tightly(bits: int, expected: int) -> None:
    codes = ScalarCodec(bits=bits).encode(make_vectors(1024, 64))
    assert codes.nbytes == 1024 * expected + 40
    assert codes.nbytes == ScalarCodec(bits=bits).count_bytes(1024, 64)


def test_refuses_codes_that_do_not_fit() -> None:
    codes = ScalarCodec(bits=6).encode(make_vectors(40, 24))
    codes.check_state()
    for changed in (
        {"first": codes.coded.first[:2]},
        {"rest": codes.coded.rest[:, :1]},
        {"tiles": codes.coded.tiles[:0]},
        {"steps": -codes.coded.steps},
        {"n_dims": 90},
        {"bits": 9},
    ):
        with pytest.raises(DataError, match="ScalarCodes"):
            dataclasses.replace(codes, coded=dataclasses.replace(codes.coded, **changed)).check_state()


def test_refuses_other_numbers_of_bits() -> None:
    with pytest.raises(SettingError, match="bits"):
        ScalarCodec(bits=9)
