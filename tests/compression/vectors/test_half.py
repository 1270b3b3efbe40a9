"""Half precision."""

import numpy as np

from contracts.codec import CodecContract, make_vectors
from leanrec.compression import HalfCodec


class TestHalf(CodecContract):
    codec = HalfCodec()
    max_error = 5e-4


def test_a_number_keeps_eleven_bits() -> None:
    V = make_vectors(200, 24)
    decoded = HalfCodec().encode(V).decode()
    largest = np.abs(V).max(axis=1, keepdims=True)
    assert (np.abs(decoded - V) <= 2.0**-11 * np.maximum(np.abs(V), 2.0**-13 * largest)).all()
