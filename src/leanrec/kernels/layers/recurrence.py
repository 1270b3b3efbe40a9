"""Recurrences over sequences that lie end to end: gated recurrent units and linear recurrences.

Sequence b has the rows ``bounds[b]`` to ``bounds[b + 1]``, and starts with a state of zeros.
"""

import numba
import numpy as np

from leanrec.kernels.layers.activations import sigmoid_float32
from leanrec.types import Float32Array, Int64Array

__all__ = ["scan_gru", "scan_linear"]

_F = np.float32


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def scan_gru(inputs: Float32Array, weight: Float32Array, bias: Float32Array, bounds: Int64Array) -> Float32Array:
    """States (T, D) after each row, of a gated recurrent unit.

    Args:
        inputs: (T, 3 D) input part of the reset gate, the update gate and the new state.
        weight: (D, 3 D) of the state, transposed.
        bias: (3 D,) of the state.
        bounds: (B + 1,).
    """
    D = weight.shape[0]
    states = np.empty((inputs.shape[0], D), np.float32)
    hidden, sums = np.empty(D, np.float32), np.empty(3 * D, np.float32)
    for b in range(len(bounds) - 1):
        hidden[:] = 0
        for row in range(bounds[b], bounds[b + 1]):
            sums[:] = bias
            for d in range(D):
                h, of_state = hidden[d], weight[d]
                for i in range(3 * D):
                    sums[i] += h * of_state[i]
            x, out = inputs[row], states[row]
            for d in range(D):
                reset, update = sigmoid_float32(x[d] + sums[d]), sigmoid_float32(x[D + d] + sums[D + d])
                # tanh(x) = 2 σ(2 x) − 1
                new = _F(2) * sigmoid_float32(_F(2) * (x[2 * D + d] + reset * sums[2 * D + d])) - _F(1)
                hidden[d] = new + update * (hidden[d] - new)
                out[d] = hidden[d]
    return states


@numba.njit(cache=True, nogil=True, fastmath=True)
def scan_linear(x: Float32Array, decay: Float32Array, bounds: Int64Array) -> None:
    """h_t = λ h_{t−1} + x_t in place, for x (T, 2 H) of pairs of real and imaginary parts, and λ (2, H), all real parts first."""
    real, imaginary = decay[0], decay[1]
    for b in range(len(bounds) - 1):
        for row in range(bounds[b] + 1, bounds[b + 1]):
            before, now = x[row - 1], x[row]
            for i in range(len(real)):
                now[2 * i] += real[i] * before[2 * i] - imaginary[i] * before[2 * i + 1]
                now[2 * i + 1] += real[i] * before[2 * i + 1] + imaginary[i] * before[2 * i]
