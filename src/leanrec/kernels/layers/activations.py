"""Activation functions, softmax and layer normalization of float32 rows, in one pass through the memory.

Numba leaves calls of the C library's ``expf`` as they are, one number at a time; a polynomial is computed for a whole
vector register at once, which takes a tenth of the time.
"""

from typing import Any

import numba
import numpy as np

from leanrec.types import Float32Array

__all__ = ["add_gelu", "add_silu", "exp_float32", "normalize_rows", "sigmoid_float32", "silu_causal", "softmax_rows"]

_F = np.float32
# As in ``torch.nn.LayerNorm``.
_EPSILON = 1e-5


@numba.njit(inline="always")
def exp_float32(x: Any) -> Any:
    """exp(x) with a relative error of 2e-7; x is clipped to −87 … 88.

    2^n · exp(r) with |r| ≤ ln 2 / 2, by the polynomial of the Cephes library (S. Moshier, 1992).
    """
    x = min(max(x, _F(-87.0)), _F(88.0))
    n = np.floor(x * _F(1.44269504) + _F(0.5))
    r = x - n * _F(0.693359375) + n * _F(2.12194440e-4)
    p = _F(1.9875691500e-4) * r + _F(1.3981999507e-3)
    p = p * r + _F(8.3334519073e-3)
    p = p * r + _F(4.1665795894e-2)
    p = p * r + _F(1.6666665459e-1)
    p = p * r + _F(5.0000001201e-1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(_F)  # the exponent bits of 2^n
    return (p * r * r + r + _F(1)) * power


@numba.njit(inline="always")
def sigmoid_float32(x: Any) -> Any:
    """1 / (1 + exp(−x)) with an absolute error of 2e-7."""
    return _F(1) / (_F(1) + exp_float32(-x))


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def add_gelu(x: Float32Array, bias: Float32Array) -> None:
    """X ← GELU(x + bias) in place, for x (R, H) and bias (H,); absolute error 4e-7.

    The exact GELU, with the error function of Abramowitz & Stegun, "Handbook of Mathematical Functions", 7.1.26.
    """
    for row in range(x.shape[0]):
        for i in range(x.shape[1]):
            value = x[row, i] + bias[i]
            size = abs(value) * _F(0.70710678)
            t = _F(1) / (_F(1) + _F(0.3275911) * size)
            p = _F(1.061405429) * t - _F(1.453152027)
            p = (((p * t + _F(1.421413741)) * t - _F(0.284496736)) * t + _F(0.254829592)) * t
            x[row, i] = _F(0.5) * (value + abs(value) * (_F(1) - p * exp_float32(-size * size)))


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def add_silu(x: Float32Array, bias: Float32Array) -> None:
    """X ← SiLU(x + bias) in place, for x (R, H) and bias (H,); absolute error 2e-7 relative to max(1, |x|)."""
    for row in range(x.shape[0]):
        for i in range(x.shape[1]):
            value = x[row, i] + bias[i]
            x[row, i] = value * sigmoid_float32(value)


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def silu_causal(x: Float32Array, first: int, bias: Float32Array, scale: float) -> None:
    """X ← scale · SiLU(x + bias of the distance) in place, for products x (R, K) with the rows before each; 0 after it.

    Row r is ``first`` + r steps after the first column; ``bias`` (L,) is by the number of steps.
    """
    factor = _F(scale)
    for row in range(x.shape[0]):
        here = first + row
        width = min(x.shape[1], here + 1)
        for i in range(width):
            value = x[row, i] + bias[here - i]
            x[row, i] = value * sigmoid_float32(value) * factor
        x[row, width:] = 0


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def softmax_rows(x: Float32Array, first: int, scale: float) -> None:
    """Softmax of scale · x (R, H) in place, over the cells up to ``first`` + r in row r; zero after them."""
    factor = _F(scale)
    for row in range(x.shape[0]):
        width = min(x.shape[1], first + row + 1)
        highest = x[row, 0]
        for i in range(width):
            highest = max(highest, x[row, i])
        total = _F(0)
        for i in range(width):
            x[row, i] = exp_float32((x[row, i] - highest) * factor)
            total += x[row, i]
        inverse = _F(1) / total
        for i in range(width):
            x[row, i] *= inverse
        x[row, width:] = 0


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def normalize_rows(x: Float32Array, weight: Float32Array, bias: Float32Array) -> Float32Array:
    """Layer normalization of x (R, D): mean 0 and variance 1 in each row, then times ``weight`` (D,) plus ``bias`` (D,)."""
    out = np.empty_like(x)
    size = _F(x.shape[1])
    for row in range(x.shape[0]):
        total = _F(0)
        for i in range(x.shape[1]):
            total += x[row, i]
        mean = total / size
        squares = _F(0)
        for i in range(x.shape[1]):
            squares += (x[row, i] - mean) * (x[row, i] - mean)
        scale = _F(1) / np.sqrt(squares / size + _F(_EPSILON))
        for i in range(x.shape[1]):
            out[row, i] = (x[row, i] - mean) * scale * weight[i] + bias[i]
    return out
