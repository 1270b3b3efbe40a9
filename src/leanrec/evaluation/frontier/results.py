"""Results of the models of a frontier: quality, cost and status."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from leanrec.budget import BudgetViolation
from leanrec.compression.methods import CompressionMethod
from leanrec.evaluation.frontier.cost import ModelCost
from leanrec.protocols import Estimator

__all__ = ["ModelResult", "QualityEstimate", "ResultStatus"]

ResultStatus = Literal["fitted", "skipped", "failed"]


@dataclasses.dataclass(frozen=True)
class QualityEstimate:
    """A mean over queries with its 95 % interval.

    Attributes:
        value: the mean.
        low: lower end of the interval.
        high: upper end.
        n_queries: number of queries in the mean.
    """

    value: float
    low: float
    high: float
    n_queries: int


@dataclasses.dataclass(frozen=True)
class ModelResult:
    """Quality and cost of one model of a frontier.

    Attributes:
        name: the model and its settings that differ from the defaults; unique within a frontier.
        model: name of the model in ``leanrec.models``.
        family: folder of the model: "linear", "graph" …; "plugin" for models of other packages.
        settings: every setting.
        status: "fitted"; "skipped" = not fitted, because it would exceed the budget; "failed".
        reason: why it was skipped or failed.
        cost: measured cost; None unless fitted.
        valid: quality on the validation part, by which models are selected; None unless fitted.
        test: quality on the test part, for reporting; None unless fitted.
        metrics: part → metric → mean, of all metrics.
        violations: the limits of the budget that it exceeds, worst first.
        pareto_axes: the costs against which it is Pareto-optimal on validation.
        notes: warnings given during the fit.
        estimated_memory: bytes that ``fit_bytes`` estimates for the fit; None where it raised an error.
        estimator: the fitted settings, to fit the selected model on all data.
        compression: how the fitted model was made smaller; None = it was not.
    """

    name: str
    model: str
    family: str
    settings: Mapping[str, Any]
    status: ResultStatus
    reason: str = ""
    cost: ModelCost | None = None
    valid: QualityEstimate | None = None
    test: QualityEstimate | None = None
    metrics: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    violations: tuple[BudgetViolation, ...] = ()
    pareto_axes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    estimated_memory: int | None = None
    estimator: Estimator | None = dataclasses.field(default=None, repr=False, compare=False)
    compression: CompressionMethod | None = None

    def costs(self) -> dict[str, float]:
        """Costs by the name of their axis, see ``COST_AXES``; empty unless fitted."""
        return {} if self.cost is None else self.cost.costs()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = dataclasses.asdict(dataclasses.replace(self, estimator=None, compression=None)) | {
            "costs": self.costs()
        }
        del plain["estimator"]
        return plain | {"compression": None if self.compression is None else str(self.compression)}
