"""Pipelines: serve recommendations from a fitted model by external id."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.pipeline.lists.batch import BatchResult as BatchResult
    from leanrec.pipeline.lists.new_items import NewItems as NewItems
    from leanrec.pipeline.lists.rules import ColumnLimit as ColumnLimit
    from leanrec.pipeline.lists.rules import ListRules as ListRules
    from leanrec.pipeline.lists.rules import PinnedItem as PinnedItem
    from leanrec.pipeline.lists.sources import CandidateSource as CandidateSource
    from leanrec.pipeline.pipeline import Pipeline as Pipeline
    from leanrec.pipeline.replay import (
        ReplayResult as ReplayResult,
    )
    from leanrec.pipeline.replay import (
        bind_log as bind_log,
    )
    from leanrec.pipeline.replay import (
        default_log_path as default_log_path,
    )
    from leanrec.pipeline.responses import (
        AddItemsResult as AddItemsResult,
    )
    from leanrec.pipeline.responses import (
        Contribution as Contribution,
    )
    from leanrec.pipeline.responses import (
        HistoryEvent as HistoryEvent,
    )
    from leanrec.pipeline.responses import (
        ItemEmbeddings as ItemEmbeddings,
    )
    from leanrec.pipeline.responses import (
        ItemExplanation as ItemExplanation,
    )
    from leanrec.pipeline.responses import (
        Recommendations as Recommendations,
    )
    from leanrec.pipeline.responses import (
        RecommendedItem as RecommendedItem,
    )
    from leanrec.pipeline.responses import (
        RecordResult as RecordResult,
    )
    from leanrec.pipeline.responses import (
        RejectedEvent as RejectedEvent,
    )
    from leanrec.pipeline.responses import (
        StageTrace as StageTrace,
    )

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "lists.batch": ["BatchResult"],
        "lists.new_items": ["NewItems"],
        "lists.rules": ["ColumnLimit", "ListRules", "PinnedItem"],
        "lists.sources": ["CandidateSource"],
        "pipeline": ["Pipeline"],
        "replay": ["ReplayResult", "bind_log", "default_log_path"],
        "responses": [
            "AddItemsResult",
            "Contribution",
            "HistoryEvent",
            "ItemEmbeddings",
            "ItemExplanation",
            "Recommendations",
            "RecommendedItem",
            "RecordResult",
            "RejectedEvent",
            "StageTrace",
        ],
    },
)
