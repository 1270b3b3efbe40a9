"""Evaluation: metrics, comparisons, cross-validation, tuning, and the frontier of quality and cost."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.evaluation.bootstrap import ConfidenceInterval as ConfidenceInterval
    from leanrec.evaluation.compare import (
        ModelComparison as ModelComparison,
    )
    from leanrec.evaluation.compare import (
        PairedComparison as PairedComparison,
    )
    from leanrec.evaluation.compare import (
        compare as compare,
    )
    from leanrec.evaluation.compression.compress import compress as compress
    from leanrec.evaluation.compression.distill import DistillationResult as DistillationResult
    from leanrec.evaluation.compression.distill import DistilledResult as DistilledResult
    from leanrec.evaluation.compression.distill import distill as distill
    from leanrec.evaluation.compression.ranking_sample import MeasuredLists as MeasuredLists
    from leanrec.evaluation.compression.ranking_sample import RankingSample as RankingSample
    from leanrec.evaluation.compression.ranking_sample import RelativeLoss as RelativeLoss
    from leanrec.evaluation.compression.ranking_sample import find_tail_items as find_tail_items
    from leanrec.evaluation.compression.result import CompressedResult as CompressedResult
    from leanrec.evaluation.compression.result import CompressionResult as CompressionResult
    from leanrec.evaluation.compression.target import CompressionTarget as CompressionTarget
    from leanrec.evaluation.cross_validation import CrossValidation as CrossValidation
    from leanrec.evaluation.cross_validation import cross_validate as cross_validate
    from leanrec.evaluation.evaluate import Evaluation as Evaluation
    from leanrec.evaluation.evaluate import evaluate as evaluate
    from leanrec.evaluation.frontier.candidates import (
        ModelCandidate as ModelCandidate,
    )
    from leanrec.evaluation.frontier.candidates import (
        list_candidates as list_candidates,
    )
    from leanrec.evaluation.frontier.cost import (
        LatencyProtocol as LatencyProtocol,
    )
    from leanrec.evaluation.frontier.cost import (
        MeasuredModel as MeasuredModel,
    )
    from leanrec.evaluation.frontier.cost import (
        ModelCost as ModelCost,
    )
    from leanrec.evaluation.frontier.cost import (
        measure_cost as measure_cost,
    )
    from leanrec.evaluation.frontier.frontier import Frontier as Frontier
    from leanrec.evaluation.frontier.frontier import frontier as frontier
    from leanrec.evaluation.frontier.isolation import (
        can_isolate as can_isolate,
    )
    from leanrec.evaluation.frontier.isolation import (
        measure_in_subprocess as measure_in_subprocess,
    )
    from leanrec.evaluation.frontier.results import ModelResult as ModelResult
    from leanrec.evaluation.frontier.results import QualityEstimate as QualityEstimate
    from leanrec.evaluation.metrics.ratings import RatingErrors as RatingErrors
    from leanrec.evaluation.plots.figures import (
        draw_dataset as draw_dataset,
    )
    from leanrec.evaluation.plots.figures import (
        draw_recommendations as draw_recommendations,
    )
    from leanrec.evaluation.plots.frontier_figure import draw_frontier as draw_frontier
    from leanrec.evaluation.plots.html_report import write_html_report as write_html_report
    from leanrec.evaluation.plots.tuning_figure import draw_tuning as draw_tuning
    from leanrec.evaluation.prequential import PrequentialEvaluation as PrequentialEvaluation
    from leanrec.evaluation.prequential import evaluate_prequentially as evaluate_prequentially
    from leanrec.evaluation.tuning.search_space import Categorical as Categorical
    from leanrec.evaluation.tuning.search_space import NumericRange as NumericRange
    from leanrec.evaluation.tuning.tuning import Search as Search
    from leanrec.evaluation.tuning.tuning import tune as tune
    from leanrec.evaluation.tuning.tuning_result import TuningResult as TuningResult

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "bootstrap": ["ConfidenceInterval"],
        "compare": ["ModelComparison", "PairedComparison", "compare"],
        "compression.compress": ["compress"],
        "compression.distill": ["DistillationResult", "DistilledResult", "distill"],
        "compression.ranking_sample": ["MeasuredLists", "RankingSample", "RelativeLoss", "find_tail_items"],
        "compression.result": ["CompressedResult", "CompressionResult"],
        "compression.target": ["CompressionTarget"],
        "cross_validation": ["CrossValidation", "cross_validate"],
        "evaluate": ["Evaluation", "evaluate"],
        "frontier.candidates": ["ModelCandidate", "list_candidates"],
        "frontier.cost": ["LatencyProtocol", "MeasuredModel", "ModelCost", "measure_cost"],
        "frontier.frontier": ["Frontier", "frontier"],
        "frontier.isolation": ["can_isolate", "measure_in_subprocess"],
        "frontier.results": ["ModelResult", "QualityEstimate"],
        "metrics.ratings": ["RatingErrors"],
        "plots.figures": ["draw_dataset", "draw_recommendations"],
        "plots.frontier_figure": ["draw_frontier"],
        "plots.html_report": ["write_html_report"],
        "plots.tuning_figure": ["draw_tuning"],
        "prequential": ["PrequentialEvaluation", "evaluate_prequentially"],
        "tuning.search_space": ["Categorical", "NumericRange"],
        "tuning.tuning": ["Search", "tune"],
        "tuning.tuning_result": ["TuningResult"],
    },
)
