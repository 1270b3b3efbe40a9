"""Conversion between the weights of a network and NumPy arrays, which fitted models store."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from leanrec.errors import DataError
from leanrec.field_checks import check_array_shapes

__all__ = ["check_weights", "load_arrays", "to_arrays"]


def to_arrays(network: nn.Module) -> dict[str, NDArray[Any]]:
    """Copies of the weights and buffers of a network, by name."""
    state = network.state_dict()
    return {name: value.detach().to("cpu", copy=True).numpy() for name, value in state.items()}


def load_arrays(network: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> nn.Module:
    """Load weights into a network, and set it to eval mode without gradients.

    Raises RuntimeError if names or shapes differ from those of the network.
    """
    # A copy, because torch warns about read-only arrays such as memory-mapped files.
    state = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def check_weights(build: Callable[[], nn.Module], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise DataError unless the arrays are the weights of a network, which is built without memory for them."""
    with torch.device("meta"):
        state = build().state_dict()
    check_array_shapes("The weights of the network", arrays, {name: tuple(each.shape) for name, each in state.items()})
    for name, array in arrays.items():
        if name not in state or (array.dtype.kind == "f") != state[name].is_floating_point():
            raise DataError(
                f"The weights must have the names and the kinds of numbers of the network. Got {name!r} of {array.dtype}."
            )
