"""Adam against its formula, the learning rate, and how a descent ends."""

from collections.abc import Callable

import numpy as np
import pytest

from leanrec.errors import DivergedError, TrainingWarning
from leanrec.kernels.sgd.adam import Adam, learning_rate_factor, train_with_adam


@pytest.mark.parametrize("size", [7, 40_000])
def test_adam_is_its_formula(size: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(size).astype(np.float32)
    expected, m, v = x.astype(np.float64), np.zeros(size), np.zeros(size)
    adam = Adam({"x": x}, decay=0.1)
    for t in range(1, 5):
        g = rng.standard_normal(size).astype(np.float32)
        adam.step({"x": g}, 0.01)
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g.astype(np.float64) ** 2
        step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.99**t)) + 1e-12)
        expected -= 0.01 * step + 0.001 * expected
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)


def test_the_rate_rises_and_falls() -> None:
    rates = [learning_rate_factor(done, 0.1) for done in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(1)
    assert np.argmax(rates) == 10
    assert rates[-1] == pytest.approx(0.01)
    assert all(np.diff(rates[1:11]) > 0)
    assert all(np.diff(rates[10:]) < 0)
    assert 0 < rates[0] < 0.2


def run(loss: float = 1.0, epochs: int = 3, stop_after: int = 10**9) -> tuple[list[float], dict[str, np.ndarray]]:
    arrays = {"x": np.ones(3, np.float32)}
    asked = iter(range(10**6))
    losses = train_with_adam(
        arrays, range(epochs), lambda rng: [lambda: (loss, {"x": np.ones(3, np.float32)})] * 2,
        of=epochs, learning_rate=0.1, warmup=0.0, decay=0.0, seed=0, enough=lambda: next(asked) >= stop_after,
    )  # fmt: skip
    return losses, arrays


def test_goes_down_for_all_epochs() -> None:
    losses, arrays = run()
    assert losses == [1.0] * 3
    assert (arrays["x"] < 1).all()


def test_stops_when_told_but_never_before_the_first_step() -> None:
    losses, arrays = run(stop_after=0)
    assert losses == []
    assert (arrays["x"] < 1).all()


def test_says_where_it_diverged() -> None:
    with pytest.raises(DivergedError, match="epoch 1, step 1"):
        run(loss=float("nan"))


def until(
    wrong_at: int, *, gradient: float = 1.0, loss: float = 1.0, enough: Callable[[int], bool] = lambda step: False
) -> tuple[list[float], dict[str, np.ndarray]]:
    """Three epochs of two steps, of which one, counted from 0, gives that loss and gradient."""
    arrays, made = {"x": np.ones(3, np.float32)}, [0]

    def batch() -> tuple[float, dict[str, np.ndarray]]:
        here = made[0] == wrong_at
        made[0] += 1
        return (loss if here else 1.0), {"x": np.full(3, gradient if here else 1.0, np.float32)}

    losses = train_with_adam(
        arrays, range(3), lambda rng: [batch] * 2,
        of=3, learning_rate=0.1, warmup=0.0, decay=0.0, seed=0, enough=lambda: enough(made[0]),
    )  # fmt: skip
    return losses, arrays


def at_the_end_of_epoch_two() -> np.ndarray:
    return until(-1, enough=lambda step: step == 4)[1]["x"]


def test_a_loss_that_is_no_number_gives_back_the_last_good_epoch() -> None:
    with pytest.warns(TrainingWarning, match="loss became nan in epoch 3, step 2. Those of epoch 2 are kept") as said:
        losses, arrays = until(5, loss=float("nan"))
    assert losses == [1.0] * 2
    np.testing.assert_array_equal(arrays["x"], at_the_end_of_epoch_two())
    assert said[0].filename == __file__


def test_the_last_step_is_looked_at_too() -> None:
    with pytest.warns(TrainingWarning, match="vectors became infinite or nan in epoch 3. Those of epoch 2 are kept"):
        losses, arrays = until(5, gradient=float("nan"))
    assert losses == [1.0] * 2
    np.testing.assert_array_equal(arrays["x"], at_the_end_of_epoch_two())


def test_so_is_the_last_step_before_the_time_is_over() -> None:
    with pytest.warns(TrainingWarning, match="vectors became infinite or nan in epoch 3"):
        losses, arrays = until(4, gradient=float("nan"), enough=lambda step: step == 5)
    assert losses == [1.0] * 2
    np.testing.assert_array_equal(arrays["x"], at_the_end_of_epoch_two())


@pytest.mark.parametrize("enough", [lambda step: False, lambda step: step == 1])
def test_vectors_that_are_no_numbers_in_the_first_epoch_are_an_error(enough: Callable[[int], bool]) -> None:
    with pytest.raises(DivergedError, match="vectors became infinite or nan in epoch 1. Lower learning_rate"):
        until(0 if enough(1) else 1, gradient=float("nan"), enough=enough)
