"""Checkpoints: identical results after an interruption, and refusal of damaged or foreign files."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from contracts.regression import HOW, ONE, Lines, TrainingAbortedError, Y, fresh, learn, same
from leanrec.callbacks import ModelCheckpoint
from leanrec.errors import ArtifactError
from leanrec.run import Run
from leanrec.training import checkpoint
from leanrec.training.trainer import train


@dataclasses.dataclass
class Named:
    """Data that a fingerprint identifies."""

    fingerprint: str


@pytest.mark.parametrize("how", [KeyboardInterrupt, TrainingAbortedError])
@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("at", [(0, 3), (3, 0), (3, 5)])
def test_interrupted_training_resumes_identically(
    how: type[BaseException], scored: bool, at: tuple[int, int], tmp_path: Path
) -> None:
    settings = dataclasses.replace(HOW, weight_decay=0.1, max_grad_norm=1.0, patience=4 if scored else 0)
    expected = learn(settings, scored=scored)

    def pull(epoch: int, step: int) -> None:
        # The checkpoint builds the batches of the first epoch once more, to identify the data.
        if (epoch - 1, step) == at:
            raise how

    run = dataclasses.replace(ONE, callbacks=(ModelCheckpoint(tmp_path / "state"),))
    with pytest.raises(how):
        learn(settings, run, Lines(before=pull), scored=scored)
    found = learn(settings, run, scored=scored)
    assert found[0] == expected[0]
    assert same(found[1], expected[1])


def test_checkpoints_do_not_change_the_result(tmp_path: Path) -> None:
    expected = learn(scored=True)
    run = dataclasses.replace(ONE, callbacks=(ModelCheckpoint(tmp_path),))
    first, again = learn(run=run, scored=True), learn(run=run, scored=True)
    assert first[0] == again[0] == expected[0]
    assert same(first[1], expected[1])
    assert same(again[1], expected[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"settings": dataclasses.replace(HOW, learning_rate=0.04)},
            "learning_rate is 0.03 there, and 0.04 here",
        ),
        ({"run": Run(seed=8, threads=1)}, "seed is 4 there, and 8 here"),
        ({"objective": Lines(y=Y + 1)}, "it was trained on other data"),
        ({"data": (Named("other"),)}, "it was trained on other data"),
        ({"name": "Curves"}, "name is 'Lines' there, and 'Curves' here"),
        ({"network": nn.Sequential(nn.Linear(3, 1))}, "0.weight is [8, 3] there, and [1, 3] here"),
    ],
)
def test_checkpoint_of_another_training_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    learn(run=dataclasses.replace(ONE, callbacks=(ModelCheckpoint(tmp_path),)))
    run = dataclasses.replace(change.get("run", ONE), callbacks=(ModelCheckpoint(tmp_path),))
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(ArtifactError, match="must be a checkpoint of this training") as caught:
        train(
            change.get("network", fresh()), change.get("objective", Lines()), change.get("settings", HOW), run,
            name=change.get("name", "Lines"), data=change.get("data", ()),
        )  # fmt: skip
    assert message in str(caught.value)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "no state"])
def test_damaged_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    run = dataclasses.replace(ONE, callbacks=(ModelCheckpoint(tmp_path),))
    learn(run=run)
    file = tmp_path / "checkpoint.safetensors"
    whole = file.read_bytes()
    if damage == "no state":
        save_file(load_file(file), file)
    else:
        file.write_bytes({"cut": whole[:-100], "text": b"hello, this is no checkpoint at all", "empty": b""}[damage])
    with pytest.raises(ArtifactError, match=r"checkpoint\.safetensors cannot be read.*Delete it"):
        learn(run=run)


def test_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    run = dataclasses.replace(ONE, callbacks=(ModelCheckpoint(tmp_path),))
    learn(run=run)
    file = tmp_path / "checkpoint.safetensors"
    with safe_open(file, "pt") as handle:
        state = json.loads(handle.metadata()["state"])
    save_file(load_file(file), file, {"state": json.dumps(state | {"format": 99})})
    with pytest.raises(ArtifactError, match="must have the checkpoint format 1. Got 99"):
        learn(run=run)


def test_failed_write_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = learn()
    run = dataclasses.replace(ONE, callbacks=(ModelCheckpoint(tmp_path),))
    written = 0

    def save(tensors: Any, path: Path, header: Any) -> None:
        nonlocal written
        written += 1
        if written == 3:
            Path(path).write_bytes(b"half a file")
            raise OSError("disk full")
        save_file(tensors, path, header)

    monkeypatch.setattr(checkpoint, "save_file", save)
    with pytest.raises(OSError, match="disk full"):
        learn(run=run)
    found = learn(run=run)
    assert found[0] == expected[0]
    assert same(found[1], expected[1])
