"""Transformer block with pre-layer normalization, as ``leanrec.nn.transformer`` trains it."""

import numpy as np

from leanrec.kernels.layers.activations import softmax_rows
from leanrec.kernels.layers.attention import attend
from leanrec.kernels.layers.named_layers import NamedLayers, linear_shapes, norm_shapes
from leanrec.types import Float32Array, Int64Array

__all__ = ["apply_block", "block_shapes"]


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
    layers: NamedLayers,
    x: Float32Array,
    bounds: Int64Array,
    n_heads: int,
    *,
    causal: bool = True,
    only_last: bool = False,
) -> Float32Array:
    """Self-attention and a two-layer MLP of rows (T, D), of sequences end to end: (T, D), or (B, D) with ``only_last``.

    O(T · D · (12 D + L)) for sequences of L rows; with ``only_last``, which computes the last row of each sequence,
    O(T · D · 2 D).
    """
    D = x.shape[1]
    weight, bias = layers.transpose("qkv.weight"), layers["qkv.bias"]
    normed = layers.apply_norm("norm1", x)
    both = normed @ weight[:, D:]
    both += bias[D:]
    query_bounds = bounds
    if only_last:
        last, query_bounds = bounds[1:] - 1, np.arange(len(bounds))
        x, normed = x[last], normed[last]
    queries = normed @ weight[:, :D]
    queries += bias[:D]
    scale = (D // n_heads) ** -0.5

    def weigh(products: Float32Array, first: int, head: int) -> None:  # noqa: ARG001 - all heads alike
        softmax_rows(products, first if causal else products.shape[1], scale)

    attended = attend(queries, both[:, :D], both[:, D:], query_bounds, bounds, weigh, n_heads=n_heads, causal=causal)
    x = x + layers.apply_linear("out", attended)
    x += layers.apply_linear("down", layers.apply_linear_gelu("up", layers.apply_norm("norm2", x)))
    return x
