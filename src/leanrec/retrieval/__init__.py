"""Retrieval: all items to the best k candidates."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.retrieval.approximate import ApproximateIndex as ApproximateIndex
    from leanrec.retrieval.approximate import ApproximateRetriever as ApproximateRetriever
    from leanrec.retrieval.exact import ExactRetriever as ExactRetriever
    from leanrec.retrieval.recall_watch import RecallWatch as RecallWatch

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "approximate": ["ApproximateIndex", "ApproximateRetriever"],
        "exact": ["ExactRetriever"],
        "recall_watch": ["RecallWatch"],
    },
)
