"""Compression of models of clicks: the embedding tables of their fields and the layers above in codes."""

import dataclasses
import math
from typing import Any, TypeVar

import numpy as np

from leanrec.compression.methods import count_parts
from leanrec.compression.vectors.half import HalfCodec
from leanrec.compression.vectors.scalar import ScalarCodec
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.ctr.core.models import FieldModel, RowModel
from leanrec.protocols import Scorer
from leanrec.run import Run
from leanrec.settings import check_settings, setting

__all__ = ["FieldCompression", "has_coded_weights", "propose_fields"]

_HALF = 16
# Bits of tables that are worth a try, the most first; fewer cost a hundredth of the AUC on Frappe.
_BITS = (_HALF, 8, 6, 5, 4, 3, 2)
_N_TRIED = 3
# Smaller matrices stay as they are: their steps and tiles would be no smaller.
_LEAST_NUMBERS = 1_000
_LAYER_BITS = 8

_Model = TypeVar("_Model", FieldModel, RowModel)


def propose_fields(model: FieldModel, max_bytes: float) -> "tuple[FieldCompression, ...]":
    """The three methods with the most bits that fit; the first is expected to keep most."""
    fitting = [each for each in map(FieldCompression, _BITS) if each.estimate_bytes(model) <= max_bytes]
    return tuple(fitting[:_N_TRIED])


def has_coded_weights(model: Any) -> bool:
    """Whether a model of clicks is compressed already."""
    return isinstance(model, (FieldModel, RowModel)) and not all(
        isinstance(weight, np.ndarray) for weight in model.weights.values()
    )


@dataclasses.dataclass(frozen=True)
class FieldCompression:
    """Codes for the embedding tables of all fields, and 8 bits a number for the matrices of the layers.

    The rows that a query needs are decoded when it comes. The result is a model of the same class, with all its powers.

    On Frappe (DeepFM) 8 bits keep AUC and log loss at 35 % of the bytes, and 4 bits cost .0001 of AUC at 26 %. Rare rows that
    share a vector, zeroed entries and fewer axes cost more at equal bytes, so they are not offered.

    Attributes:
        table_bits: bits of each number of the embedding tables; 16 = half precision.
    """

    table_bits: int = setting(8, between=(1, 16), doc="Bits of the embedding tables; 16 = half precision.")

    def __post_init__(self) -> None:
        check_settings(self)
        if _HALF > self.table_bits > 8:
            raise SettingError(f"table_bits must be 1 to 8, or 16. Got {self.table_bits}.")

    def __str__(self) -> str:
        return f"fields table_bits={self.table_bits}"

    def estimate_bytes(self, model: Scorer) -> float:
        """Bytes of the codes, and of the encoded items and users, which stay as they are."""
        network = _check_model(model)
        size = float(sum(count_parts(network).values()))
        for name, weight in network.weights.items():
            if codec := self._choose_codec(name, np.shape(weight)):
                size += codec.count_bytes(*np.shape(weight)) - np.asarray(weight).nbytes
        return size

    def refine(self, model: Scorer) -> tuple["FieldCompression", ...]:  # noqa: ARG002 - of the protocol
        """No slower method of the same size is known."""
        return ()

    def compress(self, model: Scorer, data: Dataset, run: Run = Run()) -> FieldModel:  # noqa: ARG002 - of the protocol
        """The model in codes. Raises SettingError for a model of another kind."""
        return self.encode(_check_model(model), seed=run.seed)

    def encode(self, model: _Model, seed: int = 0) -> _Model:
        """A model in codes, also one that was fitted on rows of a table."""
        weights = {
            name: codec.encode(weight, seed=seed) if (codec := self._choose_codec(name, np.shape(weight))) else weight
            for name, weight in model.weights.items()
        }
        return dataclasses.replace(model, weights=weights)

    def _choose_codec(self, name: str, shape: tuple[int, ...]) -> Any:
        """The codec of a weight; None = it stays as it is."""
        if len(shape) != 2 or math.prod(shape) < _LEAST_NUMBERS:
            return None
        if name.startswith("sides."):
            return HalfCodec() if self.table_bits == _HALF else ScalarCodec(self.table_bits)
        return HalfCodec() if self.table_bits == _HALF else ScalarCodec(_LAYER_BITS, rotated=False)


def _check_model(model: Scorer) -> FieldModel:
    if not isinstance(model, FieldModel):
        raise SettingError(f"The model must be wide_deep, deepfm, dcn, dlrm or multitask. Got {type(model).__name__}.")
    return model
