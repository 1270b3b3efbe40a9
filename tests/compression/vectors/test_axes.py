"""Vectors that are cut to their largest axes."""

import numpy as np
import pytest

from contracts.codec import CodecContract, make_queries, make_vectors
from leanrec.compression import AxesCodec, HalfCodec, ScalarCodec
from leanrec.errors import SettingError


class TestAllAxes(CodecContract):
    codec = AxesCodec(ScalarCodec(bits=4), n_axes=100)
    max_error = 0.13


class TestHalfOfTheAxes(CodecContract):
    codec = AxesCodec(HalfCodec(), n_axes=20)
    max_error = 0.45
    max_one_hot_error = 0.7


def test_keeps_the_largest_axes() -> None:
    V = make_vectors(100, 12) * np.array([1, 9, 1, 1, 9, 1, 1, 1, 9, 1, 1, 1], np.float32)
    codes = AxesCodec(HalfCodec(), n_axes=3).encode(V)
    assert codes.columns.tolist() == [1, 4, 8]
    decoded = codes.decode()
    np.testing.assert_allclose(decoded[:, [1, 4, 8]], V[:, [1, 4, 8]], rtol=1e-3, atol=1e-3)
    assert not np.delete(decoded, [1, 4, 8], axis=1).any()
    assert codes.project_queries(make_queries(2, 12)).shape == (2, 3)


def test_refuses_no_axis() -> None:
    with pytest.raises(SettingError, match="n_axes"):
        AxesCodec(HalfCodec(), n_axes=0)
