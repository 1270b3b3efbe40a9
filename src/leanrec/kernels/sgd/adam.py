"""Steps down a gradient that was made by hand: Adam on dense arrays, and a learning rate that rises and falls."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping

import numba
import numpy as np

from leanrec.errors import DivergedError, TrainingWarning
from leanrec.types import Float32Array

__all__ = ["Adam", "train_with_adam", "learning_rate_factor"]

_LOWEST = 0.01


def learning_rate_factor(done: float, warmup: float, schedule: str = "cosine") -> float:
    """Share of the highest learning rate when the share ``done`` of all steps is behind.

    Up in a line over ``warmup``, then to a hundredth by a "cosine", in a line ("linear"), or as it is ("constant").
    """
    if done < warmup:
        # The first step of all is one, too.
        return max(done, 1e-3) / warmup
    left = (done - warmup) / max(1e-9, 1 - warmup)
    curve = {"cosine": 0.5 + 0.5 * math.cos(math.pi * left), "linear": 1 - left, "constant": 1.0}
    return _LOWEST + (1 - _LOWEST) * curve[schedule]


class Adam:
    """Adam with decoupled decay (Kingma & Ba 2015; Loshchilov & Hutter 2019) on named arrays, changed in place.

    Two moments for each number; a step passes once over them, in threads.
    """

    def __init__(self, arrays: Mapping[str, Float32Array], decay: float = 0.0) -> None:
        self.arrays, self.decay, self.steps = arrays, decay, 0
        self.first = {name: np.zeros_like(array) for name, array in arrays.items()}
        self.second = {name: np.zeros_like(array) for name, array in arrays.items()}

    def step(self, gradients: Mapping[str, Float32Array], learning_rate: float) -> None:
        """One step against ``gradients``, one for each array."""
        self.steps += 1
        b1, b2 = 0.9, 0.99
        scale = np.array(
            [learning_rate / (1 - b1**self.steps), 1 / (1 - b2**self.steps), learning_rate * self.decay], np.float32
        )
        for name, array in self.arrays.items():
            gradient = np.ascontiguousarray(gradients[name], dtype=np.float32)
            value, slope, first, second = (
                each.reshape(-1) for each in (array, gradient, self.first[name], self.second[name])
            )
            step = _adam_few if array.size < 2**15 else _adam_many
            step(value, slope, first, second, scale, np.float32(b1), np.float32(b2))


def train_with_adam(
    arrays: Mapping[str, Float32Array],
    epochs: Iterable[int],
    batches: Callable[[np.random.Generator], Iterable[Callable[[], tuple[float, Mapping[str, Float32Array]]]]],
    *,
    of: int,
    learning_rate: float,
    warmup: float,
    decay: float,
    seed: int,
    enough: Callable[[], bool],
) -> list[float]:
    """Change ``arrays`` in place, epoch by epoch; the mean loss of each.

    Where a loss or an array is no longer a number, the arrays go back to the end of the last good epoch, of which a copy
    is kept, and a TrainingWarning says so.

    Args:
        arrays: what is learnt.
        epochs: the numbers 0, 1, …; a progress bar, say.
        batches: the batches of an epoch from its generator; each, when called, gives its loss and its gradients.
        of: number of epochs.
        learning_rate: the highest.
        warmup: share of all steps over which it rises.
        decay: per step, in units of the learning rate.
        seed: the generator of an epoch follows from it.
        enough: whether to stop now, asked before each step but the first.

    Raises:
        DivergedError: a loss or an array is not a number, and no epoch has ended to go back to.
    """
    adam = Adam(arrays, decay)
    losses: list[float] = []
    last: dict[str, Float32Array] = {}
    for epoch in epochs:
        work = list(batches(np.random.default_rng([seed, epoch])))
        total = 0.0
        for step, batch in enumerate(work):
            if adam.steps and enough():
                if not _finite(arrays):
                    _go_back(arrays, last, f"The vectors became infinite or nan in epoch {epoch + 1}.", len(losses))
                return losses
            loss, gradients = batch()
            if not math.isfinite(loss):
                _go_back(arrays, last, f"The loss became {loss} in epoch {epoch + 1}, step {step + 1}.", len(losses))
                return losses
            adam.step(gradients, learning_rate * learning_rate_factor((epoch + step / len(work)) / of, warmup))
            total += loss
        # A loss tells of a step only when the next one is made.
        if not _finite(arrays):
            _go_back(arrays, last, f"The vectors became infinite or nan in epoch {epoch + 1}.", len(losses))
            return losses
        losses.append(total / max(1, len(work)))
        last = {name: array.copy() for name, array in arrays.items()}
    return losses


def _finite(arrays: Mapping[str, Float32Array]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays.values())


def _go_back(arrays: Mapping[str, Float32Array], last: Mapping[str, Float32Array], why: str, epochs: int) -> None:
    """The arrays as they were when so many epochs had ended; raises where none had."""
    if not epochs:
        raise DivergedError(f"{why} Lower learning_rate.")
    for name, array in arrays.items():
        array[...] = last[name]
    # From here to descend, to fit, to who called that.
    warnings.warn(f"{why} Those of epoch {epochs} are kept. Lower learning_rate.", TrainingWarning, stacklevel=4)


# Told that no number is nan, the compiler takes one for a zero; the errors of Python would raise it as a division by zero.
@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
def _adam(
    first_row: int,
    last_row: int,
    x: Float32Array,
    g: Float32Array,
    m: Float32Array,
    v: Float32Array,
    scale: Float32Array,
    b1: np.float32,
    b2: np.float32,
) -> None:
    one = np.float32(1)
    for i in range(first_row, last_row):
        m[i] = b1 * m[i] + (one - b1) * g[i]
        v[i] = b2 * v[i] + (one - b2) * g[i] * g[i]
        x[i] -= scale[0] * m[i] / (np.sqrt(v[i] * scale[1]) + np.float32(1e-12)) + scale[2] * x[i]


@numba.njit(cache=True)
def _adam_few(
    x: Float32Array,
    g: Float32Array,
    m: Float32Array,
    v: Float32Array,
    scale: Float32Array,
    b1: np.float32,
    b2: np.float32,
) -> None:
    _adam(0, len(x), x, g, m, v, scale, b1, b2)


@numba.njit(parallel=True, cache=True)
def _adam_many(
    x: Float32Array,
    g: Float32Array,
    m: Float32Array,
    v: Float32Array,
    scale: Float32Array,
    b1: np.float32,
    b2: np.float32,
) -> None:
    step = 2**14
    for part in numba.prange((len(x) + step - 1) // step):
        _adam(part * step, min(len(x), (part + 1) * step), x, g, m, v, scale, b1, b2)
