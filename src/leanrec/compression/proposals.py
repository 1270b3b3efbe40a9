"""Proposals: the methods that are worth a try for a model of one kind within a number of bytes."""

from leanrec.compression.methods import CompressionMethod
from leanrec.protocols import Scorer

__all__ = ["propose_methods"]


def propose_methods(model: Scorer, max_bytes: float) -> tuple[CompressionMethod, ...]:  # noqa: ARG001
    """Methods whose result takes at most ``max_bytes``, and not much less, each of another kind; () where none is known."""
    return ()
