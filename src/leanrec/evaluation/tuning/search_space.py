"""Which values of a setting to try.

A space is one range for each setting that is searched, written as on the command line: ``"1..10000:log"`` from low to
high, by factors with ``:log``; ``"16,32,64"`` these values. A setting of a usual name has a usual range around the value
it has. A model may declare its own, in the same notation, as a class attribute
``SPACE: ClassVar[Mapping[str, str]] = {"flatness": "0.5..8:log"}``; an empty text leaves a setting as it is.
"""

import dataclasses
import difflib
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from leanrec.errors import SettingError
from leanrec.protocols import Estimator
from leanrec.settings import parse_setting, split_list

__all__ = ["Choices", "Numbers", "Space", "held", "read_range", "read_space", "searched", "space_of", "usual_settings"]

_DIGITS = 3


@dataclasses.dataclass(frozen=True)
class Numbers:
    """All numbers from low to high.

    Attributes:
        low: the lowest.
        high: the highest.
        log: whether a factor of ten is as far everywhere.
        whole: whether only whole numbers are meant.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}{':log' if self.log else ''}"

    def holds(self, value: Any) -> bool:
        """Whether the value is one of them."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high and (not self.whole or value == int(value))

    def near(self, value: float) -> float:
        """The value with three digits, so that people can write it down, inside the range."""
        if self.whole:
            return int(value)
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)


@dataclasses.dataclass(frozen=True)
class Choices:
    """Some values, in no order."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return ",".join(map(str, self.values))

    def holds(self, value: Any) -> bool:
        """Whether the value is one of them."""
        return value in self.values


Range: typing.TypeAlias = Numbers | Choices
Space: typing.TypeAlias = Mapping[str, Range]


def _around(factor: float) -> Callable[[float], str]:
    """From a ``factor``-th of the usual value to that many times it, by factors."""
    return lambda usual: f"{usual / factor:.3g}..{usual * factor:.3g}:log" if usual > 0 else ""


def _counts(usual: float) -> str:
    return f"{max(1, int(usual / 8))}..{int(usual * 4)}:log" if usual >= 1 else ""


def _sizes(usual: float) -> str:
    sizes = sorted({int(usual * part) for part in (0.25, 0.5, 1, 2)} - {0})
    return ",".join(map(str, sizes)) if usual >= 1 else ""


def _up_to(high: float) -> Callable[[float], str]:
    """From 0 to ``high``, or to twice the usual value where that is above it."""
    return lambda usual: f"0..{high if usual <= high else 2 * usual:g}"


_WEIGHTINGS = "none,binary,log,tfidf,bm25"
_USUAL: Mapping[str, Callable[[Any], str]] = {
    "l1": _around(100),
    "l2": _around(100),
    "offset_l2": _around(30),
    "unobserved": _around(30),
    "learning_rate": _around(10),
    "damping": _around(10),
    "user_damping": _around(10),
    "item_damping": _around(10),
    "shrinkage": lambda usual: f"0..{10 * usual:g}" if usual else "0..100",
    "width": _sizes,
    "factors": _sizes,
    "k": _counts,
    "neighbours": _counts,
    "dropout": _up_to(0.6),
    "growth": _up_to(1),
    "scaling": _up_to(1),
    "alpha": _up_to(1),
    "beta": _up_to(1),
    "ideal": _up_to(1),
    "power": _around(3),
    "flatness": _around(4),
    "weighting": lambda _: _WEIGHTINGS,
    "similarity": lambda _: "cosine,pearson,jaccard",
}


def usual_settings(estimator: Estimator) -> dict[str, Any]:
    """The settings of a model as its class gives them, by name; empty where it gives none."""
    try:
        usual: Any = type(estimator)()
    except TypeError:
        return {}
    return {field.name: getattr(usual, field.name) for field in dataclasses.fields(usual) if field.init}


def space_of(estimator: Estimator, given: Mapping[str, str | Range] | None = None) -> dict[str, Range]:
    """What to search for an estimator: the ranges that are given, then usual ones for its other settings.

    A setting whose value is not the usual one stays as it is, unless a range is given for it. A value that the model refuses is
    no choice. A range of a single value holds the setting at it.

    Raises:
        SettingError: no such setting, a range that cannot be read, values that the model refuses, or nothing to search.
    """
    own: Mapping[str, str] = getattr(type(estimator), "SPACE", {})
    values = {f.name: getattr(estimator, f.name) for f in dataclasses.fields(estimator) if f.init}  # type: ignore[arg-type]
    usual, given = usual_settings(estimator), given or {}
    _check_names(type(estimator).__name__, values, given, "--space")
    _check_names(type(estimator).__name__, values, own, "SPACE")
    space: dict[str, Range] = {}
    for name, value in values.items():
        if name in given:
            asked = given[name]
            space[name] = read_range(type(estimator), name, asked) if isinstance(asked, str) else asked
        elif value == usual.get(name):
            text = own[name] if name in own else _USUAL.get(name, lambda _: "")(value)
            found = _accepted(estimator, name, read_range(type(estimator), name, text)) if text else None
            if found is not None:
                space[name] = found
    _check_ends(estimator, {name: space[name] for name in given}, space)
    if not searched(space):
        raise SettingError(
            f"{type(estimator).__name__} has nothing to search. Name a range, such as --space NAME=1..100:log or "
            f"--space NAME=a,b. It has: {', '.join(values) or 'no settings'}."
        )
    return space


def searched(space: Space) -> list[str]:
    """The settings of which more than one value is tried."""
    return [name for name, each in space.items() if isinstance(each, Numbers) or len(each.values) > 1]


def held(space: Space) -> dict[str, Any]:
    """The values of the settings of which only one is tried."""
    return {name: each.values[0] for name, each in space.items() if isinstance(each, Choices) and len(each.values) == 1}


def read_space(texts: Iterable[str]) -> dict[str, str]:
    """``["l2=1..100:log", "width=16,32"]`` by name. Raises SettingError for a text without '='."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise SettingError(
                f"--space must have the form NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=A,B. Got {text!r}."
            )
        found[name.strip()] = value.strip()
    return found


def read_range(kind: type, name: str, text: str) -> Range:
    """The range of one setting. Raises SettingError where it cannot be read or does not suit the setting."""
    what = f"--space {name}={text}"
    body, colon, scale = text.partition(":")
    low_text, dots, high_text = body.partition("..")
    if not dots:
        values = tuple(_value(kind, name, part, what) for part in split_list(text))
        if not values:
            raise SettingError(f"{what}: there must be at least one value.")
        return Choices(tuple(dict.fromkeys(values)))
    if colon and scale != "log":
        raise SettingError(f"{what}: after the colon there may only be 'log'. Got {scale!r}.")
    low, high = (_number(kind, name, part, what) for part in (low_text, high_text))
    if not low < high:
        raise SettingError(f"{what}: the lower end must be below the higher. Write LOW..HIGH.")
    if scale and low <= 0:
        raise SettingError(f"{what}: a log scale must start above 0. Got {low:g}.")
    return Numbers(low, high, bool(scale), isinstance(low, int) and isinstance(high, int) and _is_whole(kind, name))


def _value(kind: type, name: str, text: str, what: str) -> Any:
    try:
        value = parse_setting(kind, name, text)
    except SettingError as error:
        raise SettingError(f"{what}: {error}") from None
    return float(value) if typing.get_type_hints(kind)[name] is float else value


def _number(kind: type, name: str, text: str, what: str) -> int | float:
    hint = typing.get_type_hints(kind)[name]
    if hint not in {int, float}:
        raise SettingError(f"{what}: {name} is no number, so it has no range. Write its values: NAME=A,B.")
    try:
        value = int(text) if hint is int else float(text)
    except ValueError:
        raise SettingError(
            f"{what}: the ends must be {'whole numbers' if hint is int else 'numbers'}. Got {text!r}."
        ) from None
    if not math.isfinite(value):
        raise SettingError(f"{what}: the ends must be finite. Got {text!r}.")
    return value


def _is_whole(kind: type, name: str) -> bool:
    return typing.get_type_hints(kind)[name] is int


def _check_names(model: str, known: Mapping[str, Any], names: Iterable[str], flag: str) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise SettingError(f"{flag}: {model} has no setting {name!r}.{hint} It has: {', '.join(known)}.")


def _accepted(estimator: Any, name: str, found: Range) -> Range | None:
    """Only the choices that the model takes beside its other settings; None where less than two are left."""
    if isinstance(found, Numbers):
        return found
    taken = tuple(value for value in found.values if _refusal(estimator, {name: value}) is None)
    return Choices(taken) if len(taken) > 1 else None


def _check_ends(estimator: Any, given: Space, space: Space) -> None:
    """Refuse an end that the model takes neither beside its other settings nor beside any other ends."""
    ends = {name: (each.low, each.high) if isinstance(each, Numbers) else each.values for name, each in space.items()}
    lowest = {name: values[0] for name, values in ends.items()}
    highest = {name: values[-1] for name, values in ends.items()}
    for name in given:
        for end in ends[name]:
            refusals = [_refusal(estimator, others | {name: end}) for others in ({}, lowest, highest)]
            if all(refusals):
                raise SettingError(f"--space {name}={given[name]}: {refusals[0]}")


def _refusal(estimator: Any, changes: Mapping[str, Any]) -> str | None:
    try:
        dataclasses.replace(estimator, **changes)
    except SettingError as error:
        return str(error)
    return None
