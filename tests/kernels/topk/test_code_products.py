"""Products of codes against integer arithmetic, for each instruction set."""

import numba
import numpy as np
import pytest

from leanrec.kernels.topk import code_products
from leanrec.kernels.topk.code_products import find_instruction_set, make_block_scores
from leanrec.kernels.topk.code_strips import pack_codes
from leanrec.kernels.topk.simd import element_pointer

RUNS = {"vnni": {"vnni", "avx2", "portable"}, "avx2": {"avx2", "portable"}, "portable": {"portable"}}


def score_block(
    target: str, queries: np.ndarray, strips: np.ndarray, rest: np.ndarray, bits: int, **arrays: np.ndarray
) -> tuple:
    size = len(strips) * 16
    kernel = make_block_scores(len(queries), bits, size, target)

    @numba.njit
    def run(strips, rest, queries, base, steps, floors, scores, words):
        groups = strips.shape[1]
        return kernel(
            element_pointer(strips, 0),
            groups * 64,
            element_pointer(rest, 0),
            rest.shape[1],
            element_pointer(queries, 0),
            groups,
            element_pointer(base, 0),
            element_pointer(steps, 0),
            element_pointer(floors, 0),
            element_pointer(scores, 0),
            element_pointer(words, 0),
        )

    scores, words = np.zeros((len(queries), size), np.float32), np.zeros(len(queries), np.uint64)
    found = run(strips, rest, queries, arrays["base"], arrays["steps"], arrays["floors"], scores, words)
    return found, scores, (words[:, None] >> np.arange(size, dtype=np.uint64)) & np.uint64(1)


@pytest.mark.parametrize("target", ["vnni", "avx2", "portable"])
@pytest.mark.parametrize(("rows", "bits", "size"), [(4, 8, 64), (1, 4, 64), (1, 1, 16), (1, 2, 16), (1, 3, 64)])
def test_products_equal_integer_arithmetic(target: str, rows: int, bits: int, size: int) -> None:
    if target not in RUNS[find_instruction_set()]:
        pytest.skip(f"needs {target}")
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**bits, (size, 96), dtype=np.uint8)
    # The extremes: 255 times ±128 four times overflows 16 bits.
    codes[0], codes[1] = 2**bits - 1, 0
    queries = rng.integers(-128, 128, (rows, 96), dtype=np.int8)
    queries[0, :48] = -128
    base, steps = rng.integers(-999, 999, rows, dtype=np.int32), rng.random(size, dtype=np.float32)
    exact = (queries.astype(np.int64) @ codes.T.astype(np.int64) + base[:, None]).astype(np.float32) * steps
    floors = np.sort(exact, axis=1)[:, -5].copy()
    if bits == 8:
        strips = rest = np.ascontiguousarray(codes.reshape(size // 16, 16, 24, 4).transpose(0, 2, 1, 3))
    else:
        strips, rest = pack_codes(codes, bits)
    found, scores, reached = score_block(target, queries, strips, rest, bits, base=base, steps=steps, floors=floors)
    assert found
    np.testing.assert_array_equal(reached.astype(bool), exact >= floors[:, None])
    np.testing.assert_array_equal(scores[reached.astype(bool)], exact[reached.astype(bool)])


def test_the_instruction_set_is_that_of_the_processor_compiled_for(monkeypatch) -> None:
    assert find_instruction_set() in RUNS
    monkeypatch.setattr(code_products, "has_vnni", lambda: False)
    monkeypatch.setattr(numba.config, "CPU_NAME", "generic")
    assert find_instruction_set() == "portable"
