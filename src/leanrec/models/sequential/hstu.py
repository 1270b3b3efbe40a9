"""HSTU: pointwise (SiLU) attention without softmax normalization.

Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
Recommendations", ICML 2024. What differs: the attention bias depends on the distance in items, not in time,
because queries have ordered histories without timestamps; attention is computed in blocks of positions.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from leanrec.data.dataset import DatasetShape
from leanrec.kernels.layers.activations import add_silu, silu_causal
from leanrec.kernels.layers.attention import add_positions, attend
from leanrec.kernels.layers.named_layers import NamedLayers, linear_shapes, norm_shapes
from leanrec.models.sequential.core.settings import SequentialSettings, check_heads
from leanrec.settings import setting
from leanrec.types import Float32Array, Int64Array

if TYPE_CHECKING:
    from leanrec.models.sequential.core.networks.base import SequentialNetwork

__all__ = ["HSTU"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HSTU(SequentialSettings):
    """Hierarchical sequential transduction units over the latest items of a history.

    The attention weight of an item is SiLU of its match, without normalization over the items, so the intensity of an
    interest is preserved. A gate replaces the MLP of a Transformer block: a block costs 5 D² instead of 12 D². Scale it
    by ``embedding_dim``, ``n_layers`` and ``max_length``.

    When to use: histories whose order matters, with larger models and longer histories than `SASRec`.

    Cost: an epoch O(E · D · (N + n_layers · (5 D + L))) with the loss over all items, S instead of N with S sampled
    negatives, and 16 L · n_heads · n_layers bytes an item of a batch. A query the same for L items of one history,
    then O(N · D); the model 4 N D bytes and 20 n_layers D².
    """

    n_layers: int = setting(2, at_least=1, doc="Number of blocks.")
    n_heads: int = setting(1, at_least=1, doc="Number of attention heads; must divide ``embedding_dim``.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self.embedding_dim, self.n_heads)

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Memory of every sequential model, plus the attention weights of a batch."""
        positions = max(self.batch_size, self.max_length)
        return super().fit_bytes(shape) + 16 * positions * self.max_length * self.n_heads * self.n_layers

    def build_network(self, n_items: int) -> "SequentialNetwork":
        """The network with fresh weights, for training with torch."""
        from leanrec.models.sequential.core.networks.hstu import HSTUNetwork  # noqa: PLC0415 - torch is optional

        return HSTUNetwork(self, n_items)

    def weight_shapes(self, n_items: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of the network, by name."""
        D = self.embedding_dim
        shapes: dict[str, tuple[int, ...]] = {"items.weight": (n_items, D), "positions.weight": (self.max_length, D)}
        for block in (f"blocks.{number}" for number in range(self.n_layers)):
            shapes |= {f"{block}.distance": (self.n_heads, self.max_length)}
            shapes |= norm_shapes(f"{block}.norm_in", D) | norm_shapes(f"{block}.norm_out", D)
            shapes |= linear_shapes(f"{block}.projection", D, 4 * D) | linear_shapes(f"{block}.out", D, D)
        return shapes | norm_shapes("norm", D)

    def encode(self, layers: NamedLayers, x: Float32Array, bounds: Int64Array) -> Float32Array:
        """(B, D) state after the last item of each history. The last block attends from one row of each."""
        add_positions(x, layers["positions.weight"], bounds)
        for block in range(self.n_layers):
            x = self._apply_block(layers.within(f"blocks.{block}"), x, bounds, only_last=block == self.n_layers - 1)
        return layers.apply_norm("norm", x)

    def _apply_block(
        self, layers: NamedLayers, x: Float32Array, bounds: Int64Array, *, only_last: bool
    ) -> Float32Array:
        """(T, D) to (T, D), or to (B, D) with ``only_last``."""
        D, weight, bias = x.shape[1], layers.transpose("projection.weight"), layers["projection.bias"]

        def project(number: int, rows: Float32Array) -> Float32Array:
            part = slice(number * D, (number + 1) * D)
            out: Float32Array = rows @ weight[:, part]
            add_silu(out, bias[part])
            return out

        normed = layers.apply_norm("norm_in", x)
        values, keys, query_bounds = project(1, normed), project(3, normed), bounds
        if only_last:
            last, query_bounds = bounds[1:] - 1, np.arange(len(bounds))
            x, normed = x[last], normed[last]
        gate, queries = project(0, normed), project(2, normed)
        distance, scale = layers["distance"], 1 / self.max_length

        def weigh(products: Float32Array, first: int, head: int) -> None:
            silu_causal(products, first, distance[head], scale)

        attended = attend(queries, keys, values, query_bounds, bounds, weigh, n_heads=self.n_heads)
        out: Float32Array = x + layers.apply_linear("out", layers.apply_norm("norm_out", attended) * gate)
        return out
