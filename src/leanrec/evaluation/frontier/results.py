"""One line of the frontier: a model, how good it is and what it cost, or why there is nothing to say."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from leanrec.budget import BudgetViolation
from leanrec.evaluation.frontier.cost import ModelCost
from leanrec.protocols import Estimator

__all__ = ["Quality", "Row", "Status"]

Status = Literal["fitted", "skipped", "failed"]


@dataclasses.dataclass(frozen=True)
class Quality:
    """A mean over queries with its 95 % interval.

    Attributes:
        value: the mean.
        low: lower end.
        high: upper end.
        queries: how many queries it is the mean of.
    """

    value: float
    low: float
    high: float
    queries: int


@dataclasses.dataclass(frozen=True)
class Row:
    """One model of a portfolio.

    Attributes:
        name: the model and the settings that are not the usual ones; distinct within a frontier.
        model: name of the model, as ``leanrec.models`` has it.
        family: content, collaborative, …
        settings: every setting.
        status: "fitted"; "skipped" = not fitted, because it could not keep the budget; "failed".
        reason: why it was skipped or what went wrong.
        cost: what it cost; None unless fitted.
        valid: quality on the validation part, which every choice looks at; None unless fitted.
        test: quality on the test part, for reporting; None unless fitted.
        metrics: part → metric → mean, for all that was measured.
        over: the limits of the budget that it breaks, worst first.
        front: the costs against which it is Pareto-optimal on validation.
        notes: warnings given during the fit.
        estimate: bytes that the fit said beforehand it would need; None where it could not say.
        estimator: the settings as they were fitted, for a fit on all the data once the choice is made.
    """

    name: str
    model: str
    family: str
    settings: Mapping[str, Any]
    status: Status
    reason: str = ""
    cost: ModelCost | None = None
    valid: Quality | None = None
    test: Quality | None = None
    metrics: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    violations: tuple[BudgetViolation, ...] = ()
    front: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    estimate: int | None = None
    estimator: Estimator | None = dataclasses.field(default=None, repr=False, compare=False)

    def axes(self) -> dict[str, float]:
        """Its costs by the name of their axis; empty unless fitted."""
        return {} if self.cost is None else self.cost.axes()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = dataclasses.asdict(dataclasses.replace(self, estimator=None)) | {"costs": self.axes()}
        del plain["estimator"]
        return plain
