"""Adam against its formula, the learning-rate schedule, and how training ends."""

from collections.abc import Callable

import numpy as np
import pytest

from leanrec.errors import DivergedError, TrainingWarning
from leanrec.kernels.sgd.adam import Adam, learning_rate_factor, train_with_adam


@pytest.mark.parametrize("size", [7, 40_000])
def test_adam_follows_its_formula(size: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(size).astype(np.float32)
    expected, m, v = x.astype(np.float64), np.zeros(size), np.zeros(size)
    adam = Adam({"x": x}, weight_decay=0.1)
    for t in range(1, 5):
        g = rng.standard_normal(size).astype(np.float32)
        adam.step({"x": g}, 0.01)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g.astype(np.float64) ** 2
        step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.99**t)) + 1e-12)
        expected -= 0.01 * step + 0.001 * expected
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)


def test_learning_rate_rises_and_falls() -> None:
    factors = [learning_rate_factor(progress, 0.1) for progress in np.linspace(0, 1, 101)]
    assert max(factors) == pytest.approx(1)
    assert np.argmax(factors) == 10
    assert factors[-1] == pytest.approx(0.01)
    assert all(np.diff(factors[1:11]) > 0)
    assert all(np.diff(factors[10:]) < 0)
    assert 0 < factors[0] < 0.2


def train(loss: float = 1.0, epochs: int = 3, stop_after: int = 10**9) -> tuple[list[float], dict[str, np.ndarray]]:
    arrays = {"x": np.ones(3, np.float32)}
    calls = iter(range(10**6))
    losses = train_with_adam(
        arrays, range(epochs), lambda rng: [lambda: (loss, {"x": np.ones(3, np.float32)})] * 2,
        n_epochs=epochs, learning_rate=0.1, warmup=0.0, weight_decay=0.0, seed=0,
        should_stop=lambda: next(calls) >= stop_after,
    )  # fmt: skip
    return losses, arrays


def test_runs_all_epochs() -> None:
    losses, arrays = train()
    assert losses == [1.0] * 3
    assert (arrays["x"] < 1).all()


def test_stops_on_request_but_never_before_the_first_step() -> None:
    losses, arrays = train(stop_after=0)
    assert losses == []
    assert (arrays["x"] < 1).all()


def test_error_names_the_step_that_diverged() -> None:
    with pytest.raises(DivergedError, match="epoch 1, step 1"):
        train(loss=float("nan"))


def train_with_bad_step(
    bad_step: int, *, gradient: float = 1.0, loss: float = 1.0, stop_at: Callable[[int], bool] = lambda step: False
) -> tuple[list[float], dict[str, np.ndarray]]:
    """Three epochs of two steps, of which ``bad_step``, counted from 0, returns that loss and gradient."""
    arrays, steps = {"x": np.ones(3, np.float32)}, [0]

    def batch() -> tuple[float, dict[str, np.ndarray]]:
        is_bad = steps[0] == bad_step
        steps[0] += 1
        return (loss if is_bad else 1.0), {"x": np.full(3, gradient if is_bad else 1.0, np.float32)}

    losses = train_with_adam(
        arrays, range(3), lambda rng: [batch] * 2,
        n_epochs=3, learning_rate=0.1, warmup=0.0, weight_decay=0.0, seed=0, should_stop=lambda: stop_at(steps[0]),
    )  # fmt: skip
    return losses, arrays


def after_two_epochs() -> np.ndarray:
    return train_with_bad_step(-1, stop_at=lambda step: step == 4)[1]["x"]


def test_nan_loss_restores_the_last_good_epoch() -> None:
    match = "loss became nan in epoch 3, step 2. The vectors of epoch 2 are kept"
    with pytest.warns(TrainingWarning, match=match) as warnings:
        losses, arrays = train_with_bad_step(5, loss=float("nan"))
    assert losses == [1.0] * 2
    np.testing.assert_array_equal(arrays["x"], after_two_epochs())
    assert warnings[0].filename == __file__


def test_last_step_is_checked() -> None:
    match = "vectors became infinite or nan in epoch 3. The vectors of epoch 2 are kept"
    with pytest.warns(TrainingWarning, match=match):
        losses, arrays = train_with_bad_step(5, gradient=float("nan"))
    assert losses == [1.0] * 2
    np.testing.assert_array_equal(arrays["x"], after_two_epochs())


def test_last_step_before_an_early_stop_is_checked() -> None:
    with pytest.warns(TrainingWarning, match="vectors became infinite or nan in epoch 3"):
        losses, arrays = train_with_bad_step(4, gradient=float("nan"), stop_at=lambda step: step == 5)
    assert losses == [1.0] * 2
    np.testing.assert_array_equal(arrays["x"], after_two_epochs())


@pytest.mark.parametrize("stop_at", [lambda step: False, lambda step: step == 1])
def test_nan_vectors_in_the_first_epoch_are_an_error(stop_at: Callable[[int], bool]) -> None:
    with pytest.raises(DivergedError, match="vectors became infinite or nan in epoch 1. Lower learning_rate"):
        train_with_bad_step(0 if stop_at(1) else 1, gradient=float("nan"), stop_at=stop_at)
