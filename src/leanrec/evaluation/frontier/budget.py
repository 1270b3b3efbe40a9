"""What a model may cost, and by how much one goes over."""

import dataclasses
import functools
import math
from collections.abc import Mapping

from leanrec.errors import SettingError
from leanrec.run import format_bytes, format_seconds, parse_bytes, parse_seconds

__all__ = ["AXES", "Axis", "Budget", "Overshoot"]


@dataclasses.dataclass(frozen=True)
class Axis:
    """One kind of cost.

    Attributes:
        name: short name: "p99", "memory", "fit", "artifact".
        title: what it is, for people.
        unit: "s" or "B".
    """

    name: str
    title: str
    unit: str

    def show(self, value: float) -> str:
        """The value with its unit, for people."""
        return format_seconds(value) if self.unit == "s" else format_bytes(value)


AXES: Mapping[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis("p99", "p99 of one request", "s"),
        Axis("memory", "peak memory of the fit", "B"),
        Axis("fit", "time to fit", "s"),
        Axis("artifact", "size on disk", "B"),
    )
}


@dataclasses.dataclass(frozen=True)
class Overshoot:
    """How far one cost is over its limit.

    Attributes:
        axis: name of the cost.
        value: what it costs.
        limit: what it may cost.
    """

    axis: str
    value: float
    limit: float

    @property
    def relative(self) -> float:
        """0.25 for a quarter over the limit."""
        return self.value / self.limit - 1

    def __str__(self) -> str:
        axis = AXES[self.axis]
        times = _times(self.value / self.limit)
        return f"{axis.title} {axis.show(self.value)}, limit {axis.show(self.limit)} ({times})"


@dataclasses.dataclass(frozen=True)
class Budget:
    """Limits on what a model may cost; None is no limit.

    Each may be a number in seconds or bytes, or a text such as ``"5ms"``, ``"60s"``, ``"200MB"``; it is kept
    as a number.

    Attributes:
        max_p99: seconds that 99 of 100 requests may take at most.
        max_memory: bytes that the fit may add to the process at its highest.
        max_fit: seconds by the clock that the fit may take.
        max_artifact: bytes of the saved model on disk.
    """

    max_p99: float | str | None = None
    max_memory: float | str | None = None
    max_fit: float | str | None = None
    max_artifact: float | str | None = None

    def __post_init__(self) -> None:
        for axis in AXES.values():
            name = f"max_{axis.name}"
            given = getattr(self, name)
            if given is not None:
                object.__setattr__(self, name, _number(name, given, axis.unit))

    @functools.cached_property
    def limits(self) -> dict[str, float]:
        """The limits that there are, by the name of their axis."""
        given = {name: getattr(self, f"max_{name}") for name in AXES}
        return {name: float(limit) for name, limit in given.items() if limit is not None}

    def over(self, costs: Mapping[str, float]) -> tuple[Overshoot, ...]:
        """The limits that ``costs`` (by axis) break, worst first. A cost that is missing breaks none."""
        broken = (
            Overshoot(name, costs[name], limit)
            for name, limit in self.limits.items()
            if name in costs and costs[name] > limit
        )
        return tuple(sorted(broken, key=lambda each: -each.relative))

    def __str__(self) -> str:
        parts = [f"{AXES[name].title} ≤ {AXES[name].show(limit)}" for name, limit in self.limits.items()]
        return ", ".join(parts) or "no limits"


def _number(name: str, given: float | str, unit: str) -> float:
    parse = parse_seconds if unit == "s" else parse_bytes
    try:
        value = float(parse(given)) if isinstance(given, str) else float(given)
    except SettingError as error:
        raise SettingError(f"{name}: {error}") from None
    except ValueError:
        raise SettingError(f"{name}: {given!r} has no number that can be read.") from None
    if not value > 0 or not math.isfinite(value):
        raise SettingError(f"{name} must be above zero. Got {given!r}.")
    return value


def _times(ratio: float) -> str:
    return f"{ratio - 1:.0%} over" if ratio < 2 else f"{ratio:.3g} times"
