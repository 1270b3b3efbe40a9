"""Declared fields: types, shapes and ranges that a dataclass states in its annotations and that are checked on disk.

A class of arrays says what must hold for them where it declares them::

    @dataclasses.dataclass(frozen=True, eq=False)
    class PairModel:
        users: Annotated[Float32Array, ArrayShape("U", "D")]
        items: Annotated[Float32Array, ArrayShape("N", "D + 1")]
        pairs: Annotated[Int32Array, ArrayShape("P"), CodeRange("N")]
        graph: Annotated[ItemGraph | None, SharedSizes(N="N")]

A letter is one size throughout an object. A method ``check_state`` checks what no annotation can express, and raises
DataError. `check_fields` runs both; saving and loading call it for every object inside an artifact.
"""

import dataclasses
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.errors import DataError

__all__ = [
    "ArrayShape",
    "CodeRange",
    "SharedSizes",
    "check_array_shapes",
    "check_bounds",
    "check_codes",
    "check_fields",
    "find_sizes",
    "fits_type",
    "is_number",
]

_SIZE = re.compile(r"(\d*)\s*([A-Za-z]\w*)(?:\s*\+\s*(\d+))?")


class ArrayShape:
    """The shape of an array or matrix, or the length of a tuple: ``ArrayShape("N", "D + 1")``, ``ArrayShape("2 N", "3")``."""

    def __init__(self, *sizes: str) -> None:
        self.sizes = sizes


@dataclasses.dataclass(frozen=True)
class CodeRange:
    """The values of an array are whole numbers from ``lowest`` to below the size with this name.

    Attributes:
        size: name of the size.
        lowest: the lowest value; −1 where it stands for nothing.
    """

    size: str
    lowest: int = 0


class SharedSizes:
    """Sizes of an inner object, or of each of a tuple of them: ``SharedSizes(N="M")``, its ``M`` is the owner's ``N``."""

    def __init__(self, **inner: str) -> None:
        self.inner = inner


def is_number(value: object) -> TypeGuard[float]:
    """Whether the value is a finite number; True and False are not numbers here."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def fits_type(value: object, hint: Any) -> bool:
    """Whether a value is of the type that an annotation states. Of arrays the kind of number must fit, not its width."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return fits_type(value, parts[0])
    if origin in {types.UnionType, typing.Union}:
        return any(fits_type(value, part) for part in parts)
    if origin is not None:
        return _fits_generic(value, origin, parts)
    if hint is float:
        return is_number(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is None:
        return value is None
    # isinstance raises TypeError for a protocol that is not runtime_checkable.
    is_unchecked = getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False)
    return hint is Any or is_unchecked or not isinstance(hint, type) or isinstance(value, hint)


def _fits_generic(value: object, origin: Any, parts: tuple[Any, ...]) -> bool:
    """Whether a value fits ``origin[parts]``, such as ``tuple[int, ...]``."""
    if origin is typing.Literal:
        return value in parts
    if origin is np.ndarray:
        (number,) = typing.get_args(parts[1])
        return isinstance(value, np.ndarray) and (number is Any or np.dtype(number).kind == value.dtype.kind)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        hints = parts[:1] * len(value) if parts[1:] == (Ellipsis,) else parts
        return len(value) == len(hints) and all(map(fits_type, value, hints))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(fits_type(each, parts[1]) for each in value.values())
    return not isinstance(origin, type) or isinstance(value, origin)


def check_fields(value: Any) -> None:
    """Raise DataError unless a dataclass is as its annotations and its ``check_state`` say. Settings check themselves.

    Reads the arrays of codes once; of all other arrays only the shape.
    """
    for field in dataclasses.fields(value):
        # Settings have limits of their own, in the metadata of the field.
        is_checked = field.init and not field.metadata and not isinstance(field.type, str)
        part = getattr(value, field.name)
        if is_checked and not fits_type(part, field.type):
            found = f"an array of {part.dtype}" if isinstance(part, np.ndarray) else f"{part!r:.60}"
            raise DataError(
                f"{type(value).__name__}.{field.name} must be of the type {_name_type(field.type)}. Got {found}."
            )
    sizes = find_sizes(value)
    for name, part, rule in _find_rules(value):
        if isinstance(rule, CodeRange):
            check_codes(f"{type(value).__name__}.{name}", part, sizes[rule.size], rule.lowest)
    if (check_state := getattr(value, "check_state", None)) is not None:
        check_state()


def _name_type(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _find_rules(value: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, value and rule of each rule of the fields, without fields that are None."""
    for field in dataclasses.fields(value):
        part = getattr(value, field.name)
        if part is not None:
            for rule in getattr(field.type, "__metadata__", ()):
                yield field.name, part, rule


def find_sizes(value: Any) -> dict[str, int]:
    """The size of each letter in the declared shapes of a dataclass. Raises DataError where a letter has two."""
    sizes: dict[str, int] = {}
    for name, part, rule in _find_rules(value):
        what = f"{type(value).__name__}.{name}"
        if isinstance(rule, ArrayShape):
            _bind_shape(what, part, rule.sizes, sizes)
        elif isinstance(rule, SharedSizes):
            for each in part if isinstance(part, tuple) else (part,):
                inner = find_sizes(each)
                for letter, theirs in rule.inner.items():
                    if sizes.setdefault(letter, inner[theirs]) != inner[theirs]:
                        raise DataError(
                            f"{what} must have {letter} = {sizes[letter]} as its size {theirs}. Got {inner[theirs]}."
                        )
    return sizes


def _bind_shape(what: str, part: Any, declared: tuple[str, ...], sizes: dict[str, int]) -> None:
    shape = tuple(part.shape) if isinstance(part, np.ndarray | sp.csr_array) else (len(part),)
    if len(shape) != len(declared):
        raise DataError(f"{what} must have the shape ({', '.join(declared)}). Got {shape}.")
    for text, length in zip(declared, shape, strict=True):
        match = _SIZE.fullmatch(text)
        if match is None:
            wanted = int(text)
        else:
            factor, added = int(match[1] or 1), int(match[3] or 0)
            wanted = factor * sizes.setdefault(match[2], max(0, length - added) // factor) + added
        if length != wanted:
            known = ", ".join(f"{letter} = {size}" for letter, size in sizes.items())
            raise DataError(f"{what} must have the shape ({', '.join(declared)}) with {known}. Got {shape}.")


def check_codes(what: str, codes: NDArray[Any], size: int, lowest: int = 0) -> None:
    """Raise DataError unless an array holds whole numbers from ``lowest`` to ``size − 1``. O(n)."""
    if codes.dtype.kind not in "iu":
        raise DataError(f"{what} must hold whole numbers. Got {codes.dtype}.")
    if codes.size and not (codes.min() >= lowest and codes.max() < size):
        raise DataError(f"{what} must hold codes from {lowest} to {size - 1}. Got {codes.min()} to {codes.max()}.")


def check_bounds(what: str, bounds: NDArray[Any], n_entries: int) -> None:
    """Raise DataError unless an array (n + 1,) rises from 0 to ``n_entries``, as the bounds of n lists do. O(n)."""
    if bounds.dtype.kind != "i" or not (
        len(bounds) and bounds[0] == 0 and bounds[-1] == n_entries and (bounds[1:] >= bounds[:-1]).all()
    ):
        raise DataError(f"{what} must rise from 0 to {n_entries}, the number of entries.")


def check_array_shapes(what: str, arrays: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise DataError unless there is an array or matrix of each name and shape. Other arrays are ignored."""
    for name, shape in shapes.items():
        found = tuple(arrays[name].shape) if name in arrays else "none"
        if found != shape:
            raise DataError(f"{what} must have the array {name!r} of the shape {shape}. Got {found}.")
