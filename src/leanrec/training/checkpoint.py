"""The whole state of a training in one safetensors file: weights and moments, and the rest as JSON in its header."""

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
from leanrec.training.optimizers import Steps

__all__ = ["Progress", "fingerprint", "read_checkpoint", "write_checkpoint"]

FORMAT = 1
_TENSORS = "checkpoint.safetensors"


@dataclasses.dataclass
class Progress:
    """How far a training is: finished epochs, their losses and scores, and the best of them."""

    epoch: int = 0
    losses: list[float] = dataclasses.field(default_factory=list)
    scores: list[float] = dataclasses.field(default_factory=list)
    best: int = 0


def write_checkpoint(
    folder: Path,
    network: nn.Module,
    best: dict[str, Tensor],
    optimiser: Steps,
    progress: Progress,
    identity: dict[str, Any],
) -> None:
    """Write the state; a crash on the way leaves the older one whole."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    tensors["rng"] = torch.get_rng_state()
    plain: list[Any] = []
    for i, state in enumerate(optimiser.state_dict()):
        for key, values in state["state"].items():
            tensors |= {f"optimiser.{i}.{key}.{name}": value for name, value in values.items()}
        plain.append(state["param_groups"])
    state_text = {
        "format": FORMAT,
        "identity": identity,
        "progress": dataclasses.asdict(progress),
        "optimiser": plain,
    }
    # One file is the whole: the JSON rides in the header of the tensors, so both change together.
    whole = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    staging = folder / f".{_TENSORS}"
    save_file(whole, staging, {"state": json.dumps(state_text)})
    with staging.open("rb") as handle:
        os.fsync(handle.fileno())
    staging.replace(folder / _TENSORS)


def read_checkpoint(
    folder: Path, network: nn.Module, optimiser: Steps, identity: dict[str, Any]
) -> tuple[Progress, dict[str, Tensor]] | None:
    """Put the state of ``folder`` into network, optimiser and torch's generator; None where there is no checkpoint.

    Raises ArtifactError if it is damaged, or of another model, other settings or another format.
    """
    file = folder / _TENSORS
    if not file.exists():
        return None
    state, tensors = _read(file)
    if state.get("format") != FORMAT:
        raise ArtifactError(f"{file} must have the checkpoint format {FORMAT}. It has {state.get('format')!r}.")
    _check(file, state["identity"], json.loads(json.dumps(identity)))
    network.load_state_dict(_part(tensors, "network."))
    torch.set_rng_state(tensors["rng"])
    states = []
    for i, groups in enumerate(state["optimiser"]):
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, f"optimiser.{i}.").items():
            key, _, part = name.partition(".")
            moments.setdefault(int(key), {})[part] = value
        states.append({"state": moments, "param_groups": groups})
    optimiser.load_state_dict(states)
    return Progress(**state["progress"]), _part(tensors, "best.")


def fingerprint(value: Any) -> str:
    """SHA-256 of the numbers in tensors, arrays, sequences, mappings and dataclasses of these."""
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        _feed(digest, (value.to_dense() if value.is_sparse else value).detach().cpu().numpy())
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _feed(digest, [getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, dict):
        _feed(digest, list(value.items()))
    elif isinstance(value, list | tuple):
        digest.update(f"[{len(value)}".encode())
        for each in value:
            _feed(digest, each)
    else:
        digest.update((repr(value) if isinstance(value, int | float | str | None) else type(value).__name__).encode())


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(file, "pt") as handle:
            state = json.loads(handle.metadata()["state"])
        return state, load_file(file)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{file} cannot be read: {error}. Delete it to train from the start.") from error


def _check(file: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    for key, value in asked.items():
        if found.get(key) != value:
            difference = _difference(key, found.get(key), value)
            raise ArtifactError(f"{file} is the checkpoint of another training: {difference}. Choose another folder.")


def _difference(key: str, held: Any, asked: Any) -> str:
    if isinstance(held, dict) and isinstance(asked, dict):
        name = next((name for name in asked if held.get(name) != asked[name]), "")
        return _difference(name or f"list of {key}", held.get(name), asked.get(name))
    if key == "data":
        return "it began with other batches, so its data were others"
    return f"its {key} is {_short(held)}, and this one's is {_short(asked)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 200 else text[:197] + "…"
