"""Training loop: batches, loss, optimizer steps, validation, early stopping and checkpoints."""

import contextlib
import copy
import dataclasses
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rich.progress
import torch
from torch import Tensor, nn

from leanrec.callbacks import ModelCheckpoint
from leanrec.errors import DivergedError, SettingError, TrainingWarning
from leanrec.kernels.sgd.adam import learning_rate_factor
from leanrec.run import Run
from leanrec.training.checkpoint import TrainingProgress, fingerprint, read_checkpoint, write_checkpoint
from leanrec.training.config import TrainingSettings
from leanrec.training.data_parallel import WorkerGroup, local_parameters
from leanrec.training.optimizers import make_optimizer

__all__ = [
    "Fingerprinted",
    "Trainer",
    "TrainingHistory",
    "TrainingObjective",
    "TrainingWarning",
    "limit_torch_threads",
    "resolve_device",
    "train",
]

_UNKNOWN_DEVICE = "device must be cpu, cuda or cuda:N. Got {!r}."


class TrainingObjective(Protocol):
    """Batches and loss of a model, as the trainer uses them."""

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        """The batches of one epoch in order, of any type that ``loss`` takes. They must depend on ``rng`` alone.

        In data-parallel training each worker accesses its own batches only, so a lazy sequence saves time.
        """
        ...

    def loss(self, network: nn.Module, batch: Any, rng: np.random.Generator) -> Tensor:
        """The mean loss over the examples of a batch. ``rng`` and torch's generator are seeded by the batch number."""
        ...


class Fingerprinted(Protocol):
    """Data with a digest of its content, such as a Dataset or an EvaluationSet."""

    @property
    def fingerprint(self) -> str:
        """Digest of the content."""
        ...


@dataclasses.dataclass(frozen=True)
class TrainingHistory:
    """Losses and scores of a training.

    Attributes:
        losses: mean loss of each epoch.
        scores: validation score after each epoch, higher is better; empty without validation.
        best: epoch whose weights are kept, from 0; the last of those with the best score.
        stopped: reason for the end: "epochs", "patience", "time" or "diverged".
    """

    losses: tuple[float, ...]
    scores: tuple[float, ...]
    best: int
    stopped: str


def resolve_device(run: Run) -> torch.device:
    """The torch device of ``run``. Raises SettingError if it does not exist."""
    try:
        device = torch.device(run.device)
    except RuntimeError as error:
        raise SettingError(_UNKNOWN_DEVICE.format(run.device)) from error
    if device.type not in {"cpu", "cuda"}:
        raise SettingError(_UNKNOWN_DEVICE.format(run.device))
    if run.device == "cuda" and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise SettingError(
            f"device must exist. Got {run.device!r}, and torch {torch.__version__} finds {count} GPUs. Use device='cpu'."
        )
    return device


@contextlib.contextmanager
def limit_torch_threads(run: Run) -> Iterator[None]:
    """Limit torch, BLAS and Numba to the threads of ``run`` inside the block."""
    before = torch.get_num_threads()
    with run.limit_threads():
        torch.set_num_threads(run.n_threads())
        try:
            yield
        finally:
            torch.set_num_threads(before)


def train(
    network: nn.Module,
    objective: TrainingObjective,
    settings: TrainingSettings,
    run: Run,
    *,
    score: Callable[[], float] | None = None,
    name: str = "Training",
    data: Sequence[Fingerprinted | None] = (),
) -> TrainingHistory:
    """Train ``network`` in place, and leave it in eval mode.

    It ends with the weights of the epoch with the best ``score`` (the last of equal ones), or of the last epoch without
    one. Where all scores are equal it warns. Deterministic for a seed, a device and a number of threads. In data-parallel
    training all workers end with the same weights: up to rounding those of one process that accumulates as many batches
    per step (``gradient_accumulation``).

    With a ``ModelCheckpoint`` callback the whole state is written after each epoch, and a run that finds a checkpoint
    of the same training resumes from it with the same result.

    Args:
        network: trained in place.
        objective: batches and loss.
        settings: of the training.
        run: seed, device, threads and budget.
        score: validation score of the current weights, higher is better.
        name: of the model, for messages.
        data: training and validation data, which identify a checkpoint.

    Raises:
        DivergedError: the loss is not finite before the first epoch has ended. Later the weights of the best epoch are
            kept, with a TrainingWarning.
        SettingError: the device does not exist.
        ArtifactError: the checkpoint is damaged or belongs to another training.
        WorkerError: another worker failed or differs.
    """
    with limit_torch_threads(run), torch.random.fork_rng(devices=[]):
        return Trainer(network, objective, settings, run, score, name, data).fit()


class Trainer:
    """One training with its state; see ``train``."""

    def __init__(
        self,
        network: nn.Module,
        objective: TrainingObjective,
        settings: TrainingSettings,
        run: Run,
        score: Callable[[], float] | None,
        name: str,
        data: Sequence[Fingerprinted | None] = (),
    ) -> None:
        self.network, self.objective, self.settings, self.run = network, objective, settings, run
        self.score, self.name, self.data = score, name, data
        self.device = resolve_device(run)
        self.workers = WorkerGroup.current()
        network.to(self.device)
        self.workers.broadcast_weights(network)
        self.optimizer = make_optimizer(network, settings)
        self.progress = TrainingProgress()
        self.best = self._copy_weights()
        self.trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
        # Whether the last step diverged or ran out of time in any worker, and whether an unfinished step diverged here.
        self.diverged = self.out_of_time = self.step_diverged = False
        self.data_digest = ""
        self.local = local_parameters(network)

    def fit(self) -> TrainingHistory:
        """Train until the epochs, the time or the patience are used up."""
        torch.manual_seed(self.run.seed)
        self._resume()
        self.workers.check_equal("number of finished epochs", self.progress.epoch)
        shown = self.run.shows_progress and self.workers.is_first
        with rich.progress.Progress(transient=True, disable=not shown) as bar:
            task = bar.add_task(self.name, total=self.settings.epochs, completed=self.progress.epoch)
            stopped = ""
            while not stopped and self.progress.epoch < self.settings.epochs:
                # Checked before the epoch: a resumed training may have been stopped by patience already.
                waited = self.progress.epoch - 1 - self.progress.best
                if self.settings.patience and waited >= self.settings.patience:
                    stopped = "patience"
                else:
                    stopped = self._run_epoch(lambda done: bar.update(task, completed=self.progress.epoch + done))
        self.network.load_state_dict(self.best)
        self.network.eval()
        state = self.progress
        if len(state.scores) > 1 and all(score == state.scores[0] for score in state.scores):
            self._warn(
                f"{self.name}: the validation score was {state.scores[0]:.4g} after each of {len(state.scores)} epochs, so it "
                "cannot choose between them, and the last one is kept. Validate on more queries with valid, or set patience=0."
            )
        return TrainingHistory(tuple(state.losses), tuple(state.scores), state.best, stopped or "epochs")

    def _run_epoch(self, show: Callable[[float], None]) -> str:
        """One pass over the data. Returns why it was stopped, or "" if it was completed."""
        state, n_accumulate = self.progress, self.settings.gradient_accumulation
        # One generator per epoch, so that a resumed epoch is the same.
        batches = self.objective.batches(np.random.default_rng([self.run.seed, state.epoch]))
        self.workers.check_equal("number of batches", len(batches))
        if not len(batches) and not state.epoch:
            self._warn(f"{self.name}: the data contain no training examples. The weights stay at their initial values.")
        own_batches = self.workers.assign_batches(len(batches))
        self.network.train()
        total = 0.0
        for step, index in enumerate(own_batches):
            # With several workers all stop where any of them was out of time at the last step.
            out_of_time = self.out_of_time if self.workers.count > 1 else self.run.out_of_time()
            if out_of_time and (state.losses or step):
                if not state.losses:
                    # Weights of half an epoch are better than the initial ones.
                    self.best = self._copy_weights()
                return "time"
            done = (step - step % n_accumulate) * self.workers.count
            self._set_learning_rate((state.epoch + done / len(batches)) / self.settings.epochs)
            ends_step = (step + 1) % n_accumulate == 0 or step + 1 == len(own_batches)
            loss = self._accumulate_batch(batches, index, ends_step=ends_step)
            if self.diverged:
                what = "the loss of another worker became nan" if math.isfinite(loss) else f"the loss became {loss}"
                return self._handle_divergence(what, step)
            total += loss
            show(step / len(own_batches))
        # The loss of the last step was computed before it, so the weights are checked too.
        finite = all(bool(torch.isfinite(p).all()) for p in self.network.parameters())
        if self.workers.sum_over_workers(float(not finite)):
            return self._handle_divergence("the weights became infinite or nan", len(own_batches) - 1)
        state.losses.append(self.workers.sum_over_workers(total) / max(1, len(batches)))
        self._validate()
        state.epoch += 1
        folder = self._checkpoint_folder()
        if folder is not None and (self.workers.is_first or self.local):
            write_checkpoint(folder, self.network, self.best, self.optimizer, state, self._identity())
        return ""

    def _accumulate_batch(self, batches: Sequence[Any], index: int, *, ends_step: bool) -> float:
        """Add the gradient of batch ``index`` and, if it ``ends_step``, take the optimizer step. Returns the loss."""
        # An index past the last batch fills up the last step: this worker joins the collective operations only.
        is_filler, index = index >= len(batches), index % len(batches)
        bf16 = self.settings.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            loss = self.objective.loss(self.network, batches[index], self._seed_batch(index))
        if is_filler:
            # Zero gradients, so that this worker still gets those that others send for its shard of a table.
            grads = torch.autograd.grad(loss * 0, self.trainable, allow_unused=True)
            for parameter, grad in zip(self.trainable, grads, strict=True):
                if parameter in self.local and grad is not None:
                    parameter.grad = grad if parameter.grad is None else parameter.grad + grad
            value = 0.0
        else:
            (loss / self.settings.gradient_accumulation).backward()
            value = float(loss.detach())
        diverged = not math.isfinite(value) or self.step_diverged
        if ends_step or (diverged and self.workers.count == 1):
            self._take_step(diverged)
        self.step_diverged = diverged and not ends_step
        return value

    def _take_step(self, diverged: bool) -> None:
        """One optimizer step by the gradients of all workers, unless the loss of any of them is not finite."""
        flags = self.workers.average_gradients(self.network, float(diverged), float(self.run.out_of_time()))
        self.diverged, self.out_of_time = flags[0] > 0, flags[1] > 0
        if self.diverged:
            return
        if self.settings.max_grad_norm:
            self.workers.clip_gradients(self.network, self.settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _seed_batch(self, index: int) -> np.random.Generator:
        """A generator for one batch, with torch seeded alike: results do not depend on which worker takes the batch."""
        # SeedSequence does not distinguish [a, b] from [a, b, 0].
        seeds = np.random.SeedSequence([self.run.seed, self.progress.epoch, index + 1])
        seed = int(seeds.generate_state(1, np.uint64)[0])
        # torch.manual_seed takes 0.25 ms because it visits all device types.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        return np.random.default_rng(seeds)

    def _set_learning_rate(self, done: float) -> None:
        factor = learning_rate_factor(done, self.settings.warmup, self.settings.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * factor

    def _validate(self) -> None:
        """Score the current weights, and keep them if none before are better or there is no score."""
        state = self.progress
        self.workers.broadcast_weights(self.network, buffers=True)
        if self.score is not None:
            self.network.eval()
            with torch.no_grad():
                state.scores.append(self.workers.broadcast_value(float(self.score())))
        # Of epochs with equal scores the later one is kept: it was trained for longer, and its score is no worse.
        if self.score is None or state.scores[-1] >= max(state.scores[:-1], default=-math.inf):
            state.best, self.best = state.epoch, self._copy_weights()
        if state.scores:
            self.run.on_epoch_end(state.epoch, state.scores[-1])

    def _handle_divergence(self, what: str, step: int) -> str:
        where = f"{self.name}: {what} in epoch {self.progress.epoch + 1}, step {step + 1}."
        if not self.progress.losses:
            raise DivergedError(f"{where} Lower learning_rate, or set max_grad_norm=1.")
        kept = f"The weights of epoch {self.progress.best + 1} are kept."
        self._warn(f"{where} {kept} Lower learning_rate, or set max_grad_norm=1.")
        return "diverged"

    def _warn(self, message: str) -> None:
        if self.workers.is_first:
            warnings.warn(message, TrainingWarning, stacklevel=5)

    def _copy_weights(self) -> dict[str, Tensor]:
        return copy.deepcopy(self.network.state_dict())

    def _identity(self) -> dict[str, Any]:
        shapes = {name: list(value.shape) for name, value in self.network.state_dict().items()}
        return {
            "name": self.name,
            "settings": dataclasses.asdict(self.settings),
            "seed": self.run.seed,
            "shapes": shapes,
            "data": self.data_digest,
        }

    def _checkpoint_folder(self) -> Path | None:
        """Folder of the checkpoint; workers with local parameters have one each."""
        checkpoint = self.run.find_callback(ModelCheckpoint)
        if checkpoint is None or not self.local:
            return None if checkpoint is None else checkpoint.folder
        return checkpoint.folder / f"worker-{self.workers.rank + 1}-of-{self.workers.count}"

    def _resume(self) -> None:
        """Load the checkpoint, if there is one of the same training."""
        folder = self._checkpoint_folder()
        if folder is not None:
            batches = self.objective.batches(np.random.default_rng([self.run.seed, 0]))
            ends = [batches[i] for i in {0, len(batches) - 1} if len(batches)]
            digests = [b"" if each is None else each.fingerprint.encode() for each in self.data]
            self.data_digest = fingerprint([*(np.frombuffer(each, np.uint8) for each in digests), len(batches), *ends])
            state = read_checkpoint(folder, self.network, self.optimizer, self._identity())
            if state is not None:
                self.progress, self.best = state
