"""Metrics of recommendation lists and of predicted ratings."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.evaluation.metrics.beyond_accuracy import (
        ItemStatistics as ItemStatistics,
    )
    from leanrec.evaluation.metrics.beyond_accuracy import (
        coverage as coverage,
    )
    from leanrec.evaluation.metrics.beyond_accuracy import (
        diversity as diversity,
    )
    from leanrec.evaluation.metrics.beyond_accuracy import (
        gini as gini,
    )
    from leanrec.evaluation.metrics.beyond_accuracy import (
        novelty as novelty,
    )
    from leanrec.evaluation.metrics.beyond_accuracy import (
        popularity as popularity,
    )
    from leanrec.evaluation.metrics.beyond_accuracy import (
        popularity_lift as popularity_lift,
    )
    from leanrec.evaluation.metrics.ranking import (
        Relevance as Relevance,
    )
    from leanrec.evaluation.metrics.ranking import (
        auc as auc,
    )
    from leanrec.evaluation.metrics.ranking import (
        average_precision as average_precision,
    )
    from leanrec.evaluation.metrics.ranking import (
        graded_ndcg as graded_ndcg,
    )
    from leanrec.evaluation.metrics.ranking import (
        hit_rate as hit_rate,
    )
    from leanrec.evaluation.metrics.ranking import (
        match_ground_truth as match_ground_truth,
    )
    from leanrec.evaluation.metrics.ranking import (
        ndcg as ndcg,
    )
    from leanrec.evaluation.metrics.ranking import (
        precision as precision,
    )
    from leanrec.evaluation.metrics.ranking import (
        recall as recall,
    )
    from leanrec.evaluation.metrics.ranking import (
        reciprocal_rank as reciprocal_rank,
    )
    from leanrec.evaluation.metrics.ratings import RatingErrors as RatingErrors
    from leanrec.evaluation.metrics.ratings import evaluate_ratings as evaluate_ratings

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "beyond_accuracy": [
            "ItemStatistics",
            "coverage",
            "diversity",
            "gini",
            "novelty",
            "popularity",
            "popularity_lift",
        ],
        "ranking": [
            "Relevance",
            "auc",
            "average_precision",
            "graded_ndcg",
            "hit_rate",
            "match_ground_truth",
            "ndcg",
            "precision",
            "recall",
            "reciprocal_rank",
        ],
        "ratings": ["RatingErrors", "evaluate_ratings"],
    },
)
