"""Layers over the fields of rows in NumPy: embeddings, their pairs, cross layers, and an MLP with batch normalization.

Each computes what the layer of the same name in `leanrec.nn.fields` does after training. Shapes: R rows, F fields,
D embedding width, M numbers.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from leanrec.kernels.layers.named_layers import NamedLayers, linear_shapes
from leanrec.types import CSR, Float32Array, Int32Array

__all__ = [
    "FieldBlock",
    "FieldSizes",
    "apply_cross_layers",
    "apply_mlp",
    "cross_shapes",
    "dot_interactions",
    "embed_fields",
    "field_shapes",
    "mlp_shapes",
    "pairwise_products",
    "softmax",
]

# As in ``torch.nn.BatchNorm1d``.
_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class FieldSizes:
    """The fields of a row.

    Attributes:
        sizes: number of codes of each single-valued field; code 0 = unknown.
        bags: number of values of each multi-valued field.
        numbers: number of numeric fields.
    """

    sizes: tuple[int, ...] = ()
    bags: tuple[int, ...] = ()
    numbers: int = 0

    @property
    def n_fields(self) -> int:
        """F: fields with an embedding."""
        return len(self.sizes) + len(self.bags)

    @property
    def n_values(self) -> int:
        """Number of rows of all embedding tables."""
        return sum(self.sizes) + sum(max(1, size) for size in self.bags)


class FieldBlock(NamedTuple):
    """R rows of F field vectors (R, F, D), and their numbers (R, M)."""

    vectors: Float32Array
    numbers: Float32Array

    def flatten(self) -> Float32Array:
        """(R, F · D + M) vectors and numbers, side by side."""
        return np.concatenate([self.vectors.reshape(len(self.vectors), -1), self.numbers], axis=1)


def field_shapes(sides: Sequence[FieldSizes], width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the embedding tables of all sides."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, side in enumerate(sides):
        shapes[f"sides.{i}.codes.weight"] = (max(1, sum(side.sizes)), width)
        shapes |= {f"sides.{i}.bags.{j}.weight": (max(1, size), width) for j, size in enumerate(side.bags)}
    return shapes


def embed_fields(
    layers: NamedLayers, fields: FieldSizes, codes: Int32Array, bags: Sequence[CSR], numbers: Float32Array
) -> FieldBlock:
    """The vectors of R rows of one side: of their codes (R, F), and the weighted sums of those of their bags. Numbers are passed on."""
    offsets = np.cumsum([0, *fields.sizes])[: len(fields.sizes)]
    single = layers.take_rows("codes.weight", codes + offsets)
    width = single.shape[-1]
    sums = [
        layers.sum_rows(f"bags.{j}.weight", bag) if bag.shape[1] else np.zeros((len(codes), width), np.float32)
        for j, bag in enumerate(bags)
    ]
    return FieldBlock(np.concatenate([single, *(each[:, None] for each in sums)], axis=1), numbers)


def mlp_shapes(
    name: str,
    n_inputs: int,
    hidden_sizes: Sequence[int],
    n_outputs: int = 0,
    *,
    has_dropout: bool = False,
    batch_norm: bool = False,
) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of hidden layers, and of a linear output layer unless ``n_outputs`` is 0."""
    shapes: dict[str, tuple[int, ...]] = {}
    width, place = n_inputs, 0
    for size in hidden_sizes:
        shapes |= linear_shapes(f"{name}.{place}", width, size)
        if batch_norm:
            parts = ("weight", "bias", "running_mean", "running_var")
            shapes |= {f"{name}.{place + 1}.{part}": (size,) for part in parts}
            shapes[f"{name}.{place + 1}.num_batches_tracked"] = ()
        width, place = size, place + _count_places(batch_norm=batch_norm, has_dropout=has_dropout)
    return shapes | (linear_shapes(f"{name}.{place}", width, n_outputs) if n_outputs else {})


def apply_mlp(
    layers: NamedLayers,
    name: str,
    x: Float32Array,
    n_hidden: int,
    *,
    has_output: bool = True,
    has_dropout: bool = False,
    batch_norm: bool = False,
) -> Float32Array:
    """(R, inputs) to (R, outputs): hidden layers with ReLU, and a linear output layer if it has one."""
    within, place = layers.within(name), 0
    for _ in range(n_hidden):
        if batch_norm:
            x = within.multiply(f"{place}.weight", x)
            scale, shift = within.derive(f"{place}.normalization", lambda part, i=place: _merge_norm(part, i))  # type: ignore[misc]
            x *= scale
            x += shift
        else:
            x = within.apply_linear(f"{place}", x)
        np.maximum(x, 0, out=x)
        place += _count_places(batch_norm=batch_norm, has_dropout=has_dropout)
    return within.apply_linear(f"{place}", x) if has_output else x


def _count_places(*, batch_norm: bool, has_dropout: bool) -> int:
    """Layers of a network of torch for each hidden layer: linear, normalization, ReLU, dropout."""
    return 2 + batch_norm + has_dropout


def _merge_norm(layers: NamedLayers, place: int) -> Float32Array:
    """(2, H) factor and summand of a linear layer's products, for its bias and the normalization after it."""
    norm = layers.within(f"{place + 1}")
    scale = norm["weight"] / np.sqrt(norm["running_var"] + np.float32(_EPSILON))
    return np.stack([scale, (layers[f"{place}.bias"] - norm["running_mean"]) * scale + norm["bias"]]).astype(np.float32)


def pairwise_products(vectors: Float32Array) -> Float32Array:
    """(R, F, D) to (R, D): sum of the element-wise products of all pairs of fields in O(F · D) each."""
    total = vectors.sum(axis=1)
    return np.asarray(np.float32(0.5) * (total * total - np.einsum("rfd,rfd->rd", vectors, vectors)), np.float32)


def dot_interactions(vectors: Float32Array) -> Float32Array:
    """(R, F, D) to (R, F (F − 1) / 2): the dot product of each pair of fields."""
    one, other = np.triu_indices(vectors.shape[1], 1)
    return np.asarray((vectors @ vectors.transpose(0, 2, 1))[:, one, other], np.float32)


def cross_shapes(name: str, width: int, n_layers: int, rank: int = 0, n_experts: int = 1) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of the cross network of DCN-V2."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(n_layers):
        part = f"{name}.layers.{i}"
        if not rank:
            shapes |= linear_shapes(part, width, width)
            continue
        shapes |= {f"{part}.down": (n_experts, width, rank), f"{part}.up": (n_experts, rank, width)}
        shapes |= {f"{part}.middle": (n_experts, rank, rank), f"{part}.bias": (width,)}
        shapes |= linear_shapes(f"{part}.gate", width, n_experts)
    return shapes


def apply_cross_layers(layers: NamedLayers, name: str, first: Float32Array, n_layers: int, rank: int) -> Float32Array:
    """(R, width) to (R, width): x ← x₀ ⊙ (W x + b) + x in each layer; with a rank, W is a mixture of low-rank maps."""
    x = first
    for i in range(n_layers):
        part = layers.within(f"{name}.layers.{i}")
        product = _mix_experts(part, x) if rank else layers.apply_linear(f"{name}.layers.{i}", x)
        product *= first
        product += x
        x = product
    return x


def _mix_experts(layers: NamedLayers, x: Float32Array) -> Float32Array:
    gates = softmax(layers.apply_linear("gate", x))
    out = np.broadcast_to(layers["bias"], x.shape).astype(np.float32)
    for e, (down, middle, up) in enumerate(zip(layers["down"], layers["middle"], layers["up"], strict=True)):
        out += gates[:, e, None] * (np.tanh(np.tanh(x @ down) @ middle) @ up)
    return out


def softmax(x: Float32Array) -> Float32Array:
    """Softmax of each row."""
    exponentials = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)
