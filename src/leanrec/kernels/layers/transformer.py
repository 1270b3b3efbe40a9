"""Transformer block with pre-layer normalization, as ``nn.transformer`` trains it."""

import itertools

import numpy as np

from leanrec.kernels.layers.activations import softmax_rows
from leanrec.kernels.layers.attention import attend
from leanrec.kernels.layers.named_layers import NamedLayers, linear_shapes, norm_shapes
from leanrec.types import Float32Array, Int64Array

__all__ = ["apply_block", "apply_block_to_last", "block_shapes"]


def block_shapes(name: str, width: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a block."""
    return {
        **norm_shapes(f"{name}.norm1", width),
        **norm_shapes(f"{name}.norm2", width),
        **linear_shapes(f"{name}.qkv", width, 3 * width),
        **linear_shapes(f"{name}.out", width, width),
        **linear_shapes(f"{name}.up", width, hidden),
        **linear_shapes(f"{name}.down", hidden, width),
    }


def apply_block(
    layers: NamedLayers, x: Float32Array, bounds: Int64Array, n_heads: int, *, causal: bool = True
) -> Float32Array:
    """Self-attention and a two-layer MLP of rows (T, D), of sequences end to end. O(T · D · (12 D + L)) for L rows each."""
    D = x.shape[1]
    joined = layers.apply_norm("norm1", x) @ layers.transpose("qkv.weight")
    queries, keys, values = joined[:, :D], joined[:, D : 2 * D], joined[:, 2 * D :]
    # The bias of the keys adds the same to all products of a query, which softmax ignores; that of the values is added
    # after the sum, whose weights sum to 1.
    queries += layers["qkv.bias"][:D]
    scale = (D // n_heads) ** -0.5

    def weigh(products: Float32Array, first: int, head: int) -> None:  # noqa: ARG001 - all heads alike
        softmax_rows(products, first if causal else products.shape[1], scale)

    attended = attend(queries, keys, values, bounds, bounds, weigh, n_heads=n_heads, causal=causal)
    return _add_mlp(layers, x, attended)


def apply_block_to_last(layers: NamedLayers, x: Float32Array, bounds: Int64Array, n_heads: int) -> Float32Array:
    """What ``apply_block`` gives for the last row of each sequence, causal or not: (B, D). O(T · n_heads · D).

    A single query needs no keys and values of all rows: with its part q of a head, normalized rows r, and weights a that
    sum to 1, the products are q·(K r) = (Kᵀ q)·r, and the sum is Σ a (V r) = V (Σ a r).
    """
    D, last = x.shape[1], bounds[1:] - 1
    weight, transposed, bias = layers["qkv.weight"], layers.transpose("qkv.weight"), layers["qkv.bias"]
    normed = layers.apply_norm("norm1", x)
    queries = normed[last] @ transposed[:, :D] + bias[:D]
    width = D // n_heads
    attended = np.empty_like(queries)
    for head in range(n_heads):
        part = slice(head * width, (head + 1) * width)
        folded = queries[:, part] @ weight[D : 2 * D][part]
        sums = np.empty_like(x, shape=folded.shape)
        for b, (start, stop) in enumerate(itertools.pairwise(bounds.tolist())):
            rows = normed[start:stop]
            products = folded[b : b + 1] @ rows.T
            softmax_rows(products, stop - start, width**-0.5)
            sums[b] = products[0] @ rows
        attended[:, part] = sums @ transposed[:, 2 * D :][:, part]
    return _add_mlp(layers, x[last], attended)


def _add_mlp(layers: NamedLayers, x: Float32Array, attended: Float32Array) -> Float32Array:
    """The rows after the attention: x plus the output layer of the sums without the bias of the values, plus the MLP."""
    attended += layers["qkv.bias"][2 * x.shape[1] :]
    x = x + layers.apply_linear("out", attended)
    x += layers.apply_linear("down", layers.apply_linear_gelu("up", layers.apply_norm("norm2", x)))
    return x
