"""Retrieval: all items to the best k candidates."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.retrieval.exact import ExactRetriever as ExactRetriever

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "exact": ["ExactRetriever"],
    },
)
