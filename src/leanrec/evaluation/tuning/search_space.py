"""Search space of hyper-parameter tuning: one range for each tuned setting.

A range is written as on the command line: ``"1..10000:log"`` is an interval, on a log scale with ``:log``;
``"16,32,64"`` is a list of values. A model declares the default range of a setting where it declares the setting:
``l2: float = setting(100.0, above=0, search="1..1e4:log")``.
"""

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from leanrec.errors import SettingError
from leanrec.protocols import Estimator
from leanrec.settings import parse_setting, setting_metadata, split_list

__all__ = [
    "Categorical",
    "NumericRange",
    "SearchRange",
    "SearchSpace",
    "build_search_space",
    "default_settings",
    "fixed_settings",
    "parse_range",
    "parse_space",
    "tunable_settings",
]

_DIGITS = 3


@dataclasses.dataclass(frozen=True)
class NumericRange:
    """An interval of numbers.

    Attributes:
        low: lower end, included.
        high: upper end, included.
        log: whether it is sampled on a log scale.
        is_integer: whether it contains whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    is_integer: bool = False

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}{':log' if self.log else ''}"

    def contains(self, value: Any) -> bool:
        """Whether the value is in the range."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high and (not self.is_integer or value == int(value))

    def round_value(self, value: float) -> float:
        """The value rounded to three significant digits, within the range."""
        if self.is_integer:
            return int(value)
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)


@dataclasses.dataclass(frozen=True)
class Categorical:
    """A list of values without order."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return ",".join(map(str, self.values))

    def contains(self, value: Any) -> bool:
        """Whether the value is in the list."""
        return value in self.values


SearchRange: typing.TypeAlias = NumericRange | Categorical
SearchSpace: typing.TypeAlias = Mapping[str, SearchRange]


def default_settings(estimator: Estimator) -> dict[str, Any]:
    """The default settings of a model by name; empty where the class has required settings."""
    try:
        default: Any = type(estimator)()
    except TypeError:
        return {}
    return {field.name: getattr(default, field.name) for field in dataclasses.fields(default) if field.init}


def build_search_space(
    estimator: Estimator, given: Mapping[str, str | SearchRange] | None = None
) -> dict[str, SearchRange]:
    """The search space of an estimator: the given ranges, and the declared ranges of its other settings.

    A setting whose value differs from the default is fixed, unless a range is given for it. Values of a list that the model
    rejects are removed. A range of a single value fixes the setting.

    Raises:
        SettingError: an unknown setting, a range that cannot be parsed, values that the model rejects, or an empty space.
    """
    kind, given = type(estimator), given or {}
    values = {f.name: getattr(estimator, f.name) for f in dataclasses.fields(estimator) if f.init}  # type: ignore[arg-type]
    for name in given:
        if name not in values:
            close = difflib.get_close_matches(name, values, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise SettingError(f"space: {kind.__name__} has no setting {name!r}.{hint} It has: {', '.join(values)}.")
    defaults, declared = default_settings(estimator), setting_metadata(kind)
    space: dict[str, SearchRange] = {}
    for name, value in values.items():
        if name in given:
            wanted = given[name]
            space[name] = parse_range(kind, name, wanted) if isinstance(wanted, str) else wanted
        elif declared[name].search and value == defaults.get(name):
            found = parse_range(kind, name, declared[name].search)
            if isinstance(found, Categorical):
                found = Categorical(tuple(each for each in found.values if not _find_error(estimator, {name: each})))
            if isinstance(found, NumericRange) or len(found.values) > 1:
                space[name] = found
    _check_ends(estimator, {name: space[name] for name in given}, space)
    if not tunable_settings(space):
        raise SettingError(
            f"{kind.__name__} has no setting to tune. Give a range, such as {_example('1..100:log')} or "
            f"{_example('16,32')}. It has: {', '.join(values) or 'no settings'}."
        )
    return space


def tunable_settings(space: SearchSpace) -> list[str]:
    """Names of the settings with more than one value."""
    return [name for name, each in space.items() if isinstance(each, NumericRange) or len(each.values) > 1]


def fixed_settings(space: SearchSpace) -> dict[str, Any]:
    """Values of the settings with a single value."""
    return {
        name: each.values[0] for name, each in space.items() if isinstance(each, Categorical) and len(each.values) == 1
    }


def parse_space(texts: Iterable[str]) -> dict[str, str]:
    """Ranges by name from ``["l2=1..100:log", "embedding_dim=16,32"]``. Raises SettingError for text without '='."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise SettingError(
                f"space: a range must have the form NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=A,B. Got {text!r}."
            )
        found[name.strip()] = value.strip()
    return found


def parse_range(kind: type, name: str, text: str) -> SearchRange:
    """The range of one setting. Raises SettingError if it cannot be parsed or does not fit the type of the setting."""
    what = f"space={{{name!r}: {text!r}}}"
    body, colon, scale = text.partition(":")
    low_text, dots, high_text = body.partition("..")
    hint = typing.get_type_hints(kind)[name]
    if not dots:
        try:
            values = [parse_setting(kind, name, part) for part in split_list(text)]
        except SettingError as error:
            raise SettingError(f"{what}: {error}") from None
        if not values:
            raise SettingError(f"{what}: there must be at least one value.")
        return Categorical(tuple(dict.fromkeys(float(value) if hint is float else value for value in values)))
    if colon and scale != "log":
        raise SettingError(f"{what}: only 'log' may follow the colon. Got {scale!r}.")
    if hint not in {int, float}:
        raise SettingError(f"{what}: {name} is not a number, so it has no interval. List its values: A,B.")
    low, high = (_parse_end(hint, part, what) for part in (low_text, high_text))
    if not low < high:
        raise SettingError(f"{what}: the lower end must be below the upper end.")
    if scale and low <= 0:
        raise SettingError(f"{what}: a log scale must start above 0. Got {low:g}.")
    return NumericRange(low, high, bool(scale), hint is int)


def _parse_end(hint: type, text: str, what: str) -> int | float:
    try:
        value = int(text) if hint is int else float(text)
    except ValueError:
        raise SettingError(
            f"{what}: the ends must be {'whole numbers' if hint is int else 'numbers'}. Got {text!r}."
        ) from None
    if not math.isfinite(value):
        raise SettingError(f"{what}: the ends must be finite. Got {text!r}.")
    return value


def _example(text: str) -> str:
    return f"space={{'NAME': {text!r}}}"


def _check_ends(estimator: Any, given: SearchSpace, space: SearchSpace) -> None:
    """Raise SettingError for an end that the model rejects with its other settings and with the ends of other ranges."""
    ends = {
        name: (each.low, each.high) if isinstance(each, NumericRange) else each.values for name, each in space.items()
    }
    lowest = {name: values[0] for name, values in ends.items()}
    highest = {name: values[-1] for name, values in ends.items()}
    for name in given:
        for end in ends[name]:
            errors = [_find_error(estimator, others | {name: end}) for others in ({}, lowest, highest)]
            if all(errors):
                raise SettingError(f"space={{{name!r}: {str(given[name])!r}}}: {errors[0]}")


def _find_error(estimator: Any, changes: Mapping[str, Any]) -> str | None:
    """The message of the SettingError that the changes raise, or None."""
    try:
        dataclasses.replace(estimator, **changes)
    except SettingError as error:
        return str(error)
    return None
