"""Which model to take: the best within the budget, the closest if none is, and cheaper ones that are as good.

Everything here looks at the validation part only.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from leanrec.budget import COST_AXES, Budget
from leanrec.evaluation.bootstrap import PerQuery
from leanrec.evaluation.compare import Pair, compare
from leanrec.evaluation.frontier.pareto import front
from leanrec.evaluation.frontier.results import Row

__all__ = ["Choice", "Tie", "cheaper", "choose", "mark", "savings", "ties"]

# Costs are measured, so they waver: a little more on one axis does not spoil much less on another.
_NO_MORE, _MUCH_LESS = 1.1, 0.8
# Nor does more of what the budget holds plenty of: a cost below this share of its limit.
_PLENTY = 0.1


@dataclasses.dataclass(frozen=True)
class Tie:
    """A cheaper model that the validation part cannot tell from the best.

    Attributes:
        name: of its row.
        difference: mean over queries of the best's value minus its own.
        low: lower end of the 95 % interval of the difference.
        high: upper end: how much might be lost.
        p: probability of a difference at least as large by chance, corrected for all that was compared.
        saves: axis → its cost as a share of the cost of the best; below 1 is cheaper.
    """

    name: str
    difference: float
    low: float
    high: float
    p: float
    saves: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Choice:
    """The outcome.

    Attributes:
        best: name of the best row within the budget; None if none keeps it.
        closest: if none does, the row that goes over least; None if nothing was fitted.
        ties: cheaper rows that cannot be told from the best, the best of them first.
    """

    best: str | None
    closest: str | None
    ties: tuple[Tie, ...] = ()


def mark(rows: Sequence[Row], budget: Budget) -> tuple[Row, ...]:
    """The rows, each with the limits it breaks and the costs against which it is Pareto-optimal."""
    fitted = [row for row in rows if row.valid is not None]
    quality = [row.valid.value for row in fitted if row.valid is not None]
    optimal: dict[str, list[str]] = {row.name: [] for row in rows}
    for axis in COST_AXES:
        for row, is_optimal in zip(fitted, front([row.axes()[axis] for row in fitted], quality), strict=True):
            if is_optimal:
                optimal[row.name].append(axis)
    return tuple(
        dataclasses.replace(row, violations=budget.violations(row.axes()), front=tuple(optimal[row.name]))
        for row in rows
    )


def choose(rows: Sequence[Row]) -> Choice:
    """Best and closest of marked rows.

    Best is the highest mean, of equals the one with the lower p99. Closest is the lowest of the highest
    relative overshoots, of equals the better.
    """
    fitted = [row for row in rows if row.valid is not None]
    fitting = [row for row in fitted if not row.violations]
    if fitting:
        return Choice(best=min(fitting, key=_goodness).name, closest=None)
    nearest = min(fitted, key=lambda row: (row.violations[0].excess, *_goodness(row)), default=None)
    return Choice(best=None, closest=None if nearest is None else nearest.name)


def ties(
    rows: Sequence[Row],
    best: str,
    evaluations: Mapping[str, PerQuery],
    metric: str,
    *,
    budget: Budget = Budget(),
    seed: int = 0,
) -> tuple[Tie, ...]:
    """Cheaper rows that a paired test, corrected for all pairs of them, cannot tell from the best."""
    winner = next(row for row in rows if row.name == best)
    rivals = {row.name: row for row in cheaper(rows, winner, budget)}
    if not rivals:
        return ()
    found = compare({name: evaluations[name] for name in (best, *rivals)}, metric, seed=seed)
    # Of equal means the comparison may put another first; the pair is turned to start at the winner.
    pairs = [pair if pair.a == best else _turned(pair) for pair in found.pairs if best in {pair.a, pair.b}]
    return tuple(
        Tie(pair.b, pair.difference, pair.low, pair.high, pair.p_corrected, savings(rivals[pair.b], winner))
        for pair in sorted(pairs, key=lambda pair: pair.difference)
        if not pair.shown
    )


def _turned(pair: Pair) -> Pair:
    """The same comparison seen from the other side."""
    return dataclasses.replace(pair, a=pair.b, b=pair.a, difference=-pair.difference, low=-pair.high, high=-pair.low)


def cheaper(rows: Sequence[Row], best: Row, budget: Budget = Budget()) -> tuple[Row, ...]:
    """Rows within the budget that cost less than ``best``.

    Less is at most 0.8 of it on one axis and, on every other, at most 1.1 of it or a tenth of the limit.
    """
    return tuple(row for row in rows if row.valid is not None and not row.violations and _is_cheaper(row, best, budget))


def savings(row: Row, best: Row) -> dict[str, float]:
    """Axis → the cost of ``row`` as a share of the cost of ``best``."""
    ours, theirs = row.axes(), best.axes()
    # A cost of nothing against nothing is neither more nor less.
    return {axis: (ours[axis] / theirs[axis] if theirs[axis] else 1.0 + ours[axis]) for axis in COST_AXES}


def _is_cheaper(row: Row, best: Row, budget: Budget) -> bool:
    shares, costs = savings(row, best), row.axes()
    plenty = {axis for axis, limit in budget.limits.items() if costs[axis] <= _PLENTY * limit}
    return min(shares.values()) <= _MUCH_LESS and all(
        share <= _NO_MORE or axis in plenty for axis, share in shares.items()
    )


def _goodness(row: Row) -> tuple[float, float]:
    quality = float("-inf") if row.valid is None else row.valid.value
    return (-quality, row.axes().get("p99", float("inf")))
