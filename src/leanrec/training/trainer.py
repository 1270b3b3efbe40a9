"""The loop: batches → loss → step, until the epochs, the time or the patience are used up."""

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
from leanrec.kernels.sgd.adam import rate
from leanrec.run import Run
from leanrec.training.checkpoint import TrainingProgress, fingerprint, read_checkpoint, write_checkpoint
from leanrec.training.config import TrainingSettings
from leanrec.training.data_parallel import WorkerGroup, local_parameters
from leanrec.training.optimizers import make_optimizer

__all__ = ["Trainer", "Fingerprinted", "TrainingHistory", "TrainingObjective", "TrainingWarning", "resolve_device", "limit_torch_threads", "train"]

_NO_DEVICE = "device must be cpu, cuda or cuda:N. Got {!r}."


class TrainingObjective(Protocol):
    """What a model brings to the loop."""

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        """The batches of one epoch, in order; whatever ``loss`` takes. They follow from ``rng`` alone.

        Under torchrun every worker asks for its own ones alone, so a sequence that makes them when asked saves time.
        """
        ...

    def loss(self, network: nn.Module, batch: Any, rng: np.random.Generator) -> Tensor:
        """The mean loss over the examples of a batch. What it draws, from ``rng`` or torch, follows from the batch's number."""
        ...


class Fingerprinted(Protocol):
    """Data that are told from other data by a digest: a Dataset, EvaluationSet."""

    @property
    def fingerprint(self) -> str:
        """The digest of all of it."""
        ...


@dataclasses.dataclass(frozen=True)
class TrainingHistory:
    """What happened.

    Attributes:
        losses: mean loss of each epoch.
        scores: held-out score after each epoch, higher is better; empty where there was none.
        best: the epoch whose weights are kept, from 0.
        stopped: why training ended: "epochs", "patience", "time" or "diverged".
    """

    losses: tuple[float, ...]
    scores: tuple[float, ...]
    best: int
    stopped: str


def resolve_device(run: Run) -> torch.device:
    """The device that ``run`` asks for. Raises SettingError if it is not there."""
    try:
        device = torch.device(run.device)
    except RuntimeError as error:
        raise SettingError(_NO_DEVICE.format(run.device)) from error
    if device.type not in {"cpu", "cuda"}:
        raise SettingError(_NO_DEVICE.format(run.device))
    if run.device == "cuda" and "LOCAL_RANK" in os.environ:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        raise SettingError(
            f"device {run.device!r} is not there: torch {torch.__version__} sees {count} GPUs. Use device='cpu'."
        )
    return device


@contextlib.contextmanager
def limit_torch_threads(run: Run) -> Iterator[None]:
    """Hold torch, BLAS and Numba to the threads of ``run`` inside the block."""
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
    of: Sequence[Fingerprinted | None] = (),
) -> TrainingHistory:
    """Train ``network`` in place.

    It ends with the weights of the best epoch where ``score`` tells, else of the last, ready to answer. ``of`` is what it
    is trained and judged on: a checkpoint is known by it.

    Deterministic for a seed, a device and a number of threads. Under torchrun all workers train together and end with the
    same weights: to the rounding of sums those of one process with as many batches for each step (``accumulate``).

    A run with a ``checkpoint`` folder writes its whole state there after each epoch, and a run that finds one of the same
    settings goes on from it as if it had never stopped.

    Raises DivergedError if the loss is not a number before any epoch has ended; later, the weights of the last good
    epoch are kept and a TrainingWarning says so.
    """
    with limit_torch_threads(run), torch.random.fork_rng(devices=[]):
        return Trainer(network, objective, settings, run, score, name, of).work()


class Trainer:
    def __init__(
        self,
        network: nn.Module,
        objective: TrainingObjective,
        settings: TrainingSettings,
        run: Run,
        score: Callable[[], float] | None,
        name: str,
        of: Sequence[Fingerprinted | None] = (),
    ) -> None:
        self.network, self.objective, self.settings, self.run = network, objective, settings, run
        self.score, self.name, self.of = score, name, of
        self.device = resolve_device(run)
        self.workers = WorkerGroup.now()
        network.to(self.device)
        self.workers.share(network)
        self.optimiser = make_optimizer(network, settings)
        self.progress = TrainingProgress()
        self.best = self._weights()
        self.trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.bad = self.late = self.unsure = False
        self.data = ""
        self.own = local_parameters(network)

    def work(self) -> TrainingHistory:
        torch.manual_seed(self.run.seed)
        self._resume()
        self.workers.agree("finished epochs", self.progress.epoch)
        bar = rich.progress.Progress(transient=True, disable=not (self.run.shows_progress and self.workers.first))
        with bar:
            task = bar.add_task(self.name, total=self.settings.epochs, completed=self.progress.epoch)
            stopped = ""
            while not stopped and self.progress.epoch < self.settings.epochs:
                # Asked first: a training that had lost its patience and was read back has not found it again.
                stopped = (
                    "patience"
                    if self._out_of_patience()
                    else self._epoch(lambda done: bar.update(task, completed=self.progress.epoch + done))
                )
        self.network.load_state_dict(self.best)
        self.network.eval()
        state = self.progress
        return TrainingHistory(tuple(state.losses), tuple(state.scores), state.best, stopped or "epochs")

    def _epoch(self, show: Callable[[float], None]) -> str:
        """One pass; why it did not end, or "" where it did."""
        state = self.progress
        # A generator for each epoch: an epoch that is run again after a break is the same.
        batches = self.objective.batches(np.random.default_rng([self.run.seed, state.epoch]))
        self.workers.agree("number of batches", len(batches))
        if not len(batches) and not state.epoch:
            self._warn(f"{self.name}: the data hold nothing to train on. The weights are those of the start.")
        mine = self.workers.deal(len(batches))
        self.network.train()
        total = 0.0
        for step, place in enumerate(mine):
            if self._out_of_time() and (state.losses or step):
                return self._keep_if_first("time")
            begun = (step - step % self.settings.gradient_accumulation) * self.workers.count
            self._set_rate((state.epoch + begun / len(batches)) / self.settings.epochs)
            loss = self._step(batches, place, last=(step + 1) % self.settings.gradient_accumulation == 0 or step + 1 == len(mine))
            if self.bad:
                became = (
                    f"the loss became {loss}" if not math.isfinite(loss) else "the loss of another worker became nan"
                )
                return self._diverged(became, step)
            total += loss
            show(step / len(mine))
        if self.workers.sum(float(not self._finite())):
            return self._diverged("the weights became infinite or nan", len(mine) - 1)
        state.losses.append(self.workers.sum(total) / max(1, len(batches)))
        self._judge()
        state.epoch += 1
        folder = self._folder()
        if folder is not None and (self.workers.first or self.own):
            write_checkpoint(folder, self.network, self.best, self.optimiser, state, self._identity())
        return ""

    def _step(self, batches: Sequence[Any], place: int, *, last: bool) -> float:
        """Add the gradient of the batch at ``place``, and with the ``last`` one of a step do it; the loss."""
        # Past the last batch there is nothing to learn, but the others count on this worker to take part.
        beyond, place = place >= len(batches), place % len(batches)
        bf16 = self.settings.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            loss = self.objective.loss(self.network, batches[place], self._draws(place))
        if beyond:
            self._take_part(loss * 0)
            return self._end(0.0, last=last)
        (loss / self.settings.gradient_accumulation).backward()
        return self._end(float(loss.detach()), last=last)

    def _take_part(self, nothing: Tensor) -> None:
        """The way back of a batch that does not count: what others send to this worker's own weights on it does."""
        grads = torch.autograd.grad(nothing, self.trained, allow_unused=True)
        for parameter, grad in zip(self.trained, grads, strict=True):
            if parameter in self.own and grad is not None:
                parameter.grad = grad if parameter.grad is None else parameter.grad + grad

    def _end(self, value: float, *, last: bool) -> float:
        bad = not math.isfinite(value) or self.unsure
        if last or (bad and self.workers.count == 1):
            self._together(bad)
        self.unsure = bad and not last
        return value

    def _together(self, bad: bool) -> None:
        """One step by the gradients of all workers, unless the loss of one is no number."""
        signs = self.workers.average(self.network, float(bad), float(self.run.out_of_time()))
        self.bad, self.late = signs[0] > 0, signs[1] > 0
        if self.bad:
            return
        if self.settings.max_grad_norm:
            self.workers.clip(self.network, self.settings.max_grad_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()

    def _out_of_time(self) -> bool:
        """Alone, whether time is up now; together, whether it was for anybody at the last step, so that all stop at one."""
        return self.late if self.workers.count > 1 else self.run.out_of_time()

    def _draws(self, place: int) -> np.random.Generator:
        """The generator of one batch, and torch's set for it: what it draws is the same in whichever process."""
        # A sequence of seeds does not tell [a, b] from [a, b, 0].
        seeds = np.random.SeedSequence([self.run.seed, self.progress.epoch, place + 1])
        seed = int(seeds.generate_state(1, np.uint64)[0])
        # torch.manual_seed takes 0.25 ms to see to devices that are not there.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        return np.random.default_rng(seeds)

    def _set_rate(self, done: float) -> None:
        share = rate(done, self.settings.warmup, self.settings.schedule)
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * share

    def _judge(self) -> None:
        """Score the weights as they are, and keep them if they are the best so far or nothing tells."""
        state = self.progress
        self.workers.share(self.network, buffers=True)
        if self.score is not None:
            self.network.eval()
            with torch.no_grad():
                state.scores.append(self.workers.first_says(float(self.score())))
        if self.score is None or state.scores[-1] > max(state.scores[:-1], default=-math.inf):
            state.best, self.best = state.epoch, self._weights()
        if state.scores:
            self.run.on_epoch_end(state.epoch, state.scores[-1])

    def _out_of_patience(self) -> bool:
        return bool(self.settings.patience) and self.progress.epoch - 1 - self.progress.best >= self.settings.patience

    def _keep_if_first(self, why: str) -> str:
        """Half an epoch is better than none."""
        if not self.progress.losses:
            self.best = self._weights()
        return why

    def _finite(self) -> bool:
        """Whether the last steps left numbers: a loss tells of a step only when the next one is made."""
        return all(bool(torch.isfinite(p).all()) for p in self.network.parameters())

    def _diverged(self, what: str, step: int) -> str:
        where = f"{self.name}: {what} in epoch {self.progress.epoch + 1}, step {step + 1}."
        if not self.progress.losses:
            raise DivergedError(f"{where} Lower learning_rate, or set clip=1.")
        kept = f"The weights of epoch {self.progress.best + 1} are kept."
        self._warn(f"{where} {kept} Lower learning_rate, or set clip=1.")
        return "diverged"

    def _warn(self, what: str) -> None:
        if self.workers.first:
            warnings.warn(what, TrainingWarning, stacklevel=5)

    def _weights(self) -> dict[str, Tensor]:
        return copy.deepcopy(self.network.state_dict())

    def _identity(self) -> dict[str, Any]:
        shapes = {name: list(value.shape) for name, value in self.network.state_dict().items()}
        return {
            "name": self.name,
            "settings": dataclasses.asdict(self.settings),
            "seed": self.run.seed,
            "shapes": shapes,
            "data": self.data,
        }

    def _folder(self) -> Path | None:
        """Where the state is kept; workers with parts of their own keep one each."""
        checkpoint = self.run.find_callback(ModelCheckpoint)
        if checkpoint is None or not self.own:
            return None if checkpoint is None else checkpoint.folder
        return checkpoint.folder / f"worker-{self.workers.rank + 1}-of-{self.workers.count}"

    def _resume(self) -> None:
        folder = self._folder()
        if folder is not None:
            batches = self.objective.batches(np.random.default_rng([self.run.seed, 0]))
            ends = [batches[i] for i in {0, len(batches) - 1} if len(batches)]
            known = [b"" if each is None else each.fingerprint.encode() for each in self.of]
            self.data = fingerprint([*(np.frombuffer(each, np.uint8) for each in known), len(batches), *ends])
            found = read_checkpoint(folder, self.network, self.optimiser, self._identity())
            if found is not None:
                self.progress, self.best = found
