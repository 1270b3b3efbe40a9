"""Methods of compression: what may be done to a fitted model of each kind within a number of bytes."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.protocols import Scorer
from leanrec.run import Run

__all__ = ["CompressionMethod", "count_mapped", "count_parts"]


@runtime_checkable
class CompressionMethod(Protocol):
    """A way to make a fitted model smaller: a frozen dataclass of settings, whose text names it."""

    def estimate_bytes(self, model: Scorer) -> float:
        """Bytes of the arrays of the compressed model, before it is made. An upper bound."""
        ...

    def refine(self, model: Scorer) -> "tuple[CompressionMethod, ...]":
        """Slower methods of the same size that may keep more, which are tried where this one is among the best; mostly ()."""
        ...

    def compress(self, model: Scorer, data: Dataset, run: Run = ...) -> Scorer:
        """The smaller model, with the powers of ``model``. The same for the same seed.

        Args:
            model: the fitted model. It does not change.
            data: what it was fitted on.
            run: seed and threads.
        """
        ...


def count_parts(model: Any) -> dict[str, int]:
    """Bytes of the arrays of a model by the name of their part, largest first: what its artifact holds, without headers.

    Caches are not counted, nor is what stays in a file, see ``count_mapped``. Arrays of the same name in different parts are counted
    together.
    """
    parts: dict[str, int] = {}
    for name, array in _list_arrays(model, "", mapped=False):
        parts[name] = parts.get(name, 0) + array.nbytes
    return dict(sorted(parts.items(), key=lambda part: -part[1]))


def count_mapped(model: Any) -> int:
    """Bytes of the arrays of a model that stay in files of its artifact, of which a list reads a few rows."""
    return sum(array.nbytes for _, array in _list_arrays(model, "", mapped=True))


def _list_arrays(value: Any, name: str, *, mapped: bool) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every array of a model with the name of its field: those that stay in a file, or the others."""
    if isinstance(value, np.ndarray):
        if not mapped:
            yield name, value
        return
    if hasattr(value, "MAPPED_FROM"):
        if mapped:
            yield from _list_arrays(vars(value), name, mapped=False)
        return
    children: Iterable[tuple[str, Any]] = ()
    if sp.issparse(value):
        children = ((f"{name}.{part}", getattr(value, part)) for part in ("data", "indices", "indptr"))
    elif isinstance(value, Mapping):
        children = ((str(key), each) for key, each in value.items())
    elif isinstance(value, tuple):
        children = ((name, each) for each in value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        children = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value) if field.init)
    for child, each in children:
        yield from _list_arrays(each, child, mapped=mapped)
