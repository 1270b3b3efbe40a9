"""Model selection within a budget: the best, the closest if none fits, and cheaper equivalents of the best.

All functions use the validation part only.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from leanrec.budget import COST_AXES, Budget
from leanrec.evaluation.bootstrap import PerQueryMetrics
from leanrec.evaluation.compare import compare
from leanrec.evaluation.frontier.pareto import is_pareto_optimal
from leanrec.evaluation.frontier.results import ModelResult

__all__ = [
    "Equivalent",
    "ModelSelection",
    "annotate_results",
    "compute_cost_ratios",
    "find_cheaper",
    "find_equivalents",
    "select_model",
]

# Costs are measured with noise: slightly more on one axis does not cancel much less on another.
_NO_MORE, _MUCH_LESS = 1.1, 0.8
# A higher cost does not count either where the budget leaves plenty: below this share of the limit.
_PLENTY = 0.1


@dataclasses.dataclass(frozen=True)
class Equivalent:
    """A cheaper model without a significant difference from the best on validation.

    Attributes:
        name: of its result.
        difference: mean over queries of the best's value minus its own.
        low: lower end of the 95 % interval of the difference.
        high: upper end: the largest plausible loss.
        p: p-value of the difference, corrected for multiple comparisons.
        cost_ratios: axis → its cost divided by the cost of the best; below 1 is cheaper.
    """

    name: str
    difference: float
    low: float
    high: float
    p: float
    cost_ratios: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class ModelSelection:
    """The outcome of model selection.

    Attributes:
        best: name of the best result within the budget; None if none fits.
        closest: if none fits, the result that exceeds the budget least; None if no model was fitted.
        equivalents: cheaper results without a significant difference from the best, best first.
    """

    best: str | None
    closest: str | None
    equivalents: tuple[Equivalent, ...] = ()


def annotate_results(results: Sequence[ModelResult], budget: Budget) -> tuple[ModelResult, ...]:
    """The results with their violations of the budget and the costs against which they are Pareto-optimal."""
    fitted = [result for result in results if result.valid is not None]
    quality = [result.valid.value for result in fitted if result.valid is not None]
    axes: dict[str, list[str]] = {result.name: [] for result in results}
    for axis in COST_AXES:
        optimal = is_pareto_optimal([result.costs()[axis] for result in fitted], quality)
        for result, is_optimal in zip(fitted, optimal, strict=True):
            if is_optimal:
                axes[result.name].append(axis)
    return tuple(
        dataclasses.replace(result, violations=budget.violations(result.costs()), pareto_axes=tuple(axes[result.name]))
        for result in results
    )


def select_model(results: Sequence[ModelResult]) -> ModelSelection:
    """The best and the closest of annotated results.

    Best is the highest mean; among equals, the one with the lower p99. Closest is the one whose largest relative
    excess over a limit is smallest; among equals, the better one.
    """
    fitted = [result for result in results if result.valid is not None]
    within = [result for result in fitted if not result.violations]
    if within:
        return ModelSelection(best=min(within, key=_quality_order).name, closest=None)
    closest = min(fitted, key=lambda each: (each.violations[0].excess, *_quality_order(each)), default=None)
    return ModelSelection(best=None, closest=None if closest is None else closest.name)


def find_equivalents(
    results: Sequence[ModelResult],
    best: str,
    evaluations: Mapping[str, PerQueryMetrics],
    metric: str,
    *,
    budget: Budget = Budget(),
    seed: int = 0,
) -> tuple[Equivalent, ...]:
    """Cheaper results without a significant difference from the best, by a paired test corrected for all pairs."""
    winner = next(result for result in results if result.name == best)
    cheaper = {result.name: result for result in find_cheaper(results, winner, budget)}
    if not cheaper:
        return ()
    comparison = compare({name: evaluations[name] for name in (best, *cheaper)}, metric, seed=seed)
    # Among equal means the comparison may list another model first; each pair must start at the winner.
    pairs = [pair if pair.a == best else pair.swap() for pair in comparison.pairs if best in {pair.a, pair.b}]
    return tuple(
        Equivalent(
            pair.b, pair.difference, pair.low, pair.high, pair.p_corrected, compute_cost_ratios(cheaper[pair.b], winner)
        )
        for pair in sorted(pairs, key=lambda pair: pair.difference)
        if not pair.significant
    )


def find_cheaper(
    results: Sequence[ModelResult], best: ModelResult, budget: Budget = Budget()
) -> tuple[ModelResult, ...]:
    """Results within the budget that cost less than ``best``.

    A result costs less if it is at most 0.8 of the best on one axis and, on every other, at most 1.1 of the best or a
    tenth of the limit.
    """
    cheaper = []
    for result in results:
        if result.valid is None or result.violations:
            continue
        ratios, costs = compute_cost_ratios(result, best), result.costs()
        plenty = {axis for axis, limit in budget.limits.items() if costs[axis] <= _PLENTY * limit}
        if min(ratios.values()) <= _MUCH_LESS and all(
            ratio <= _NO_MORE or axis in plenty for axis, ratio in ratios.items()
        ):
            cheaper.append(result)
    return tuple(cheaper)


def compute_cost_ratios(result: ModelResult, best: ModelResult) -> dict[str, float]:
    """Axis → the cost of ``result`` divided by the cost of ``best``; 1 where both are zero."""
    ours, theirs = result.costs(), best.costs()
    return {axis: (ours[axis] / theirs[axis] if theirs[axis] else 1.0 + ours[axis]) for axis in COST_AXES}


def _quality_order(result: ModelResult) -> tuple[float, float]:
    """Sort key: highest quality first, then lowest p99."""
    quality = float("-inf") if result.valid is None else result.valid.value
    return (-quality, result.costs().get("p99", float("inf")))
