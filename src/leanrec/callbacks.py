"""Callbacks of a run: progress bars, checkpoints and hooks of training."""

import dataclasses
from pathlib import Path

__all__ = ["Callback", "ModelCheckpoint", "ProgressBar"]


class Callback:
    """Base class of callbacks. Override the hooks that are needed; the others do nothing."""

    def on_epoch_end(self, epoch: int, score: float) -> None:
        """Called after each epoch of a fit that computes a validation score.

        Args:
            epoch: number of the epoch, from 0.
            score: validation score, higher is better.

        Raises:
            Exception: anything raised here ends the fit.
        """

    def on_schema_read(self, description: str) -> None:
        """Called when the columns of a log are known, before its rows are read.

        Args:
            description: the source and the meaning of its columns, in one sentence.
        """


@dataclasses.dataclass(frozen=True)
class ProgressBar(Callback):
    """Shows a progress bar where the work is long."""


@dataclasses.dataclass(frozen=True)
class ModelCheckpoint(Callback):
    """Saves the state of gradient training after each epoch, and resumes from it.

    Attributes:
        folder: where the state is saved. A state of the same training found there is resumed.
    """

    folder: Path
