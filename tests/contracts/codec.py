"""The laws of every codec of vectors. A codec's tests subclass ``CodecContract`` and set ``codec``."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec import artifacts
from leanrec.compression.vectors.codec import VectorCodec, VectorCodes
from leanrec.errors import DataError
from leanrec.kernels.topk.selection import top_k
from leanrec.types import Float32Array


def make_vectors(n: int = 300, d: int = 37, seed: int = 0, decades: float = 0) -> Float32Array:
    """Vectors near a few directions, whose lengths lie some decades apart."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((8, d)) * np.linspace(2, 0.2, d)
    vectors = centers[rng.integers(0, 8, n)] + rng.standard_normal((n, d)) * np.linspace(1, 0.3, d)
    return (vectors * 10 ** rng.uniform(-decades / 2, decades / 2, (n, 1))).astype(np.float32)


def make_queries(n: int = 9, d: int = 37, seed: int = 1) -> Float32Array:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def arrays_of(value: Any) -> dict[str, np.ndarray]:
    """The arrays of a dataclass and of those inside."""
    found: dict[str, np.ndarray] = {}
    for field in dataclasses.fields(value):
        part = getattr(value, field.name)
        if isinstance(part, np.ndarray):
            found[field.name] = part
        elif dataclasses.is_dataclass(part):
            found |= {f"{field.name}.{name}": each for name, each in arrays_of(part).items()}
    return found


class CodecContract:
    """Subclass it as ``TestHalf`` and set ``codec`` and ``max_error``."""

    codec: ClassVar[VectorCodec]
    # Root mean square error of the decoded vectors, relative to that of the vectors.
    max_error: ClassVar[float]
    # The same for rows of one nonzero number, which a codec without a rotation of the axes codes badly.
    max_one_hot_error: ClassVar[float | None] = None
    # Whether each row is coded with a scale of its own, so that short vectors are as exact as long ones.
    scales_rows: ClassVar[bool] = True

    def encode(self, V: Float32Array, seed: int = 0) -> Any:
        return self.codec.encode(V, queries=make_queries(200, V.shape[1]), seed=seed)

    def error_of(self, V: Float32Array) -> float:
        decoded = self.encode(V).decode()
        return float(np.linalg.norm(decoded.astype(float) - V) / max(np.linalg.norm(V.astype(float)), 1e-30))

    def test_is_a_codec_with_a_short_name(self) -> None:
        assert isinstance(self.codec, VectorCodec)
        assert isinstance(self.encode(make_vectors()), VectorCodes)
        assert 0 < len(str(self.codec)) < 40

    def test_decodes_near_the_vectors(self) -> None:
        V = make_vectors()
        codes = self.encode(V)
        decoded = codes.decode()
        assert decoded.shape == V.shape == (codes.n_items, codes.n_dims)
        assert decoded.dtype == np.float32
        assert self.error_of(V) <= self.max_error

    @pytest.mark.parametrize("d", [1, 2, 3, 5, 63, 64, 65])
    def test_any_dimension(self, d: int) -> None:
        V = make_vectors(120, d)
        codes = self.encode(V)
        assert codes.decode().shape == V.shape
        assert codes.nbytes <= self.codec.count_bytes(*V.shape)
        Q = make_queries(3, d)
        np.testing.assert_allclose(codes.score(Q), Q @ codes.decode().T, rtol=1e-4, atol=1e-4 * np.abs(V).max())

    @pytest.mark.parametrize("n", [0, 1, 2, 7])
    def test_few_items(self, n: int) -> None:
        V = make_vectors(n, 16)
        codes = self.encode(V)
        assert codes.decode().shape == (n, 16)
        items, scores = codes.search(make_queries(2, 16), 3)
        assert items.shape == scores.shape == (2, 3)
        assert (items >= 0).sum() == 2 * min(n, 3)

    def test_lengths_four_decades_apart(self) -> None:
        if not self.scales_rows:
            return
        V = make_vectors(400, 32, decades=4)
        decoded = self.encode(V).decode()
        errors = np.linalg.norm(decoded - V, axis=1) / np.linalg.norm(V, axis=1)
        assert np.median(errors) <= self.max_error
        assert errors.max() <= 2.5 * self.max_error

    @pytest.mark.parametrize("factor", [1e-30, 1e30])
    def test_vectors_of_any_scale(self, factor: float) -> None:
        V = make_vectors(60, 16)
        scaled = (V * np.float32(factor)).astype(np.float32)
        expected = self.encode(V).decode() * np.float32(factor)
        np.testing.assert_allclose(self.encode(scaled).decode(), expected, rtol=0.05, atol=0.2 * factor)

    def test_one_giant_vector_leaves_the_others_as_they_are(self) -> None:
        if not self.scales_rows:
            return
        V = make_vectors(80, 24)
        giant = V.copy()
        giant[3] *= 1e6
        others = np.arange(80) != 3
        decoded = self.encode(giant).decode()
        assert np.linalg.norm((decoded - giant)[others]) <= 1.5 * self.max_error * np.linalg.norm(V[others])
        assert np.linalg.norm(decoded[3] - giant[3]) <= 2.5 * self.max_error * np.linalg.norm(giant[3])

    def test_zero_rows_stay_zero(self) -> None:
        V = make_vectors(50, 24)
        V[[0, 7, 49]] = 0
        codes = self.encode(V)
        assert not codes.decode()[[0, 7, 49]].any()
        assert not codes.norms[[0, 7, 49]].any()
        assert not self.encode(np.zeros((5, 8), np.float32)).decode().any()

    def test_equal_rows_have_equal_codes(self) -> None:
        V = make_vectors(50, 24)
        V[31] = V[4]
        decoded = self.encode(V).decode()
        np.testing.assert_array_equal(decoded[31], decoded[4])

    def test_rows_of_one_number(self) -> None:
        V = 3 * np.eye(32, dtype=np.float32)[np.arange(64) % 32]
        limit = self.max_error if self.max_one_hot_error is None else self.max_one_hot_error
        assert self.error_of(V) <= limit

    def test_the_seed_decides_the_codes(self) -> None:
        V = make_vectors()
        one, other = arrays_of(self.encode(V, seed=5)), arrays_of(self.encode(V, seed=5))
        assert one.keys() == other.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name])

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_refuses_numbers_that_are_not_finite(self, bad: float) -> None:
        V = make_vectors(20, 8)
        V[3, 2] = bad
        with pytest.raises(DataError, match="finite"):
            self.encode(V)

    def test_bytes_are_known_before_and_are_those_of_the_files(self, tmp_path: Path) -> None:
        codes = self.encode(make_vectors())
        counted = self.codec.count_bytes(codes.n_items, codes.n_dims)
        assert codes.nbytes <= counted <= 1.01 * codes.nbytes + 8
        folder = artifacts.save(codes, tmp_path / "codes")
        files = list(folder.glob("*.npy"))
        assert codes.nbytes == sum(file.stat().st_size - 128 for file in files)

    def test_survives_saving(self, tmp_path: Path) -> None:
        codes = self.encode(make_vectors())
        loaded = artifacts.load(artifacts.save(codes, tmp_path / "codes"), type(codes))
        np.testing.assert_array_equal(loaded.decode(), codes.decode())
        Q = make_queries()
        np.testing.assert_array_equal(loaded.score(Q), codes.score(Q))

    def test_scores_are_products_with_the_decoded_vectors(self) -> None:
        codes, Q = self.encode(make_vectors(2500)), make_queries()
        full = Q @ codes.decode().T
        tolerance = {"rtol": 1e-3, "atol": 1e-3}
        np.testing.assert_allclose(codes.score(Q), full, **tolerance)
        np.testing.assert_allclose(codes.score(Q[:1]), full[:1], **tolerance)
        chosen = np.array([7, 2400, 7, 0], np.int32)
        np.testing.assert_allclose(codes.score(Q, chosen), full[:, chosen], **tolerance)
        each = ((chosen + np.arange(9)[:, None]) % 2500).astype(np.int32)
        np.testing.assert_allclose(codes.score(Q, each), np.take_along_axis(full, each, 1), **tolerance)
        np.testing.assert_allclose(codes.norms, np.linalg.norm(codes.decode(), axis=1), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("n_queries", [1, 9, 40])
    def test_finds_what_all_scores_would_show(self, n_queries: int) -> None:
        codes, Q = self.encode(make_vectors(2500)), make_queries(n_queries)
        seen = sp.random_array((n_queries, 2500), density=0.05, rng=3, format="csr", dtype=np.float32)
        allowed = np.random.default_rng(4).random(2500) < 0.7
        for rules in ({}, {"seen": seen}, {"allowed": allowed}, {"seen": seen, "allowed": allowed}):
            items, scores = codes.search(Q, 20, **rules)
            expected, best = top_k((Q @ codes.decode().T).astype(np.float32), 20, **rules)
            np.testing.assert_allclose(scores, best, rtol=1e-3, atol=1e-3)
            # Items that score alike up to rounding may change places.
            assert (items == expected).mean() > 0.97
            assert allowed[items].all() or "allowed" not in rules

    def test_a_list_longer_than_the_items_ends_with_none(self) -> None:
        items, scores = self.encode(make_vectors(5, 16)).search(make_queries(2, 16), 8)
        assert (np.sort(items, axis=1)[:, 3:] == np.arange(5)).all()
        assert (items[:, 5:] == -1).all()
        assert np.isneginf(scores[:, 5:]).all()
        assert self.encode(make_vectors(5, 16)).search(make_queries(2, 16), 0)[0].shape == (2, 0)

    def test_appended_items_leave_the_others_as_they_are(self) -> None:
        V, more = make_vectors(), make_vectors(40, seed=9)
        codes = self.encode(V)
        larger = codes.append(more)
        assert larger.n_items == 340
        np.testing.assert_array_equal(larger.decode(np.arange(300)), codes.decode())
        new = larger.decode(np.arange(300, 340))
        assert np.linalg.norm(new - more) <= 1.5 * self.max_error * np.linalg.norm(more)
        np.testing.assert_allclose(larger.norms[300:], np.linalg.norm(new, axis=1), rtol=1e-4)

    def test_replaced_items_leave_the_others_as_they_are(self) -> None:
        V, rows = make_vectors(), np.array([299, 3])
        codes = self.encode(V)
        changed = codes.replace(rows, V[[0, 5]])
        before, after = codes.decode(), changed.decode()
        others = np.setdiff1d(np.arange(300), rows)
        np.testing.assert_array_equal(after[others], before[others])
        np.testing.assert_allclose(after[rows], before[[0, 5]], atol=1e-5)
        np.testing.assert_array_equal(codes.decode(), before)
