"""Configuration files: the flags of a command as keys of a TOML file."""

import difflib
import json
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

from leanrec.errors import SettingError

__all__ = ["format_config", "read_config", "read_toml"]

# What a command does instead of its work, and the file itself.
_NO_KEYS = frozenset(["config", "print_config", "help"])
_EXPECTED: Mapping[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
}
_TEXT = ((str,), "text in quotation marks")


def read_toml(path: Path, example: str) -> dict[str, Any]:
    """The tables and keys of a TOML file. Raises SettingError, with an example of them, if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path} must be TOML with {example}. It is not: {error}.") from error
    except (OSError, UnicodeError) as error:
        raise SettingError(f"{path} must be a text file that can be read. It is not: {error}.") from error


def read_config(context: typer.Context, path: Path, function: Callable[..., Any]) -> dict[str, Any]:
    """Values of the parameters of a command by name, from a TOML file whose keys are its flags without the dashes in front.

    Args:
        context: the context of the command.
        path: the file; ``max-connections`` and ``max_connections`` are the same key, and a repeatable flag takes an array.
        function: the function of the command, whose annotations give the types.

    Raises SettingError if the file cannot be read, for an unknown key, and for a value of another type than that of the flag.
    """
    found = read_toml(path, "keys such as port = 8000")
    keys, hints = _list_keys(context), typing.get_type_hints(function)
    values: dict[str, Any] = {}
    for given, value in found.items():
        key = given.replace("_", "-")
        if key not in keys:
            close = difflib.get_close_matches(key, keys, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"The keys are {', '.join(sorted(keys))}."
            raise SettingError(f"A key in {path} must be a flag without its dashes. Got {given}. {hint}")
        if keys[key] in values:
            raise SettingError(f"A key in {path} must be given once. Got {key} in two notations.")
        values[keys[key]] = _check_value(f"{given} in {path}", value, hints[keys[key]])
    return values


def format_config(context: typer.Context) -> str:
    """The parameters of a command and their values as TOML that `read_config` reads; one without a value is a comment."""
    lines = []
    for key, name in _list_keys(context).items():
        value = context.params.get(name)
        value = str(value) if isinstance(value, Path) else value
        is_unset = value is None or (not value and isinstance(value, list | tuple))
        lines.append(f"# {key} =" if is_unset else f"{key} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines)


def _list_keys(context: typer.Context) -> dict[str, str]:
    """Names of the parameters by the key that sets them: the long flag, or the name of an argument."""
    keys = {}
    for parameter in context.command.params:
        name = str(parameter.name)
        flags = [flag.removeprefix("--") for flag in parameter.opts if flag.startswith("--")]
        if name not in _NO_KEYS:
            keys[flags[0] if flags else name] = name
    return keys


def _check_value(where: str, value: object, hint: Any) -> Any:
    """The value, if it has the type of the annotation ``hint``, of which None is no part."""
    if isinstance(hint, types.UnionType):
        hint = next(each for each in typing.get_args(hint) if each is not types.NoneType)
    if typing.get_origin(hint) is list:
        if not isinstance(value, list):
            raise SettingError(f'{where} must be an array, such as ["a", "b"]. Got {value!r}.')
        return [_check_value(f"A value of {where}", each, typing.get_args(hint)[0]) for each in value]
    expected, name = _EXPECTED.get(hint, _TEXT)
    if not isinstance(value, expected) or (isinstance(value, bool) and hint is not bool):
        raise SettingError(f"{where} must be {name}. Got {value!r}.")
    return value
