"""Training checkpoints: weights, optimizer state and progress in one safetensors file."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from leanrec.errors import ArtifactError
from leanrec.training.optimizers import OptimizerGroup

__all__ = ["TrainingProgress", "fingerprint", "read_checkpoint", "write_checkpoint"]

FORMAT = 1
_FILE_NAME = "checkpoint.safetensors"


@dataclasses.dataclass
class TrainingProgress:
    """Progress of a training.

    Attributes:
        epoch: number of finished epochs.
        losses: mean loss of each.
        scores: validation score after each; empty without validation.
        best: epoch with the best score.
    """

    epoch: int = 0
    losses: list[float] = dataclasses.field(default_factory=list)
    scores: list[float] = dataclasses.field(default_factory=list)
    best: int = 0


def write_checkpoint(
    folder: Path,
    network: nn.Module,
    best: dict[str, Tensor],
    optimizer: OptimizerGroup,
    progress: TrainingProgress,
    identity: dict[str, Any],
) -> None:
    """Write the state of a training atomically: after a crash the previous checkpoint is intact."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    tensors["rng"] = torch.get_rng_state()
    param_groups: list[Any] = []
    for i, state in enumerate(optimizer.state_dict()):
        for key, values in state["state"].items():
            tensors |= {f"optimizer.{i}.{key}.{name}": value for name, value in values.items()}
        param_groups.append(state["param_groups"])
    header = {
        "format": FORMAT,
        "identity": identity,
        "progress": dataclasses.asdict(progress),
        "optimizer": param_groups,
    }
    # The JSON is in the header of the tensor file, so that both are replaced in one step.
    copies = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    staging = folder / f".{_FILE_NAME}"
    save_file(copies, staging, {"state": json.dumps(header)})
    with staging.open("rb") as handle:
        os.fsync(handle.fileno())
    staging.replace(folder / _FILE_NAME)


def read_checkpoint(
    folder: Path, network: nn.Module, optimizer: OptimizerGroup, identity: dict[str, Any]
) -> tuple[TrainingProgress, dict[str, Tensor]] | None:
    """Load the checkpoint in ``folder`` into the network, the optimizer and torch's generator.

    Returns the progress and the best weights; None without a checkpoint. Raises ArtifactError if it is damaged, of
    another format, or of a training with another ``identity``.
    """
    file = folder / _FILE_NAME
    if not file.exists():
        return None
    try:
        with safe_open(file, "pt") as handle:
            header = json.loads(handle.metadata()["state"])
        tensors = load_file(file)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{file} cannot be read: {error}. Delete it to train from the start.") from error
    if header.get("format") != FORMAT:
        raise ArtifactError(
            f"{file} must have the checkpoint format {FORMAT}. Got {header.get('format')!r}. "
            "Delete it to train from the start."
        )
    for key, value in json.loads(json.dumps(identity)).items():  # as it was written: tuples are lists
        found = header["identity"].get(key)
        if found != value:
            raise ArtifactError(
                f"{file} must be a checkpoint of this training: {_describe_difference(key, found, value)}. "
                "Choose another folder, or delete this file."
            )
    network.load_state_dict(_with_prefix(tensors, "network."))
    torch.set_rng_state(tensors["rng"])
    states = []
    for i, groups in enumerate(header["optimizer"]):
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _with_prefix(tensors, f"optimizer.{i}.").items():
            key, _, part = name.partition(".")
            moments.setdefault(int(key), {})[part] = value
        states.append({"state": moments, "param_groups": groups})
    optimizer.load_state_dict(states)
    return TrainingProgress(**header["progress"]), _with_prefix(tensors, "best.")


def fingerprint(value: Any) -> str:
    """SHA-256 of the content of tensors, arrays, sequences, mappings and dataclasses of these."""
    digest = hashlib.sha256()
    _update_digest(digest, value)
    return digest.hexdigest()


def _update_digest(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        _update_digest(digest, (value.to_dense() if value.is_sparse else value).detach().cpu().numpy())
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _update_digest(digest, [getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, dict):
        _update_digest(digest, list(value.items()))
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)}".encode())
        for each in value:
            _update_digest(digest, each)
    else:
        digest.update((repr(value) if isinstance(value, int | float | str | None) else type(value).__name__).encode())


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _describe_difference(key: str, found: Any, expected: Any) -> str:
    if isinstance(found, dict) and isinstance(expected, dict):
        name = next((name for name in expected if found.get(name) != expected[name]), "")
        return _describe_difference(name or f"list of {key}", found.get(name), expected.get(name))
    if key == "data":
        return "it was trained on other data"
    return f"{key} is {_shorten(found)} there, and {_shorten(expected)} here"


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) < 200 else text[:197] + "…"
