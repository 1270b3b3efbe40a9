"""Proposals: the methods that are worth a try for a model of one kind within a number of bytes."""

from collections.abc import Callable, Sequence
from typing import Any

from leanrec.compression.coded_network import WHOLE_BITS, count_layers
from leanrec.compression.compressed_encoder import CompressedEncoder, EncoderCompression
from leanrec.compression.compressed_factors import CompressedFactors, find_coded_shapes, find_scored_table
from leanrec.compression.compressed_neumf import CompressedNeuMF
from leanrec.compression.factor_compression import FactorCompression
from leanrec.compression.field_compression import has_coded_weights, propose_fields
from leanrec.compression.methods import CompressionMethod, count_parts
from leanrec.compression.network_compression import NETWORKS, propose_networks
from leanrec.compression.vectors.axes import AxesCodec
from leanrec.compression.vectors.half import HalfCodec
from leanrec.compression.vectors.mapped import MappedCodec
from leanrec.compression.vectors.product import ProductCodec
from leanrec.compression.vectors.scalar import ScalarCodec
from leanrec.compression.weights.compressed_weights import CompressedWeights, WeightCompression
from leanrec.compression.weights.pruning import find_weights
from leanrec.errors import SettingError
from leanrec.models.ctr.core.models import FieldModel
from leanrec.models.sequential.core.models import SequentialModel
from leanrec.protocols import RowwiseEmbedder, Scorer

__all__ = ["check_compressible", "propose_exact", "propose_methods", "propose_quick", "propose_smallest"]

_VALUE_BITS = (6, 5, 8)
_MOST_CODE_BYTES = 48
_LEAST_AXES = 1 / 4
# Below four bits a list reads a thousand vectors.
_EXACT_BITS = (8, 6, 5, 4)
# Weights for 256 bytes an item keep all of EASE on ML-1M, and more of them take minutes to be solved for again.
_MOST_WEIGHT_BYTES = 256
# More than the books, levels and rotations of the smallest models.
_LEAST_BYTES = 2**20
_BALANCED = 4  # bits, up to which balanced axes keep more of most models


def propose_methods(model: Scorer, max_bytes: float) -> tuple[CompressionMethod, ...]:
    """Methods whose result takes at most ``max_bytes``, and not much less; () where none is known or none is that small.

    The first is the one that is expected to keep most of the ranking.
    """
    if isinstance(model, NETWORKS):
        return propose_networks(model, max_bytes) if model.n_items else ()
    if isinstance(model, RowwiseEmbedder) and find_scored_table(model) is not None:
        return _propose_codecs(model, max_bytes, find_coded_shapes(model), FactorCompression, max_bytes)
    if isinstance(model, FieldModel):
        return propose_fields(model, max_bytes)
    if isinstance(model, SequentialModel):
        codes_bytes = max_bytes - count_layers(model.settings)
        return _propose_codecs(model, max_bytes, [model.embed_items().shape], EncoderCompression, codes_bytes)
    try:
        find_weights(model)
    except SettingError:
        return ()
    per_item = min(max_bytes / max(model.n_items, 1), _MOST_WEIGHT_BYTES)
    proposed = [WeightCompression(per_item, bits) for bits in _VALUE_BITS]
    return tuple(each for each in proposed if each.estimate_bytes(model) <= max_bytes)


def propose_quick(model: Scorer, max_bytes: float) -> CompressionMethod | None:
    """The first proposal that takes less than a second; None if none does. Sparse weights are packed and not cut."""
    for method in propose_methods(model, max_bytes):
        if isinstance(method, WeightCompression):
            packed = WeightCompression(0, method.value_bits)
            return packed if packed.estimate_bytes(model) <= max_bytes else None
        if not isinstance(getattr(method, "codec", None), ProductCodec):
            return method
    return None


def propose_smallest(model: Scorer) -> tuple[CompressionMethod, ...]:
    """The methods within the fewest bytes, by factors of two, that any is known for; () for a kind of model without a method."""
    found: tuple[CompressionMethod, ...] = ()
    size = _count_ample(model)
    while methods := propose_methods(model, size) if size >= 1 else ():
        found, size = methods, size / 2
    return found


def propose_exact(model: Scorer) -> tuple[CompressionMethod, ...]:
    """Methods that keep every list as it is, from the fastest to the smallest. Raises SettingError for a kind of model without one."""
    if isinstance(model, RowwiseEmbedder) and find_scored_table(model) is not None:
        return tuple(FactorCompression(MappedCodec(bits)) for bits in _EXACT_BITS)
    if isinstance(model, SequentialModel):
        return tuple(EncoderCompression(MappedCodec(bits), WHOLE_BITS) for bits in _EXACT_BITS)
    raise SettingError(
        "For exact lists, the model must score by item embeddings, as ials, pure_svd, lightgcn and sasrec do. "
        f"Got {type(model).__name__}. Leave out exact, and name the size or the loss that you accept."
    )


def check_compressible(model: Scorer) -> None:
    """Raise SettingError for a model that is compressed already, or of a kind without a method."""
    coded = (CompressedEncoder, CompressedFactors, CompressedNeuMF, CompressedWeights)
    if isinstance(model, coded) or has_coded_weights(model):
        raise SettingError(
            "The model must not be compressed already, for what is lost is measured against the one that was fitted. "
            f"Got {type(model).__name__}. Compress the model that it was made from."
        )
    if not propose_methods(model, _count_ample(model)):
        raise SettingError(
            "The model must score by item embeddings, as ials, pure_svd, lightgcn and sasrec do, by item-item weights, as ease "
            f"and item_knn do, or be neumf or a model of clicks, as deepfm is. Got {type(model).__name__}, for which no method of compression is known."
        )


def _count_ample(model: Scorer) -> float:
    """Bytes within which every method fits that makes sense."""
    return 2.0 * sum(count_parts(model).values()) + _LEAST_BYTES


def _propose_codecs(
    model: Scorer,
    max_bytes: float,
    shapes: Sequence[tuple[int, ...]],
    make_method: Callable[[Any], CompressionMethod],
    codes_bytes: float,
) -> tuple[CompressionMethod, ...]:
    """Of each kind the codec with the most bytes that fit, for tables of these shapes (N, D), whose codes have ``codes_bytes``."""
    per_row, n_dims = codes_bytes / max(sum(shape[0] for shape in shapes), 1), max(shape[1] for shape in shapes)
    kinds: list[list[Any]] = [
        [HalfCodec()],
        [ScalarCodec(bits, balanced=bits <= _BALANCED) for bits in range(8, 0, -1)],
        [ScalarCodec(bits) for bits in range(_BALANCED, 0, -1)],
        *([AxesCodec(ScalarCodec(bits, balanced=True), n) for n in _list_axes(n_dims)] for bits in (4, 2, 1)),
    ]
    if per_row <= _MOST_CODE_BYTES:
        kinds.insert(0, [ProductCodec(n_codes) for n_codes in range(min(int(per_row), n_dims), 0, -1)])
    chosen: list[CompressionMethod] = []
    for kind in kinds:
        methods = (make_method(codec) for codec in kind)
        best = next((each for each in methods if each.estimate_bytes(model) <= max_bytes), None)
        chosen += [] if best is None else [best]
    return tuple(chosen)


def _list_axes(n_dims: int) -> list[int]:
    """Numbers of axes below D that are worth a try, largest first, in steps of a byte of bits."""
    return [n for n in range(n_dims - 1, 0, -1) if n % 8 == 0 and n >= _LEAST_AXES * n_dims]
