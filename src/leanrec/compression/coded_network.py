"""Coded networks: the layers of a sequential model, whose matrices are kept in codes."""

import dataclasses
from typing import Annotated, Self

import numpy as np

from leanrec.compression.vectors.scalar import ScalarCodec, ScalarCodes
from leanrec.errors import DataError
from leanrec.field_checks import ArrayShape
from leanrec.models.sequential.core.item_content import ItemContent
from leanrec.models.sequential.core.models import ITEM_TABLE, SequentialContentModel, SequentialModel
from leanrec.models.sequential.core.settings import SequentialSettings
from leanrec.types import Float32Array

__all__ = ["LAYER_BITS", "WHOLE_BITS", "CodedNetwork", "count_layers"]

# Bits of a number with which the layers keep the ranking, and those of float32.
LAYER_BITS, WHOLE_BITS = 8, 32

# Numbers that share a step.
_BLOCK = 64


@dataclasses.dataclass(frozen=True, eq=False)
class CodedNetwork:
    """A sequential model without its item table: matrices in codes, and vectors as they are.

    The numbers of all matrices are coded end to end, in blocks of 64 that share a step. Few numbers share a step then, and
    the artifact has few files.

    Attributes:
        settings: settings of the fit, which know the names and shapes of the weights.
        matrices: codes of the matrices and other weights of two or more sizes, (R, 64); float32 with 32 bits.
        vectors: (V,) float32 the other weights.
        content: gives vectors of new items; None = the model takes none.
    """

    settings: SequentialSettings
    matrices: ScalarCodes | Float32Array
    vectors: Annotated[Float32Array, ArrayShape("V")]
    content: ItemContent | None = None

    def check_state(self) -> None:
        """Raise DataError unless there are as many numbers as the network has weights."""
        n_coded, n_others = _count_weights(self.settings)
        expected = (-(-n_coded // _BLOCK), _BLOCK, n_others)
        coded = self.matrices
        shape = (coded.n_items, coded.n_dims) if isinstance(coded, ScalarCodes) else coded.shape
        found = (*shape, len(self.vectors))
        if found != expected:
            raise DataError(
                f"CodedNetwork must have the weights of the network: {expected[0]} blocks of {_BLOCK} and {n_others} numbers. "
                f"Got {found[0]} of {found[1]} and {found[2]}."
            )

    @classmethod
    def encode(cls, model: SequentialModel, bits: int) -> Self:
        """Code the layers of a model with 1 to 8 bits a number, or keep them as they are with 32."""
        shapes = _layer_shapes(model.settings)
        coded = [model.weights[name].ravel() for name, shape in shapes.items() if len(shape) > 1]
        others = [model.weights[name] for name, shape in shapes.items() if len(shape) == 1]
        flat = np.concatenate([np.zeros(0, np.float32), *coded])
        blocks = np.pad(flat, (0, -len(flat) % _BLOCK)).reshape(-1, _BLOCK)
        vectors = np.concatenate([np.zeros(0, np.float32), *others])
        matrices = blocks if bits == WHOLE_BITS else ScalarCodec(bits).encode(blocks)
        return cls(model.settings, matrices, vectors, getattr(model, "content", None))

    def decode(self) -> SequentialModel:
        """The model without rows in its item table."""
        weights = {ITEM_TABLE: np.zeros(self.settings.weight_shapes(0)[ITEM_TABLE], np.float32)}
        coded = self.matrices.decode() if isinstance(self.matrices, ScalarCodes) else self.matrices
        streams, places = {True: coded.ravel(), False: self.vectors}, {True: 0, False: 0}
        for name, shape in _layer_shapes(self.settings).items():
            is_coded, size = len(shape) > 1, int(np.prod(shape))
            start = places[is_coded]
            weights[name] = streams[is_coded][start : start + size].reshape(shape)
            places[is_coded] = start + size
        if self.content is None:
            return SequentialModel(self.settings, weights)
        return SequentialContentModel(self.settings, weights, self.content)


def count_layers(settings: SequentialSettings, bits: int = LAYER_BITS) -> int:
    """Bytes of the weights in a `CodedNetwork`, before they are coded."""
    n_coded, n_others = _count_weights(settings)
    n_blocks = -(-n_coded // _BLOCK)
    return 4 * n_others + (
        4 * n_blocks * _BLOCK if bits == WHOLE_BITS else ScalarCodec(bits).count_bytes(n_blocks, _BLOCK)
    )


def _count_weights(settings: SequentialSettings) -> tuple[int, int]:
    """Numbers in weights that are coded, and in the others."""
    sizes = {True: 0, False: 0}
    for shape in _layer_shapes(settings).values():
        sizes[len(shape) > 1] += int(np.prod(shape))
    return sizes[True], sizes[False]


def _layer_shapes(settings: SequentialSettings) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights without the item table, by name."""
    return {name: shape for name, shape in settings.weight_shapes(0).items() if name != ITEM_TABLE}
