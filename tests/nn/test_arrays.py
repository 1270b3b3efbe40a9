"""Conversion of network weights to arrays and back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from leanrec.nn.arrays import load_arrays, to_arrays


def network() -> nn.Module:
    return nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))


def test_arrays_restore_the_same_network() -> None:
    first = network()
    arrays = to_arrays(first)
    assert set(arrays) == {"0.weight", "1.weight", "1.bias", *(f"2.{n}" for n in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"))}  # fmt: skip
    again = load_arrays(network(), arrays)
    rows = torch.tensor([0, 3, 4])
    assert torch.equal(again(rows), first.eval()(rows))
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_arrays_are_copies() -> None:
    net = network()
    arrays = to_arrays(net)
    with torch.no_grad():
        net[0].weight += 1
    assert not np.allclose(arrays["0.weight"], net[0].weight.detach())


def test_memory_mapped_arrays_are_loaded(tmp_path: Path) -> None:
    net = network()
    arrays = dict(to_arrays(net))
    np.save(tmp_path / "w.npy", arrays["0.weight"])
    arrays["0.weight"] = np.load(tmp_path / "w.npy", mmap_mode="r")
    assert torch.equal(load_arrays(network(), arrays)[0].weight, net[0].weight)


def test_weights_of_another_network_are_refused() -> None:
    arrays = to_arrays(network())
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_arrays(nn.Sequential(nn.Embedding(6, 3), *list(network())[1:]), arrays)
