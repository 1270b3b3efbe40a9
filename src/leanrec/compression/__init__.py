"""Compression: smaller models that serve through the same calls."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.compression.compressed_encoder import CompressedEncoder as CompressedEncoder
    from leanrec.compression.compressed_encoder import compress_encoder as compress_encoder
    from leanrec.compression.compressed_factors import CompressedFactors as CompressedFactors
    from leanrec.compression.compressed_factors import compress_factors as compress_factors
    from leanrec.compression.compressed_neumf import CompressedNeuMF as CompressedNeuMF
    from leanrec.compression.compressed_neumf import compress_neumf as compress_neumf
    from leanrec.compression.distillation import Distillation as Distillation
    from leanrec.compression.distillation import Student as Student
    from leanrec.compression.factor_compression import FactorCompression as FactorCompression
    from leanrec.compression.methods import CompressionMethod as CompressionMethod
    from leanrec.compression.methods import count_parts as count_parts
    from leanrec.compression.network_compression import NetworkCompression as NetworkCompression
    from leanrec.compression.network_compression import cut_axes as cut_axes
    from leanrec.compression.proposals import propose_methods as propose_methods
    from leanrec.compression.vectors.axes import AxesCodec as AxesCodec
    from leanrec.compression.vectors.codec import VectorCodec as VectorCodec
    from leanrec.compression.vectors.codec import VectorCodes as VectorCodes
    from leanrec.compression.vectors.half import HalfCodec as HalfCodec
    from leanrec.compression.vectors.product import ProductCodec as ProductCodec
    from leanrec.compression.vectors.refit import refit_factors as refit_factors
    from leanrec.compression.vectors.scalar import ScalarCodec as ScalarCodec
    from leanrec.compression.weights.compressed_weights import CompressedWeights as CompressedWeights
    from leanrec.compression.weights.compressed_weights import WeightCompression as WeightCompression
    from leanrec.compression.weights.compressed_weights import pack as pack
    from leanrec.compression.weights.packed_weights import PackedWeights as PackedWeights
    from leanrec.compression.weights.pruning import prune as prune

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "compressed_encoder": ["CompressedEncoder", "compress_encoder"],
        "compressed_factors": ["CompressedFactors", "compress_factors"],
        "compressed_neumf": ["CompressedNeuMF", "compress_neumf"],
        "distillation": ["Distillation", "Student"],
        "factor_compression": ["FactorCompression"],
        "methods": ["CompressionMethod", "count_parts"],
        "network_compression": ["NetworkCompression", "cut_axes"],
        "proposals": ["propose_methods"],
        "vectors.axes": ["AxesCodec"],
        "vectors.codec": ["VectorCodec", "VectorCodes"],
        "vectors.half": ["HalfCodec"],
        "vectors.product": ["ProductCodec"],
        "vectors.refit": ["refit_factors"],
        "vectors.scalar": ["ScalarCodec"],
        "weights.compressed_weights": ["CompressedWeights", "WeightCompression", "pack"],
        "weights.packed_weights": ["PackedWeights"],
        "weights.pruning": ["prune"],
    },
)
