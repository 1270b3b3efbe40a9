"""Layers of neural networks in an ONNX graph; each is the twin of a layer that serves fitted models in NumPy."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec.integrations.onnx.graph import GraphBuilder

__all__ = ["GraphLayers", "add_positions", "mask_keys", "mask_later", "split_heads", "take_last"]


@dataclasses.dataclass(frozen=True)
class GraphLayers:
    """Layers found by the names of their weights.

    Attributes:
        graph: to which operators are added.
        weights: by name, as torch has them: a matrix is (outputs, inputs).
        prefix: what the names begin with.
    """

    graph: GraphBuilder
    weights: Mapping[str, NDArray[Any]]
    prefix: str = ""

    def within(self, name: str) -> "GraphLayers":
        """The layers whose names begin with ``name`` and a point."""
        return GraphLayers(self.graph, self.weights, f"{self.prefix}{name}.")

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The weights of this name."""
        return self.weights[self.prefix + name]

    def store(self, name: str, array: NDArray[Any] | None = None) -> str:
        """The value of the weights of this name, or of an array made from them."""
        return self.graph.store(self.prefix + name, self[name] if array is None else array)

    def apply_matrix(self, name: str, x: str, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> str:
        """X · weightᵀ + bias, stored under a name."""
        out = self.graph.apply("MatMul", x, self.store(f"{name}.weight", np.ascontiguousarray(weight.T)))
        return out if bias is None else self.graph.apply("Add", out, self.store(f"{name}.bias", bias))

    def apply_linear(self, name: str, x: str) -> str:
        """X · weightᵀ + bias."""
        return self.apply_matrix(name, x, self[f"{name}.weight"], self.weights.get(f"{self.prefix}{name}.bias"))

    def apply_norm(self, name: str, x: str) -> str:
        """Layer normalization of the last axis."""
        scale, bias = self.store(f"{name}.weight"), self.store(f"{name}.bias")
        return self.graph.apply("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)

    def apply_silu(self, x: str) -> str:
        """X · σ(x)."""
        return self.graph.apply("Mul", x, self.graph.apply("Sigmoid", x))

    def apply_block(self, x: str, mask: str, n_heads: int) -> str:
        """Transformer block with pre-layer normalization (B, W, D), for a mask (B, W, W) of the rows that each row reads."""
        graph, D = self.graph, self["out.weight"].shape[0]
        normed = self.apply_norm("norm1", x)
        queries, keys, values = (
            self.apply_matrix(name, normed, weight, bias) for name, (weight, bias) in self._split_projection(n_heads)
        )
        products = graph.apply(
            "MatMul", split_heads(graph, queries, n_heads), split_heads(graph, keys, n_heads, is_transposed=True)
        )
        weights = self._softmax(products, graph.apply("Unsqueeze", mask, np.array([1])))
        summed = graph.apply("MatMul", weights, split_heads(graph, values, n_heads))
        return self._add_mlp(x, graph.reshape(graph.transpose(summed, 0, 2, 1, 3), 0, -1, D))

    def apply_block_to_last(self, x: str, mask: str, n_heads: int) -> str:
        """What ``apply_block`` gives for the last row, with a mask (B, W) of the rows that it reads: (B, D).

        The matrices of keys and values are applied to one row of each head, as in ``kernels.layers.transformer``. They stay
        matrices, with zeros for the other heads in what they are multiplied with: ONNX Runtime cannot run matrices for each
        head after it has quantized their columns.
        """
        graph, D = self.graph, self["out.weight"].shape[0]
        normed = self.apply_norm("norm1", x)
        (_, query), (_, key), (_, value) = self._split_projection(n_heads)
        of_head = np.repeat(np.eye(n_heads, dtype=np.float32), D // n_heads, axis=1)  # (n_heads, D)
        queries = self.apply_matrix("query", take_last(graph, normed), *query)
        by_head = graph.apply("Mul", graph.apply("Unsqueeze", queries, np.array([1])), of_head)
        folded = self.apply_matrix("key", by_head, key[0].T)
        products = graph.apply("MatMul", folded, graph.transpose(normed, 0, 2, 1))
        weights = self._softmax(products, graph.apply("Unsqueeze", mask, np.array([1])))
        summed = self.apply_matrix("value", graph.apply("MatMul", weights, normed), value[0])
        joined = graph.apply("ReduceSum", graph.apply("Mul", summed, of_head), np.array([1]), keepdims=0)
        attended = graph.apply("Add", joined, self.store("value.bias", value[1]))
        return self._add_mlp(take_last(graph, x), attended)

    def _split_projection(self, n_heads: int) -> list[tuple[str, tuple[NDArray[Any], Any]]]:
        """Names, matrices and biases of queries, keys and values. Queries are scaled, and the bias of keys changes nothing."""
        D = self["out.weight"].shape[0]
        scale = np.float32((D // n_heads) ** -0.5)
        query, key, value = np.split(self["qkv.weight"], 3)
        bias = self["qkv.bias"]
        return [
            ("query", (query * scale, bias[:D] * scale)),
            ("key", (key, None)),
            ("value", (value, bias[2 * D :])),
        ]

    def _softmax(self, products: str, mask: str) -> str:
        """Softmax over the cells of a mask, of which each row has one; 0 in the others.

        A large negative number in the others would be the same in exact arithmetic, and would leave quantized products no
        steps for those that count. So they get the lowest of the row, and their weights are removed.
        """
        graph = self.graph
        lowest = graph.apply("ReduceMin", products, np.array([-1]), keepdims=1)
        weights = graph.apply("Softmax", graph.apply("Where", mask, products, lowest), axis=-1)
        kept = graph.apply("Mul", weights, graph.cast(mask, np.float32))
        return graph.apply("Div", kept, graph.apply("ReduceSum", kept, np.array([-1]), keepdims=1))

    def _add_mlp(self, x: str, attended: str) -> str:
        x = self.graph.apply("Add", x, self.apply_linear("out", attended))
        return self.add_mlp(x)

    def add_mlp(self, x: str) -> str:
        """X plus a two-layer MLP of the normalized x."""
        hidden = self.graph.apply("Gelu", self.apply_linear("up", self.apply_norm("norm2", x)))
        return self.graph.apply("Add", x, self.apply_linear("down", hidden))


def split_heads(graph: GraphBuilder, x: str, n_heads: int, *, is_transposed: bool = False) -> str:
    """(B, W, D) as (B, n_heads, W, D / n_heads), or with the last two axes exchanged."""
    parts = graph.apply("Reshape", x, np.array([0, 0, n_heads, -1]))
    return graph.transpose(parts, 0, 2, 3, 1) if is_transposed else graph.transpose(parts, 0, 2, 1, 3)


def take_last(graph: GraphBuilder, x: str) -> str:
    """(B, D) last row of each sequence (B, W, D)."""
    return graph.apply("Gather", x, np.int64(-1), axis=1)


def add_positions(layers: GraphLayers, x: str, width: str) -> str:
    """X (B, W, D) plus the vector of the position of each row, counted from the last one."""
    graph = layers.graph
    backwards = graph.apply("Sub", graph.apply("Sub", width, np.array([1])), graph.count_up(width))
    return graph.apply("Add", x, graph.apply("Gather", layers.store("positions.weight"), backwards))


def mask_keys(graph: GraphBuilder, is_item: str, width: str) -> str:
    """(B, W) the rows with items, and the last one, so that an empty history reads something."""
    is_last = graph.apply("Equal", graph.count_up(width), graph.apply("Sub", width, np.array([1])))
    return graph.apply("Or", is_item, is_last)


def mask_later(graph: GraphBuilder, is_item: str, width: str) -> str:
    """(B, W, W) whether a row reads another one: its own, and those with items before."""
    columns = graph.count_up(width)
    rows = graph.apply("Unsqueeze", columns, np.array([1]))
    before = graph.apply("And", graph.apply("Unsqueeze", is_item, np.array([1])), graph.apply("Less", columns, rows))
    return graph.apply("Or", before, graph.apply("Equal", columns, rows))
