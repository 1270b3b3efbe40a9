"""Layers found by the names of their weights, which are those of torch: ``blocks.0.up`` has ``blocks.0.up.weight``.

A matrix may also be kept in codes of `leanrec.compression`, which give products and some rows without being decoded as a whole.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.kernels.layers.activations import add_gelu, normalize_rows
from leanrec.types import CSR, Float32Array

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
        weights: weights by name: arrays, and matrices in codes.
        prefix: what the names begin with.
        derived: arrays that ``derive`` has made, by name.
    """

    weights: Mapping[str, Any]
    prefix: str = ""
    derived: dict[str, Float32Array] = dataclasses.field(default_factory=dict)

    def within(self, name: str) -> "NamedLayers":
        """The layers whose names begin with ``name`` and a point."""
        return NamedLayers(self.weights, f"{self.prefix}{name}.", self.derived)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The array of this name."""
        array: NDArray[Any] = self.weights[self.prefix + name]
        return array

    def derive(self, name: str, compute: Callable[["NamedLayers"], Float32Array]) -> Float32Array:
        """What ``compute`` makes of these layers, computed once and kept under this name."""
        found = self.derived.get(self.prefix + name)
        if found is None:
            found = self.derived[self.prefix + name] = compute(self)
        return found

    def transpose(self, name: str) -> Float32Array:
        """A matrix as (inputs, outputs), copied once: BLAS multiplies a few rows with it in a third of the time."""
        return self.derive(f"{name}.T", lambda layers: np.ascontiguousarray(layers[name].T))

    def multiply(self, name: str, x: Float32Array) -> Float32Array:
        """X · weightᵀ, of a matrix by its full name."""
        weight: Any = self.weights[self.prefix + name]
        product: Float32Array = x @ self.transpose(name) if isinstance(weight, np.ndarray) else weight.score(x)
        return product

    def take_rows(self, name: str, rows: NDArray[Any]) -> Float32Array:
        """Rows of a table (F, D), by an array of their numbers of any shape: (…, D). Of codes these rows alone are decoded."""
        table: Any = self.weights[self.prefix + name]
        if isinstance(table, np.ndarray):
            taken: Float32Array = table[rows]
            return taken
        chosen, places = np.unique(rows, return_inverse=True)
        decoded: Float32Array = table.decode(chosen)[places.reshape(rows.shape)]
        return decoded

    def sum_rows(self, name: str, x: CSR) -> Float32Array:
        """X · table for sparse x (R, F) and a table (F, D), of which the rows with an entry are read."""
        table: Any = self.weights[self.prefix + name]
        if isinstance(table, np.ndarray):
            return np.asarray(x @ table, np.float32)
        rows, columns = np.unique(x.indices, return_inverse=True)
        narrow = sp.csr_array((x.data, columns, x.indptr), shape=(x.shape[0], len(rows)))
        return np.asarray(narrow @ table.decode(rows), np.float32)

    def apply_linear(self, name: str, x: Float32Array) -> Float32Array:
        """X · weightᵀ + bias."""
        out = self.multiply(f"{name}.weight", x)
        bias = self.weights.get(f"{self.prefix}{name}.bias")
        if bias is not None:
            out += bias
        return out

    def apply_linear_gelu(self, name: str, x: Float32Array) -> Float32Array:
        """GELU of a linear layer."""
        out: Float32Array = x @ self.transpose(f"{name}.weight")
        add_gelu(out, self[f"{name}.bias"])
        return out

    def apply_norm(self, name: str, x: Float32Array) -> Float32Array:
        """Layer normalization."""
        return np.asarray(normalize_rows(x, self[f"{name}.weight"], self[f"{name}.bias"]))
