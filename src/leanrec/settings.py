"""Checks of settings, and settings from text.

A setting is a field of a frozen dataclass. The dataclass calls these checks in ``__post_init__``, so a
wrong value is refused where it is written, not an hour later in the fit.
"""

import dataclasses
import difflib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping

from leanrec.errors import SettingError

__all__ = ["build", "check_at_least", "check_between", "check_one_of", "check_positive", "split_list", "value_of"]

_S = typing.TypeVar("_S")


def check_positive(name: str, value: float) -> None:
    """Raise SettingError unless ``value`` is a finite number above zero."""
    if not _is_number(value) or value <= 0:
        raise SettingError(f"{name} must be a positive number. Got {value!r}.")


def check_at_least(name: str, value: float, low: float) -> None:
    """Raise SettingError unless ``value`` is a finite number of at least ``low``."""
    if not _is_number(value) or value < low:
        raise SettingError(f"{name} must be a number of at least {low}. Got {value!r}.")


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Raise SettingError unless ``low <= value <= high``."""
    if not _is_number(value) or not low <= value <= high:
        raise SettingError(f"{name} must be a number from {low} to {high}. Got {value!r}.")


def check_one_of(name: str, value: object, allowed: Iterable[object]) -> None:
    """Raise SettingError unless ``value`` is one of ``allowed``."""
    choices = list(allowed)
    if value not in choices:
        raise SettingError(f"{name} must be one of {', '.join(map(str, choices))}. Got {value!r}.")


def build(kind: type[_S], texts: Mapping[str, str]) -> _S:
    """Build the settings dataclass ``kind`` from ``{"name": "text"}``, as a command line gives them.

    A text is read as JSON where that gives the type of the field, and as the string itself otherwise, so
    ``l2=500``, ``sizes=[64,32]``, ``parts=[ease,content]`` and ``metric=cosine`` all work. An unknown name
    raises SettingError and names the closest setting there is.
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    values = {}
    for name, text in texts.items():
        if name not in fields:
            raise SettingError(_unknown(kind.__name__, name, fields))
        values[name] = _parse(name, text, hints[name])
    return kind(**values)


def value_of(kind: type, name: str, text: str) -> typing.Any:
    """The value of one setting of the dataclass ``kind`` from text, read as ``build`` reads it, but not checked further."""
    return _parse(name, text, typing.get_type_hints(kind)[name])


def split_list(text: str) -> tuple[str, ...]:
    """The parts of ``"a, b(x=1, y=[2, 3])"``, cut at the commas outside brackets; without empty ones."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return tuple(part.strip() for part in parts if part.strip())


def _unknown(kind: str, name: str, fields: Iterable[str]) -> str:
    known = sorted(fields)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{kind} has no setting {name!r}.{hint} It has: {', '.join(known) or 'none'}."


def _parse(name: str, text: str, hint: object) -> object:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = {"True": True, "False": False, "None": None}.get(text, text)
    if isinstance(value, list):
        value = tuple(value)
    if value == text and text.startswith("[") and text.endswith("]"):
        value = split_list(text[1:-1])
    for candidate in (value, text):
        if _fits(candidate, hint):
            return candidate
    raise SettingError(f"{name} must be {getattr(hint, '__name__', hint)}. Got {text!r}.")


def _fits(value: object, hint: object) -> bool:
    origin = typing.get_origin(hint)
    if hint is typing.Any:
        return True
    if origin in {types.UnionType, typing.Union}:
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if hint is None or hint is types.NoneType:
        return value is None
    if origin is tuple:
        part = typing.get_args(hint)[0]
        return isinstance(value, tuple) and all(_fits(each, part) for each in value)
    if hint is float:
        return _is_number(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(hint, type) and isinstance(value, hint)


def _is_number(value: object) -> typing.TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
