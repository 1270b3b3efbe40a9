"""Weights of a network as arrays, so that a fitted model is a dataclass of arrays like any other."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

__all__ = ["to_arrays", "with_arrays"]


def to_arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    """The weights and buffers of a network, by name."""
    state = network.state_dict()
    return {name: value.detach().to("cpu", copy=True).numpy() for name, value in state.items()}


def with_arrays(network: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> nn.Module:
    """The same network with these weights, ready to answer: no dropout, no gradients.

    Raises RuntimeError, as torch does, where names or shapes are not those of the network.
    """
    # A mapped file is read-only, and torch warns of it although nothing is ever written here.
    state = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(requires_grad=False)
