"""LRURec: linear recurrent units, computed in parallel over the sequence.

Yue et al., "Linear Recurrent Units for Sequential Recommendation", WSDM 2024; Orvieto et al., "Resurrecting Recurrent
Neural Networks for Long Sequences", ICML 2023.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from leanrec.data.dataset import DatasetShape
from leanrec.kernels.layers.named_layers import NamedLayers, linear_shapes, norm_shapes
from leanrec.kernels.layers.recurrence import scan_linear
from leanrec.models.sequential.core.settings import SequentialSettings
from leanrec.settings import setting
from leanrec.types import Float32Array, Int64Array

if TYPE_CHECKING:
    from leanrec.models.sequential.core.networks.base import SequentialNetwork

__all__ = ["LRURec"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LRURec(SequentialSettings):
    """Linear recurrent units over the latest items of a history: no attention, so cost grows with L instead of L².

    When to use: very long histories whose order matters.

    Cost: an epoch O(E · D · (N + n_layers · (16 D + log L))) with the loss over all items, S instead of N with S sampled
    negatives. A query the same for L items of one history, then O(N · D); the model 4 N D bytes and 64 n_layers D².
    """

    n_layers: int = setting(2, at_least=1, doc="Number of blocks of a recurrence and a two-layer MLP.")

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Memory of every sequential model, plus the inputs, states and hidden cells of each block for a batch."""
        positions = max(self.batch_size, self.max_length)
        return super().fit_bytes(shape) + 120 * positions * self.embedding_dim * self.n_layers

    def build_network(self, n_items: int) -> "SequentialNetwork":
        """The network with fresh weights, for training with torch."""
        from leanrec.models.sequential.core.networks.lrurec import LRURecNetwork  # noqa: PLC0415 - torch is optional

        return LRURecNetwork(self, n_items)

    def weight_shapes(self, n_items: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of the network, by name."""
        D, H = self.embedding_dim, 2 * self.embedding_dim
        shapes: dict[str, tuple[int, ...]] = {"items.weight": (n_items, D)}
        for block in (f"blocks.{number}" for number in range(self.n_layers)):
            shapes |= norm_shapes(f"{block}.norm1", D) | norm_shapes(f"{block}.norm2", D)
            shapes |= {f"{block}.unit.{name}": (H,) for name in ("nu", "theta", "gamma")}
            shapes |= linear_shapes(f"{block}.unit.read", D, 2 * H) | linear_shapes(f"{block}.unit.write", 2 * H, D)
            shapes |= linear_shapes(f"{block}.up", D, 4 * D) | linear_shapes(f"{block}.down", 4 * D, D)
        return shapes | norm_shapes("norm", D)

    def encode(self, layers: NamedLayers, x: Float32Array, bounds: Int64Array) -> Float32Array:
        """(B, D) state after the last item of each history. The last block writes one row of each."""
        last = bounds[1:] - 1
        for number in range(self.n_layers):
            block = layers.within(f"blocks.{number}")
            unit, states = block.within("unit"), block.apply_linear("unit.read", block.apply_norm("norm1", x))
            states *= unit.derive("gain", _compute_gain)
            scan_linear(states, unit.derive("decay", _compute_decay), bounds)
            if number == self.n_layers - 1:
                x, states = x[last], states[last]
            x += unit.apply_linear("write", states)
            x += block.apply_linear("down", block.apply_linear_gelu("up", block.apply_norm("norm2", x)))
        return layers.apply_norm("norm", x)


def _compute_gain(unit: NamedLayers) -> Float32Array:
    """(2 H,) γ of each real and imaginary part."""
    return np.repeat(np.exp(unit["gamma"]), 2)


def _compute_decay(unit: NamedLayers) -> Float32Array:
    """(2, H) real and imaginary part of λ."""
    radius, angle = np.exp(-np.exp(unit["nu"])), np.exp(unit["theta"])
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)])
