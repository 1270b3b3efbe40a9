"""Product codes."""

import numpy as np
import pytest

from contracts.codec import CodecContract, make_queries, make_vectors
from leanrec.compression import ProductCodec
from leanrec.compression.vectors import product
from leanrec.compression.vectors.product import ProductCodes, round_books
from leanrec.errors import DataError
from leanrec.kernels.topk.selection import top_k


class TestProduct(CodecContract):
    codec = ProductCodec(n_codes=32)
    max_error = 0.2


class TestFourBits(CodecContract):
    codec = ProductCodec(n_codes=64, bits=4)
    max_error = 0.2


@pytest.mark.parametrize("bits", [5, 8])
def test_lists_of_few_queries_are_those_of_all_scores(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "_PART_ROWS", 700)
    codes, Q = ProductCodec(n_codes=4, bits=bits).encode(make_vectors(4200, 16)), make_queries(3, 16)
    items, scores = codes.search(Q, 25)
    expected, best = top_k(codes.score(Q), 25)
    np.testing.assert_array_equal(items, expected)
    np.testing.assert_array_equal(scores, best)


def test_few_items_have_small_codebooks() -> None:
    sizes = [ProductCodec(n_codes=4).encode(make_vectors(n, 16)).books.shape for n in (1, 40, 300, 5000)]
    assert sizes == [(2, 16), (2, 16), (16, 16), (256, 16)]


def test_each_group_has_about_the_same_part_of_the_variance() -> None:
    V = make_vectors(800, 24) * np.geomspace(1, 0.01, 24, dtype=np.float32)
    codes = ProductCodec(n_codes=6).encode(V)
    rows = (V / np.linalg.norm(V, axis=1, keepdims=True))[:, codes.axes]
    logs = np.add.reduceat(np.log(rows.var(axis=0)), codes.groups[:-1])
    assert np.ptp(logs) < 2.5
    assert np.diff(codes.groups).tolist() == [4] * 6


def test_errors_count_where_queries_are_large() -> None:
    V, Q = make_vectors(2000, 16), make_queries(500, 16)
    Q[:, :8] *= 10
    errors = []
    for queries in (None, Q):
        decoded = ProductCodec(n_codes=4, bits=6).encode(V, queries=queries).decode()
        errors.append(np.linalg.norm(Q @ (decoded - V).T))
    assert errors[1] < 0.8 * errors[0]


def test_more_codes_are_nearer() -> None:
    V = make_vectors(2000, 32)
    errors = [np.linalg.norm(ProductCodec(n_codes=m).encode(V).decode() - V) for m in (2, 4, 8, 16, 32)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


def test_rounded_books_are_within_half_a_step() -> None:
    books = make_vectors(64, 9)
    books[:, 4] = 0
    rounded, steps = round_books(books)
    assert (np.abs(rounded * steps - books) <= 0.5001 * steps).all()


@pytest.mark.parametrize(
    ("field", "value"),
    [("axes", [0, 0, 1, 2]), ("starts", [0, 3, 2]), ("starts", [1, 2, 4]), ("steps", [1, np.nan, 1, 1]), ("unit", 0.0)],
)
def test_a_damaged_state_is_refused(field: str, value: object) -> None:
    codes = ProductCodec(n_codes=2, bits=3).encode(make_vectors(200, 4))
    fields = {name: getattr(codes, name) for name in codes.__dataclass_fields__}
    old = fields[field]
    fields[field] = np.array(value, old.dtype) if isinstance(old, np.ndarray) else value
    with pytest.raises(DataError, match="ProductCodes"):
        ProductCodes(**fields).check_state()
