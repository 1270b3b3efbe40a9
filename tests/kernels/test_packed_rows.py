"""Packed rows against a reader of the described format, and against products of the decoded matrix."""

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.compression.weights.packed_weights import PackedWeights
from leanrec.kernels.packed_rows import count_packed_bytes, multiply_packed, select_packed
from leanrec.kernels.sparse import top_k_sparse
from leanrec.types import CSR


def make_weights(rows: int, columns: int, density: float) -> CSR:
    rng = np.random.default_rng(rows)
    weights = sp.random_array((rows, columns), density=density, rng=rng, format="csr", dtype=np.float32)
    weights.data -= np.float32(0.3)
    return sp.csr_array(weights).sorted_indices()


def decode_slowly(packed: PackedWeights) -> np.ndarray:
    """The matrix, read bit by bit as the format is described."""
    bits = np.unpackbits(packed.stream, bitorder="little").tolist()
    dense, start = np.zeros(packed.shape, np.float32), 0
    factors = np.geomspace(packed.lowest_scale, packed.highest_scale, 256).astype(np.float32)
    for row, count in enumerate(packed.counts.tolist()):
        sizes, low = (int(each[count]) for each in count_packed_bytes(count, packed.bits, packed.n_columns))
        if count:
            assert packed.n_columns // count >> low in {0, 1}
        positions = [at for at in range(8 * sizes) if bits[8 * start + at]][:count]
        at = 8 * start + count + ((packed.n_columns - 1) >> low) + 1
        for found, position in enumerate(positions):
            pair = sum(bits[at + each] << each for each in range(low + packed.bits))
            column = (position - found) << low | pair & ((1 << low) - 1)
            dense[row, column] = packed.levels[pair >> low] * factors[packed.scales[row]]
            at += low + packed.bits
        start += sizes
    return dense


@pytest.mark.parametrize(
    ("rows", "columns", "density", "bits"),
    [(40, 70, 0.2, 6), (1, 1, 1.0, 4), (35, 70_000, 0.001, 5), (20, 64, 0.9, 8), (50, 300, 0.005, 1), (18, 5, 0.0, 7)],
)
def test_rows_are_as_the_format_is_described(rows: int, columns: int, density: float, bits: int) -> None:
    packed = PackedWeights.encode(make_weights(rows, columns, density), bits)
    decoded = packed.decode()
    np.testing.assert_array_equal(decoded.toarray(), decode_slowly(packed))
    profile = sp.random_array((9, rows), density=0.4, rng=np.random.default_rng(1), format="csr", dtype=np.float32)
    for part in (sp.csr_array(profile), sp.csr_array(profile)[:2]):
        expected = part.toarray() @ decoded.toarray()
        np.testing.assert_allclose(multiply_packed(part, packed.rows), expected, rtol=1e-5, atol=1e-6)


def test_lists_are_those_of_the_decoded_matrix() -> None:
    packed = PackedWeights.encode(make_weights(60, 200, 0.1), 6)
    weights, rng = packed.decode(), np.random.default_rng(2)
    profile = sp.csr_array(sp.random_array((8, 60), density=0.2, rng=rng, format="csr", dtype=np.float32))
    seen = sp.csr_array(sp.random_array((8, 200), density=0.1, rng=rng, format="csr", dtype=np.float32))
    allowed = rng.random(200) < 0.7
    for k in (0, 3, 20, 250):
        found = select_packed(profile, packed.rows, k, seen=seen, allowed=allowed)
        expected = top_k_sparse(profile, weights, k, seen=seen, allowed=allowed)
        np.testing.assert_array_equal(found[2], expected[2])
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6)
        for row in range(2):
            alone = select_packed(profile[[row]], packed.rows, k, seen=seen[[row]], allowed=allowed)
            np.testing.assert_array_equal(alone[0][0], found[0][row])
            np.testing.assert_array_equal(alone[1][0], found[1][row])


def test_an_empty_profile_has_no_evidence() -> None:
    packed = PackedWeights.encode(make_weights(60, 200, 0.1), 6)
    _, scores, is_constant = select_packed(sp.csr_array((2, 60), dtype=np.float32), packed.rows, 3)
    assert is_constant.all()
    assert (scores == 0).all()
    items, _, _ = select_packed(sp.csr_array((0, 60), dtype=np.float32), packed.rows, 3)
    assert items.shape == (0, 3)
