"""Declaration and checks of hyper-parameters, and settings from text.

A hyper-parameter is a field of a frozen dataclass and is written once, with `setting`::

    @dataclasses.dataclass(frozen=True)
    class EASE:
        l2: float = setting(100.0, above=0, search="1..1e4:log", doc="Ridge strength; more for sparser data.")

        def __post_init__(self) -> None:
            check_settings(self)

The declaration gives the check, the range that tuning searches, the table in the documentation and the help of the
command line. `check_settings` refuses a wrong value where it is written, not an hour later in the fit.
"""

import dataclasses
import difflib
import functools
import json
import types
import typing
from collections.abc import Iterable, Mapping

from leanrec.errors import SettingError
from leanrec.field_checks import fits_type, is_number

__all__ = [
    "SettingDescription",
    "SettingMetadata",
    "check_at_least",
    "check_between",
    "check_one_of",
    "check_positive",
    "check_settings",
    "describe_settings",
    "parse_setting",
    "parse_settings",
    "setting",
    "setting_metadata",
    "split_list",
]

_S = typing.TypeVar("_S")
_T = typing.TypeVar("_T")
_KEY = "leanrec.setting"


@dataclasses.dataclass(frozen=True)
class SettingMetadata:
    """What the declaration of one hyper-parameter holds beside its default.

    Numeric limits apply to every number of a tuple. None passes every check where the type of the field admits it.

    Attributes:
        above: the value must be greater than this.
        at_least: the value must be this or greater.
        between: the value must be from the first number to the second, both included.
        one_of: the allowed values.
        search: range that tuning searches by default, in the notation of ``leanrec tune --space``: "1..1e4:log",
            "0..0.5", "16,32,64"; "" = the default is kept.
        doc: what the setting does, in a sentence.
    """

    above: float | None = None
    at_least: float | None = None
    between: tuple[float, float] | None = None
    one_of: tuple[object, ...] | None = None
    search: str = ""
    doc: str = ""

    def check(self, name: str, value: typing.Any) -> None:
        """Raise SettingError unless the value is allowed."""
        if self.one_of is not None:
            check_one_of(name, value, self.one_of)
        for each in value if isinstance(value, tuple) else (value,):
            if self.above is not None:
                _check_above(name, each, self.above)
            if self.at_least is not None:
                check_at_least(name, each, self.at_least)
            if self.between is not None:
                check_between(name, each, *self.between)

    @property
    def allowed(self) -> str:
        """The allowed values, in words; empty where there is no limit."""
        limits = []
        if self.one_of is not None:
            limits.append(", ".join(map(str, self.one_of)))
        if self.above is not None:
            limits.append(f"> {self.above:g}")
        if self.at_least is not None:
            limits.append(f"≥ {self.at_least:g}")
        if self.between is not None:
            limits.append(f"{self.between[0]:g} to {self.between[1]:g}")
        return "; ".join(limits)


@dataclasses.dataclass(frozen=True)
class SettingDescription:
    """One hyper-parameter as documentation shows it.

    Attributes:
        name: of the field.
        type: "float", "int", "str", "tuple[int, ...]" …
        default: the value where none is given; `dataclasses.MISSING` where one must be given.
        allowed: the allowed values, in words; empty where there is no limit.
        search: range that tuning searches by default; "" = none.
        doc: what the setting does.
    """

    name: str
    type: str
    default: typing.Any
    allowed: str
    search: str
    doc: str


def setting(
    default: _T,
    *,
    above: float | None = None,
    at_least: float | None = None,
    between: tuple[float, float] | None = None,
    one_of: Iterable[object] | None = None,
    search: str | None = None,
    doc: str | None = None,
) -> _T:
    """Declare a hyper-parameter: a dataclass field with its limits, its search range and its documentation.

    A subclass that declares a field again inherits what it leaves out, so ``epochs: int = setting(30)`` and
    ``epochs: int = 30`` only change the default.

    Args:
        default: the value where none is given.
        above: see `SettingMetadata`.
        at_least: see `SettingMetadata`.
        between: see `SettingMetadata`.
        one_of: see `SettingMetadata`.
        search: see `SettingMetadata`.
        doc: see `SettingMetadata`.
    """
    given = {
        "above": above,
        "at_least": at_least,
        "between": between,
        "one_of": None if one_of is None else tuple(one_of),
        "search": search,
        "doc": doc,
    }
    metadata = {_KEY: {name: value for name, value in given.items() if value is not None}}
    return dataclasses.field(default=default, metadata=metadata)


@functools.cache
def setting_metadata(kind: type) -> Mapping[str, SettingMetadata]:
    """The metadata of every field of a settings dataclass by name, in the order of the fields."""
    found: dict[str, dict[str, typing.Any]] = {field.name: {} for field in _init_fields(kind)}
    for base in reversed(kind.__mro__):
        for name, field in vars(base).get("__dataclass_fields__", {}).items():
            if name in found:
                found[name].update(field.metadata.get(_KEY, {}))
    return types.MappingProxyType({name: SettingMetadata(**given) for name, given in found.items()})


def check_settings(settings: object) -> None:
    """Check every field of a settings dataclass against its declaration. Raises SettingError.

    A settings class calls it first in ``__post_init__``; rules that tie several settings follow.
    """
    kind: typing.Any = type(settings)
    for name, metadata in setting_metadata(kind).items():
        value = getattr(settings, name)
        if value is not None or name not in _optional_fields(kind):
            metadata.check(name, value)


def describe_settings(kind: type) -> tuple[SettingDescription, ...]:
    """Every hyper-parameter of a settings dataclass, for documentation and the command line."""
    metadata = setting_metadata(kind)
    try:
        defaults = kind()
    except TypeError:
        defaults = None
    return tuple(
        SettingDescription(
            name=field.name,
            type=field.type.__name__ if isinstance(field.type, type) else str(field.type),
            # Settings may normalize what they are given, so the default is that of a built instance.
            default=field.default if defaults is None else getattr(defaults, field.name),
            allowed=metadata[field.name].allowed,
            search=metadata[field.name].search,
            doc=metadata[field.name].doc,
        )
        for field in _init_fields(kind)
    )


def check_positive(name: str, value: float) -> None:
    """Raise SettingError unless ``value`` is a finite number above zero."""
    _check_above(name, value, 0)


def check_at_least(name: str, value: float, low: float) -> None:
    """Raise SettingError unless ``value`` is a finite number of at least ``low``."""
    if not is_number(value) or value < low:
        raise SettingError(f"{name} must be a number of at least {low}. Got {value!r}.")


def check_between(name: str, value: float, low: float, high: float) -> None:
    """Raise SettingError unless ``low <= value <= high``."""
    if not is_number(value) or not low <= value <= high:
        raise SettingError(f"{name} must be a number from {low} to {high}. Got {value!r}.")


def check_one_of(name: str, value: object, allowed: Iterable[object]) -> None:
    """Raise SettingError unless ``value`` is one of ``allowed``."""
    choices = list(allowed)
    if value not in choices:
        raise SettingError(f"{name} must be one of {', '.join(map(str, choices))}. Got {value!r}.")


def parse_settings(kind: type[_S], texts: Mapping[str, str]) -> _S:
    """Build the settings dataclass ``kind`` from ``{"name": "text"}``, as a command line gives them.

    A text is read as JSON where that gives the type of the field, and as the string itself otherwise, so
    ``l2=500``, ``hidden=[64,32]``, ``parts=[ease,content]`` and ``metric=cosine`` all work. An unknown name
    raises SettingError and names the closest setting.
    """
    hints = typing.get_type_hints(kind)
    fields = {field.name for field in _init_fields(kind)}
    values = {}
    for name, text in texts.items():
        if name not in fields:
            close = difflib.get_close_matches(name, sorted(fields), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise SettingError(
                f"{kind.__name__} has no setting {name!r}.{hint} It has: {', '.join(sorted(fields)) or 'none'}."
            )
        values[name] = _parse(name, text, hints[name])
    return kind(**values)


def parse_setting(kind: type, name: str, text: str) -> typing.Any:
    """The value of one setting of the dataclass ``kind`` from text, as in `parse_settings`; its limits are not checked."""
    return _parse(name, text, typing.get_type_hints(kind)[name])


def split_list(text: str) -> tuple[str, ...]:
    """Split ``"a, b(x=1, y=[2, 3])"`` at the commas outside brackets; empty parts are left out."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return tuple(part.strip() for part in parts if part.strip())


def _init_fields(kind: typing.Any) -> list[dataclasses.Field[typing.Any]]:
    return [field for field in dataclasses.fields(kind) if field.init]


@functools.cache
def _optional_fields(kind: type) -> frozenset[str]:
    """Names of the fields whose type admits None."""
    hints = typing.get_type_hints(kind)
    return frozenset(name for name in setting_metadata(kind) if fits_type(None, hints[name]))


def _check_above(name: str, value: float, low: float) -> None:
    if not is_number(value) or value <= low:
        what = "a positive number" if low == 0 else f"a number above {low}"
        raise SettingError(f"{name} must be {what}. Got {value!r}.")


def _parse(name: str, text: str, hint: object) -> object:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = {"True": True, "False": False, "None": None}.get(text, text)
    if isinstance(value, list):
        value = tuple(value)
    if value == text and text.startswith("[") and text.endswith("]"):
        value = split_list(text[1:-1])
    # A single value stands for a tuple of one: columns=description.
    for candidate in (value, text, (value,), (text,)):
        if fits_type(candidate, hint):
            return candidate
    raise SettingError(f"{name} must be {getattr(hint, '__name__', hint)}. Got {text!r}.")
