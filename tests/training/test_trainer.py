"""Training loop: results, stopping criteria, gradient options and divergence."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from contracts.regression import HOW, ONE, Lines, TrainingAbortedError, fresh, learn, quality, same, weights
from leanrec.budget import Budget
from leanrec.callbacks import ModelCheckpoint
from leanrec.errors import DivergedError, SettingError
from leanrec.run import Run
from leanrec.training import trainer
from leanrec.training.config import TrainingSettings
from leanrec.training.trainer import TrainingWarning, resolve_device, train


def test_training_reduces_the_loss() -> None:
    history, found = learn(TrainingSettings(epochs=40, learning_rate=0.02), scored=True)
    assert history.stopped == "epochs"
    assert len(history.losses) == len(history.scores) == 40
    assert history.losses[-1] < history.losses[0] / 5
    # The weights are those of the best epoch.
    network = fresh()
    network.load_state_dict(found)
    assert quality(network.eval()) == pytest.approx(max(history.scores))
    assert history.scores[history.best] == max(history.scores)


def test_result_depends_on_the_seed() -> None:
    first, second, other = learn(), learn(), learn(run=Run(seed=5, threads=1))
    assert first[0] == second[0]
    assert same(first[1], second[1])
    assert not same(first[1], other[1])


def test_random_state_and_threads_of_the_caller_are_restored() -> None:
    torch.manual_seed(1)
    network, expected, before = fresh(), torch.get_rng_state(), torch.get_num_threads()
    torch.set_rng_state(expected)
    train(network, Lines(), HOW, ONE)
    assert torch.equal(torch.get_rng_state(), expected)
    assert torch.get_num_threads() == before


def test_accumulated_batches_equal_one_larger_batch() -> None:
    plain = TrainingSettings(epochs=3, learning_rate=0.03, schedule="constant", warmup=0)
    gathered = dataclasses.replace(plain, gradient_accumulation=4)
    large = learn(plain, objective=Lines(size=32, noise=0), dropout=0)[1]
    small = learn(gathered, objective=Lines(size=8, noise=0), dropout=0)[1]
    for name, value in large.items():
        torch.testing.assert_close(small[name], value, rtol=1e-4, atol=1e-5)


def test_remaining_batches_of_an_epoch_make_a_step() -> None:
    """Eight batches accumulated by three: steps of three, three and two."""
    steps = []
    watched = trainer.Trainer(
        fresh(), Lines(), dataclasses.replace(HOW, epochs=1, gradient_accumulation=3), ONE, None, "Lines"
    )
    make = watched.optimizer.step
    watched.optimizer.step = lambda: (steps.append(1), make())[1]  # type: ignore[method-assign]
    watched.fit()
    assert len(steps) == 3


@pytest.mark.parametrize(
    ("schedule", "at"),
    [
        ("cosine", {0.6: 0.01 + 0.99 * 0.5, 1.0: 0.01}),
        ("linear", {0.6: 0.01 + 0.99 * 0.5, 1.0: 0.01}),
        ("constant", {0.6: 1, 1.0: 1}),
    ],
)
def test_the_learning_rate_rises_and_falls(schedule: str, at: dict[float, float]) -> None:
    settings = TrainingSettings(learning_rate=0.4, schedule=schedule, warmup=0.2)
    held = trainer.Trainer(fresh(), Lines(), settings, ONE, None, "Lines")

    def rate(done: float) -> float:
        held._set_learning_rate(done)
        rates = {group["lr"] for group in held.optimizer.param_groups}
        assert len(rates) == 1
        return rates.pop() / 0.4

    assert rate(0.1) == pytest.approx(0.5)
    assert rate(0.2) == pytest.approx(1)
    for done, share in at.items():
        assert rate(done) == pytest.approx(share)


def test_without_warmup_the_first_step_has_the_full_rate() -> None:
    held = trainer.Trainer(fresh(), Lines(), TrainingSettings(warmup=0, learning_rate=0.4), ONE, None, "Lines")
    held._set_learning_rate(0.0)
    assert {group["lr"] for group in held.optimizer.param_groups} == {0.4}


def test_gradients_are_clipped() -> None:
    norms = []
    held = trainer.Trainer(fresh(), Lines(), dataclasses.replace(HOW, epochs=1, max_grad_norm=0.05), ONE, None, "Lines")
    make = held.optimizer.step

    def step() -> None:
        norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in held.network.parameters())))
        make()

    held.optimizer.step = step  # type: ignore[method-assign]
    held.fit()
    assert max(norms) == pytest.approx(0.05, rel=1e-3)


def test_bfloat16_is_used_for_products_only() -> None:
    kinds = set()
    network = fresh(0)
    network[0].register_forward_hook(lambda module, given, out: kinds.add(out.dtype))
    history = train(network, Lines(), dataclasses.replace(HOW, precision="bfloat16"), ONE)
    assert kinds == {torch.bfloat16}
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    exact, _ = learn(dropout=0)
    assert history.losses[-1] == pytest.approx(exact.losses[-1], rel=0.1)


def falling(values: Sequence[float]) -> tuple[nn.Module, Callable[[], float]]:
    """A network, and a score function that returns the given values."""
    left = list(values)
    return fresh(), lambda: left.pop(0)


def test_patience_counts_epochs_without_a_better_score(tmp_path: Path) -> None:
    network, score = falling([1, 3, 2, 3, 2.5, 2, 2.9, 9])
    run = dataclasses.replace(ONE, callbacks=(ModelCheckpoint(tmp_path),))
    settings = TrainingSettings(epochs=20, patience=3)
    history = train(network, Lines(), settings, run, score=score)
    assert (history.stopped, history.best, history.scores) == ("patience", 3, (1, 3, 2, 3, 2.5, 2, 2.9))
    # Read back, it has still lost its patience.
    later, _ = falling([])
    assert train(later, Lines(), settings, run, score=lambda: pytest.fail("trained on")) == history
    assert same(weights(network), weights(later))


def test_without_patience_all_epochs_run_and_the_best_is_kept() -> None:
    network, score = falling([1, 3, 2, 1])
    kept = []
    history = train(network, Lines(before=lambda *_: kept.append(weights(network))), dataclasses.replace(HOW, epochs=4), ONE, score=score)  # fmt: skip
    assert (history.stopped, history.best) == ("epochs", 1)
    assert same(weights(network), kept[16])


def test_a_score_that_never_differs_keeps_the_last_epoch_and_warns() -> None:
    network, score = falling([0.0] * 4)
    with pytest.warns(TrainingWarning, match="was 0 after each of 4 epochs"):
        history = train(network, Lines(), TrainingSettings(epochs=4, patience=1), ONE, score=score)
    assert (history.stopped, history.best) == ("epochs", 3)


def test_nan_score_is_never_the_best() -> None:
    network, score = falling([0.5, math.nan, math.nan])
    assert train(network, Lines(), dataclasses.replace(HOW, epochs=3), ONE, score=score).best == 0


def break_at(epoch: int, step: int, network: nn.Module) -> Lines:
    """Weights that make the loss of this step infinite."""

    def spoil(e: int, s: int) -> None:
        if (e, s) == (epoch, step):
            with torch.no_grad():
                network[3].weight.mul_(torch.nan)

    return Lines(before=spoil)


def test_nonfinite_loss_in_the_first_epoch_raises() -> None:
    network = fresh()
    with pytest.raises(DivergedError, match=r"Lines: the loss became nan in epoch 1, step 3\. Lower learning_rate"):
        train(network, break_at(0, 2, network), HOW, ONE, name="Lines")


def test_nonfinite_loss_later_keeps_the_best_weights() -> None:
    network = fresh()
    with pytest.warns(
        TrainingWarning, match=r"the loss became nan in epoch 3, step 2\. The weights of epoch 2 are kept"
    ):
        history = train(network, break_at(2, 1, network), HOW, ONE, name="Lines")
    assert history.stopped == "diverged"
    assert len(history.losses) == 2
    reference = fresh()
    with pytest.raises(TrainingAbortedError):
        train(reference, Lines(before=_stop_at(2)), HOW, ONE)
    assert same(weights(network), weights(reference))


def _stop_at(epoch: int) -> Callable[[int, int], None]:
    def stop(e: int, step: int) -> None:
        if e == epoch:
            raise TrainingAbortedError

    return stop


def test_nonfinite_weights_after_the_last_step_are_not_kept() -> None:
    """The loss of the last step is finite, the weights after it are not."""
    network = fresh()
    objective = Lines()
    last = objective.loss

    def loss(net: nn.Module, batch: Any, rng: np.random.Generator) -> Tensor:
        value = last(net, batch, rng)
        if (objective.epoch, objective.step) == (1, 8):
            value = value + (net[0].weight - net[0].weight.detach()).abs().sqrt().sum()
        return value

    objective.loss = loss  # type: ignore[method-assign]
    with pytest.warns(TrainingWarning, match="the weights became infinite or nan in epoch 2, step 8"):
        history = train(network, objective, HOW, ONE, name="Lines")
    assert history.stopped == "diverged"
    assert all(torch.isfinite(value).all() for value in weights(network).values())


class Hurried(Run):
    """A run that is out of time after a number of checks."""

    def __init__(self, asked: int) -> None:
        super().__init__(seed=4, threads=1)
        object.__setattr__(self, "left", [asked])

    def out_of_time(self) -> bool:
        self.left[0] -= 1  # type: ignore[attr-defined]
        return self.left[0] < 0  # type: ignore[attr-defined]


def test_time_budget_keeps_the_best_epoch() -> None:
    counted: list[int] = []
    whole = Lines(before=lambda epoch, step: counted.append(epoch))
    history, found = learn(run=Hurried(0), objective=whole)
    # Half an epoch is better than none: one step is made in any case.
    assert (history.stopped, history.losses, len(counted)) == ("time", (), 1)
    assert not same(found, weights(fresh()))
    history, found = learn(run=Hurried(2 * 8 * 2 + 5))
    assert history.stopped == "time"
    assert len(history.losses) == 2
    reference = fresh()
    with pytest.raises(TrainingAbortedError):
        train(reference, Lines(before=_stop_at(2)), HOW, ONE)
    assert same(found, weights(reference))


def test_exhausted_time_budget_still_gives_a_model() -> None:
    history, _ = learn(run=Run(seed=4, threads=1, budget=Budget(fit_time=0.0)))
    assert history.stopped == "time"


def test_no_training_examples_give_a_warning() -> None:
    class Nothing(Lines):
        def batches(self, rng: np.random.Generator) -> Sequence[Any]:
            return []

    with pytest.warns(TrainingWarning, match="the data contain no training examples"):
        history, found = learn(objective=Nothing())
    assert history.losses == (0,) * 6
    assert same(found, weights(fresh()))


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta"])
def test_missing_device_is_refused(device: str) -> None:
    with pytest.raises(SettingError, match="device") as caught:
        resolve_device(Run(device=device))
    assert "\n" not in str(caught.value)
