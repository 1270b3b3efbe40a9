"""Vectors whose offsets are kept apart."""

import dataclasses

import numpy as np
import pytest

from contracts.codec import CodecContract, make_queries, make_vectors
from leanrec.compression import HalfCodec, ScalarCodec
from leanrec.compression.vectors.offsets import OffsetCodec
from leanrec.compression.vectors.product import ProductCodec
from leanrec.errors import DataError
from leanrec.field_checks import check_fields
from leanrec.types import Float32Array


class TestOffsets(CodecContract):
    codec = OffsetCodec(ScalarCodec(bits=4))
    max_error = 0.13


def make_embeddings(n: int = 200) -> Float32Array:
    """A constant, an offset and a vector, as a model of ratings has them; some vectors are 0."""
    V = make_vectors(n, 18)
    V[:, 0] = 1
    V[:, 1] *= 30
    V[5:9, 2:] = 0
    return V


CODEC = OffsetCodec(ScalarCodec(bits=2), offsets=(1,), constants=(0,))


def test_offsets_are_exact_beside_coarse_codes() -> None:
    V = make_embeddings()
    decoded = CODEC.encode(V).decode()
    np.testing.assert_array_equal(decoded[:, 0], V[:, 0])
    np.testing.assert_allclose(decoded[:, 1], V[:, 1], rtol=1e-3)
    assert not decoded[5:9, 2:].any()


def test_a_constant_takes_no_bytes_an_item() -> None:
    codes = CODEC.encode(make_embeddings())
    assert codes.nbytes <= CODEC.count_bytes(200, 18) == ScalarCodec(bits=2).count_bytes(200, 16) + 3 * 200 + 4


@pytest.mark.parametrize("inner", [HalfCodec(), ScalarCodec(bits=3), ProductCodec(4)])
@pytest.mark.parametrize("n_queries", [2, 50])
def test_lists_and_scores_are_those_of_the_decoded_vectors(inner: object, n_queries: int) -> None:
    codes = dataclasses.replace(CODEC, inner=inner).encode(make_embeddings(1500))
    Q = make_queries(n_queries, 18)
    expected = Q @ codes.decode().T
    np.testing.assert_allclose(codes.score(Q), expected, rtol=1e-3, atol=1e-3)
    _, scores = codes.search(Q, 7)
    np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :7], rtol=1e-3, atol=1e-3)


def test_refuses_a_constant_with_several_numbers() -> None:
    V = make_embeddings()
    codes = CODEC.encode(V)
    V[3, 0] = 2
    with pytest.raises(DataError, match="one number in all rows"):
        CODEC.encode(V)
    with pytest.raises(DataError, match=r"must be \[1.0\] in all rows"):
        codes.append(V)


def test_refuses_parts_that_do_not_fit() -> None:
    codes = CODEC.encode(make_embeddings())
    with pytest.raises(DataError, match="offsets of 200 items"):
        check_fields(dataclasses.replace(codes, halves=HalfCodec().encode(make_vectors(3, 1))))
    for wrong in ({"offsets": (18,)}, {"offsets": (0,)}, {"constants": ()}):
        with pytest.raises(DataError, match="columns for each offset"):
            check_fields(dataclasses.replace(codes, **wrong))
