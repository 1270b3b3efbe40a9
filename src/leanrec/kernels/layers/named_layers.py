"""Layers found by the names of their weights, which are those of torch: ``blocks.0.up`` has ``blocks.0.up.weight``."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.kernels.layers.activations import add_gelu, add_silu, normalize_rows
from leanrec.types import Float32Array

__all__ = ["NamedLayers", "linear_shapes", "norm_shapes"]


def linear_shapes(name: str, n_inputs: int, n_outputs: int, *, bias: bool = True) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a linear layer."""
    return {f"{name}.weight": (n_outputs, n_inputs)} | ({f"{name}.bias": (n_outputs,)} if bias else {})


def norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a layer normalization."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


@dataclasses.dataclass(frozen=True, eq=False)
class NamedLayers:
    """The layers of a fitted network. Rows (R, D) are float32 and contiguous.

    Attributes:
        weights: weights by name.
        prefix: what the names begin with.
        transposed: copies of matrices that ``transpose`` has made.
    """

    weights: Mapping[str, NDArray[Any]]
    prefix: str = ""
    transposed: dict[str, Float32Array] = dataclasses.field(default_factory=dict)

    def within(self, name: str) -> "NamedLayers":
        """The layers whose names begin with ``name`` and a point."""
        return NamedLayers(self.weights, f"{self.prefix}{name}.", self.transposed)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The weights of this name."""
        return self.weights[self.prefix + name]

    def transpose(self, name: str) -> Float32Array:
        """A matrix as (inputs, outputs), copied once: BLAS multiplies a few rows with it in a third of the time."""
        found = self.transposed.get(self.prefix + name)
        if found is None:
            found = self.transposed[self.prefix + name] = np.ascontiguousarray(self[name].T)
        return found

    def apply_linear(self, name: str, x: Float32Array) -> Float32Array:
        """X · weightᵀ + bias."""
        out: Float32Array = x @ self.transpose(f"{name}.weight")
        bias = self.weights.get(f"{self.prefix}{name}.bias")
        if bias is not None:
            out += bias
        return out

    def apply_linear_gelu(self, name: str, x: Float32Array) -> Float32Array:
        """GELU of a linear layer."""
        out: Float32Array = x @ self.transpose(f"{name}.weight")
        add_gelu(out, self[f"{name}.bias"])
        return out

    def apply_linear_silu(self, name: str, x: Float32Array) -> Float32Array:
        """SiLU of a linear layer."""
        out: Float32Array = x @ self.transpose(f"{name}.weight")
        add_silu(out, self[f"{name}.bias"])
        return out

    def apply_norm(self, name: str, x: Float32Array) -> Float32Array:
        """Layer normalization."""
        return np.asarray(normalize_rows(x, self[f"{name}.weight"], self[f"{name}.bias"]))
