"""Callbacks: what a run calls, and how it finds them."""

import dataclasses
from pathlib import Path

import pytest

from leanrec.callbacks import Callback, ModelCheckpoint, ProgressBar
from leanrec.run import Run


@dataclasses.dataclass
class Recorder(Callback):
    """Keeps the epochs and scores that it is called with."""

    calls: list[tuple[int, float]] = dataclasses.field(default_factory=list)

    def on_epoch_end(self, epoch: int, score: float) -> None:
        self.calls.append((epoch, score))


def test_every_callback_is_called_after_an_epoch() -> None:
    first, second = Recorder(), Recorder()
    Run(callbacks=(first, ProgressBar(), second)).on_epoch_end(3, 0.5)
    assert first.calls == second.calls == [(3, 0.5)]


def test_every_callback_is_told_the_columns() -> None:
    told: list[str] = []

    class Listen(Callback):
        def on_schema_read(self, description: str) -> None:
            told.append(description)

    Run(callbacks=(Listen(), Recorder(), Listen())).on_schema_read("user=u")
    assert told == ["user=u", "user=u"]


def test_an_exception_of_a_callback_passes_through() -> None:
    class Stop(Callback):
        def on_epoch_end(self, epoch: int, score: float) -> None:
            raise KeyError(epoch)

    with pytest.raises(KeyError, match="2"):
        Run(callbacks=(Stop(),)).on_epoch_end(2, 0.0)


def test_callbacks_are_found_by_class() -> None:
    run = Run(callbacks=(ProgressBar(), ModelCheckpoint(Path("a")), ModelCheckpoint(Path("b"))))
    assert run.find_callback(ModelCheckpoint) == ModelCheckpoint(Path("a"))
    assert run.shows_progress
    assert Run().find_callback(ModelCheckpoint) is None
    assert not Run().shows_progress
