"""Compression: smaller models that serve through the same calls."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.compression.vectors.half import HalfCodec as HalfCodec
    from leanrec.compression.vectors.scalar import ScalarCodec as ScalarCodec

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "vectors.half": ["HalfCodec"],
        "vectors.scalar": ["ScalarCodec"],
    },
)
