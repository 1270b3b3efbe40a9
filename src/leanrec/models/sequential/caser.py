"""Caser: horizontal and vertical convolutions over the latest items.

Tang & Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM 2018. What
differs: the user vector is a projection of the mean of the history so far, so that new users have one; input and output
items share their vectors; and the states after all items are computed at once, as causal convolutions.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from leanrec.data.dataset import DatasetShape
from leanrec.kernels.layers.named_layers import NamedLayers, linear_shapes, norm_shapes
from leanrec.models.sequential.core.settings import SequentialSettings
from leanrec.settings import setting
from leanrec.types import Float32Array, Int64Array

if TYPE_CHECKING:
    from leanrec.models.sequential.core.networks.base import SequentialNetwork

__all__ = ["Caser"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caser(SequentialSettings):
    """Horizontal filters span several consecutive items; vertical filters are weighted sums over the window.

    When to use: histories in which patterns over a few consecutive items matter.

    Cost: an epoch O(E · D · (N + window² · n_horizontal + (window + D) · n_vertical)) with the loss over all items, S
    instead of N with S sampled negatives. A query the same for L items of one history, then O(N · D); the model 4 N D bytes.
    """

    window: int = setting(
        6, at_least=1, doc="Number of latest items that the filters cover; earlier items enter by their mean only."
    )
    n_horizontal: int = setting(
        16, at_least=1, doc="Horizontal filters of each height from 1 to ``window``, max-pooled over the window."
    )
    n_vertical: int = setting(4, at_least=1, doc="Vertical filters: weighted sums of the vectors in the window.")

    def fit_bytes(self, shape: DatasetShape) -> int:
        """Memory of every sequential model, plus the windows of a batch and their filter outputs."""
        cells = self.embedding_dim * (self.window + 3 * self.n_vertical) + 4 * self.n_horizontal * self.window
        return super().fit_bytes(shape) + 4 * max(self.batch_size, self.max_length) * cells

    def build_network(self, n_items: int) -> "SequentialNetwork":
        """The network with fresh weights, for training with torch."""
        from leanrec.models.sequential.core.networks.caser import CaserNetwork  # noqa: PLC0415 - torch is optional

        return CaserNetwork(self, n_items)

    def weight_shapes(self, n_items: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of the network, by name."""
        D, n_patterns = self.embedding_dim, self.n_horizontal * self.window + self.n_vertical * self.embedding_dim
        shapes: dict[str, tuple[int, ...]] = {"items.weight": (n_items, D)}
        for i in range(self.window):
            shapes |= {f"across.{i}.weight": (self.n_horizontal, D, i + 1), f"across.{i}.bias": (self.n_horizontal,)}
        shapes |= linear_shapes("down", self.window, self.n_vertical, bias=False)
        return shapes | linear_shapes("mix", n_patterns, D) | linear_shapes("out", 2 * D, D) | norm_shapes("norm", D)

    def encode(self, layers: NamedLayers, x: Float32Array, bounds: Int64Array) -> Float32Array:
        """(B, D) state after the last item of each history. O(D · window² · n_horizontal + L · D) for each."""
        B, D = len(bounds) - 1, x.shape[1]
        rows = bounds[1:, None] - self.window + np.arange(self.window)
        # Zeros before the first item, as in training.
        windows = np.where((rows >= bounds[:-1, None])[:, :, None], x[np.maximum(rows, 0)], np.float32(0))
        flat, found = windows.reshape(B, -1), []
        for height in range(1, self.window + 1):
            filters = layers.within(f"across.{height - 1}")
            matrix = filters.derive("matrix", _flatten_filters)
            highest = flat[:, : height * D] @ matrix
            for first in range(D, (self.window - height + 1) * D, D):
                np.maximum(highest, flat[:, first : first + height * D] @ matrix, out=highest)
            found.append(np.maximum(highest + filters["bias"], 0))
        found.append((windows.transpose(0, 2, 1) @ layers.transpose("down.weight")).reshape(B, -1))
        mixed = np.maximum(layers.apply_linear("mix", np.concatenate(found, axis=1)), 0)
        mean = np.add.reduceat(x, bounds[:-1]) / np.diff(bounds)[:, None].astype(np.float32)
        return layers.apply_norm("norm", layers.apply_linear("out", np.concatenate([mixed, mean], axis=1)))


def _flatten_filters(layers: NamedLayers) -> Float32Array:
    """(height · D, filters) horizontal filters of one height as a matrix."""
    weight = layers["weight"]
    return np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, len(weight)))
