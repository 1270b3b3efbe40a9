"""Limits on what work or a model may cost, and the violations of such limits."""

import dataclasses
import math
from collections.abc import Mapping

from leanrec.errors import SettingError
from leanrec.units import format_bytes, format_seconds, parse_bytes, parse_seconds

__all__ = ["COST_AXES", "Budget", "BudgetViolation", "CostAxis"]


@dataclasses.dataclass(frozen=True)
class CostAxis:
    """One kind of cost that a budget can limit.

    Attributes:
        name: the field of ``Budget`` that limits it: "p99", "memory", "fit_time" or "size".
        title: the name in tables, plots and messages.
        unit: "s" for seconds or "B" for bytes.
    """

    name: str
    title: str
    unit: str

    def format(self, value: float) -> str:
        """The value with its unit, as text."""
        return format_seconds(value) if self.unit == "s" else format_bytes(value)


COST_AXES: Mapping[str, CostAxis] = {
    axis.name: axis
    for axis in (
        CostAxis("p99", "p99 of one request", "s"),
        CostAxis("memory", "peak memory of the fit", "B"),
        CostAxis("fit_time", "time to fit", "s"),
        CostAxis("size", "size on disk", "B"),
    )
}


@dataclasses.dataclass(frozen=True)
class BudgetViolation:
    """A cost above its limit.

    Attributes:
        axis: name of the cost, a key of ``COST_AXES``.
        value: the measured cost.
        limit: the highest cost allowed.
    """

    axis: str
    value: float
    limit: float

    @property
    def excess(self) -> float:
        """Share of the limit by which the cost is above it: 0.25 for a quarter over."""
        return self.value / self.limit - 1 if self.limit else math.inf

    def __str__(self) -> str:
        axis = COST_AXES[self.axis]
        times = f"{self.excess:.0%} over" if self.excess < 1 else f"{self.excess + 1:.3g} times"
        return f"{axis.title} {axis.format(self.value)}, limit {axis.format(self.limit)} ({times})"


@dataclasses.dataclass(frozen=True, init=False)
class Budget:
    """Limits on the cost of work or of a model; None means no limit.

    The one class for limits: ``Run`` takes a budget that work must keep, ``frontier`` one by which models are chosen. Each
    limit may be given as a number or as text with a unit, such as ``"5ms"``, ``"60s"`` or ``"200MB"``, and is kept as a
    number.

    Attributes:
        memory: bytes that the work may add to the process at its peak.
        fit_time: seconds of wall time that the fit, or other long work, may take.
        p99: seconds within which 99 of 100 requests must be answered.
        size: bytes of the saved model on disk.

    Raises:
        SettingError: a limit that is not a finite number of at least zero, or text without a number and a unit.
    """

    memory: float | None
    fit_time: float | None
    p99: float | None
    size: float | None

    def __init__(
        self,
        *,
        memory: float | str | None = None,
        fit_time: float | str | None = None,
        p99: float | str | None = None,
        size: float | str | None = None,
    ) -> None:
        # The constructor takes text as well; the fields hold numbers only. A frozen dataclass sets them this way.
        for name, given in {"memory": memory, "fit_time": fit_time, "p99": p99, "size": size}.items():
            object.__setattr__(self, name, None if given is None else _parse_limit(name, given))

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by the name of their axis."""
        limits = {name: getattr(self, name) for name in COST_AXES}
        return {name: float(limit) for name, limit in limits.items() if limit is not None}

    def violations(self, costs: Mapping[str, float]) -> tuple[BudgetViolation, ...]:
        """The limits that ``costs`` (by axis) exceed, worst first. A cost that is missing violates no limit."""
        exceeded = (
            BudgetViolation(name, costs[name], limit)
            for name, limit in self.limits.items()
            if name in costs and costs[name] > limit
        )
        return tuple(sorted(exceeded, key=lambda each: -each.excess))

    def __str__(self) -> str:
        parts = [f"{COST_AXES[name].title} ≤ {COST_AXES[name].format(limit)}" for name, limit in self.limits.items()]
        return ", ".join(parts) or "no limits"


def _parse_limit(name: str, given: float | str) -> float:
    parse = parse_seconds if COST_AXES[name].unit == "s" else parse_bytes
    try:
        value = parse(given) if isinstance(given, str) else given
    except SettingError as error:
        raise SettingError(f"{name}: {error}") from None
    if not value >= 0 or not math.isfinite(value):
        raise SettingError(f"{name} must be a finite number of at least zero. Got {given!r}.")
    return value
