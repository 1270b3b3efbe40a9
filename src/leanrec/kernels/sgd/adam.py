"""Adam on dense arrays with hand-written gradients, a learning-rate schedule, and the training loop around both."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping

import numba
import numpy as np

from leanrec.errors import DivergedError, TrainingWarning
from leanrec.kernels.threads import compile_serial_and_parallel
from leanrec.types import Float32Array

__all__ = ["Adam", "learning_rate_factor", "train_with_adam"]

_FINAL_FACTOR = 0.01
# Below this size, starting threads costs more than they save.
_MIN_SIZE_FOR_THREADS = 2**15
_BLOCK = 2**14


def learning_rate_factor(progress: float, warmup: float, schedule: str = "cosine") -> float:
    """The learning rate as a share of its maximum, after the share ``progress`` of all steps.

    Rises linearly over ``warmup``, then falls to 0.01 by a "cosine" or "linear" schedule, or stays ("constant").
    """
    if progress < warmup:
        # The first step must move too.
        return max(progress, 1e-3) / warmup
    left = (progress - warmup) / max(1e-9, 1 - warmup)
    curve = {"cosine": 0.5 + 0.5 * math.cos(math.pi * left), "linear": 1 - left, "constant": 1.0}
    return _FINAL_FACTOR + (1 - _FINAL_FACTOR) * curve[schedule]


class Adam:
    """Adam with decoupled weight decay, on named float32 arrays that are changed in place.

    Kingma & Ba, "Adam", ICLR 2015, with β₁ = 0.9, β₂ = 0.99 and ε = 1e-12; Loshchilov & Hutter, "Decoupled Weight Decay
    Regularization", ICLR 2019. Two moments per number; a step is one multithreaded pass.
    """

    def __init__(self, arrays: Mapping[str, Float32Array], weight_decay: float = 0.0) -> None:
        self.arrays, self.weight_decay, self.steps = arrays, weight_decay, 0
        self.first_moments = {name: np.zeros_like(array) for name, array in arrays.items()}
        self.second_moments = {name: np.zeros_like(array) for name, array in arrays.items()}

    def step(self, gradients: Mapping[str, Float32Array], learning_rate: float) -> None:
        """Update every array by its gradient."""
        self.steps += 1
        b1, b2 = 0.9, 0.99
        decay = learning_rate * self.weight_decay
        scale = np.array([learning_rate / (1 - b1**self.steps), 1 / (1 - b2**self.steps), decay], np.float32)
        for name, array in self.arrays.items():
            gradient = np.ascontiguousarray(gradients[name], dtype=np.float32)
            moments = self.first_moments[name], self.second_moments[name]
            x, g, m, v = (each.reshape(-1) for each in (array, gradient, *moments))
            update = _update.serial if array.size < _MIN_SIZE_FOR_THREADS else _update.parallel
            update(x, g, m, v, scale, np.float32(b1), np.float32(b2))


def train_with_adam(
    arrays: Mapping[str, Float32Array],
    epochs: Iterable[int],
    make_batches: Callable[[np.random.Generator], Iterable[Callable[[], tuple[float, Mapping[str, Float32Array]]]]],
    *,
    n_epochs: int,
    learning_rate: float,
    warmup: float,
    weight_decay: float,
    seed: int,
    should_stop: Callable[[], bool],
) -> list[float]:
    """Train ``arrays`` in place. Returns the mean loss of each completed epoch.

    If a loss or an array becomes infinite or NaN, the arrays of the last good epoch, of which a copy is kept, are
    restored, with a TrainingWarning.

    Args:
        arrays: parameters.
        epochs: the numbers 0, 1, … below ``n_epochs``, possibly wrapped in a progress bar.
        make_batches: the batches of an epoch from its generator; each returns its loss and gradients when called.
        n_epochs: number of epochs, for the schedule.
        learning_rate: the maximum.
        warmup: share of all steps over which the learning rate rises.
        weight_decay: per step, times the learning rate.
        seed: seeds the generator of each epoch.
        should_stop: called before every step but the first; True ends the training.

    Raises:
        DivergedError: a loss or an array is infinite or NaN before the first epoch has ended.
    """
    adam = Adam(arrays, weight_decay)
    losses: list[float] = []
    last: dict[str, Float32Array] = {}
    for epoch in epochs:
        batches = list(make_batches(np.random.default_rng([seed, epoch])))
        total = 0.0
        for step, batch in enumerate(batches):
            if adam.steps and should_stop():
                if not _are_finite(arrays):
                    _restore(arrays, last, f"The vectors became infinite or nan in epoch {epoch + 1}.", len(losses))
                return losses
            loss, gradients = batch()
            if not math.isfinite(loss):
                _restore(arrays, last, f"The loss became {loss} in epoch {epoch + 1}, step {step + 1}.", len(losses))
                return losses
            progress = (epoch + step / len(batches)) / n_epochs
            adam.step(gradients, learning_rate * learning_rate_factor(progress, warmup))
            total += loss
        # The loss of a step is computed before its update, so the last update is checked here.
        if not _are_finite(arrays):
            _restore(arrays, last, f"The vectors became infinite or nan in epoch {epoch + 1}.", len(losses))
            return losses
        losses.append(total / max(1, len(batches)))
        last = {name: array.copy() for name, array in arrays.items()}
    return losses


def _are_finite(arrays: Mapping[str, Float32Array]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays.values())


def _restore(arrays: Mapping[str, Float32Array], last: Mapping[str, Float32Array], reason: str, epochs: int) -> None:
    """Restore the arrays of the last good epoch and warn. Raises DivergedError if no epoch has ended."""
    if not epochs:
        raise DivergedError(f"{reason} Lower learning_rate.")
    for name, array in arrays.items():
        array[...] = last[name]
    # From here to train_with_adam, to fit, to its caller.
    message = f"{reason} The vectors of epoch {epochs} are kept. Lower learning_rate."
    warnings.warn(message, TrainingWarning, stacklevel=4)


# Without "nnan", which would let the compiler treat NaN as 0. Python's error model would raise a division by zero.
@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _update_block(
    x: Float32Array,
    g: Float32Array,
    m: Float32Array,
    v: Float32Array,
    scale: Float32Array,
    b1: np.float32,
    b2: np.float32,
) -> None:
    one = np.float32(1)
    # From 0 on, so that the compiler knows that no index is negative, and vectorizes.
    for i in range(len(x)):
        m[i] = b1 * m[i] + (one - b1) * g[i]
        v[i] = b2 * v[i] + (one - b2) * g[i] * g[i]
        x[i] -= scale[0] * m[i] / (np.sqrt(v[i] * scale[1]) + np.float32(1e-12)) + scale[2] * x[i]


@compile_serial_and_parallel
def _update(
    x: Float32Array,
    g: Float32Array,
    m: Float32Array,
    v: Float32Array,
    scale: Float32Array,
    b1: np.float32,
    b2: np.float32,
) -> None:
    for block in numba.prange((len(x) + _BLOCK - 1) // _BLOCK):
        part = slice(block * _BLOCK, (block + 1) * _BLOCK)
        _update_block(x[part], g[part], m[part], v[part], scale, b1, b2)
