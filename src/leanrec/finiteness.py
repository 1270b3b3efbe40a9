"""Finiteness of fitted models: no fit returns, and no folder holds, a model with NaN or an infinite number."""

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import numpy as np
import scipy.sparse as sp

from leanrec.errors import DataError, TrainingWarning

__all__ = ["check_finite", "find_non_finite", "require_finite"]

_P = ParamSpec("_P")
_M = TypeVar("_M")
_TINY = 1e-4
_ADVICE = (
    "The weights of the interactions are in {low:g} … {high:g}; scale them to about 1, or set a weighting that damps "
    "them, such as log or binary."
)


def find_non_finite(value: Any, name: str = "model") -> str | None:
    """Name of the first array or number inside a fitted model that holds NaN or infinity; None if all are finite.

    Settings are ignored, and so are arrays that are mapped from a file: they were looked at before they were written, and
    reading them would bring the file into memory. O(numbers), without a copy.
    """
    if isinstance(value, float):
        return None if math.isfinite(value) else name
    if sp.issparse(value):
        return find_non_finite(value.data, name)  # type: ignore[attr-defined]  # of every compressed matrix
    if isinstance(value, np.memmap):
        return None
    if isinstance(value, np.ndarray):
        is_finite = value.dtype.kind != "f" or not value.size or np.isfinite([value.min(), value.max()]).all()
        return None if is_finite else name
    if isinstance(value, tuple):
        inside = {str(position): each for position, each in enumerate(value)}
    elif isinstance(value, Mapping):
        inside = dict(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value) if field.name != "settings")
        inside = {each: getattr(value, each) for each in names}
    else:
        return None
    found = (find_non_finite(each, f"{name}.{part}") for part, each in inside.items())
    return next((each for each in found if each is not None), None)


def check_finite(model: Any, advice: str) -> None:
    """Raise DataError, with what to do, if a fitted model holds NaN or infinity."""
    name = find_non_finite(model)
    if name is not None:
        raise DataError(f"The numbers of a model must be finite. {name} of {type(model).__name__} is not. {advice}")


def require_finite(fit: Callable[_P, _M]) -> Callable[_P, _M]:
    """Decorate the ``fit`` of an estimator, so that it raises DataError instead of returning a model with NaN.

    The message gives the range of the weights. Weights far below 1 cause a TrainingWarning: the penalties of many models
    leave nothing but zeros for them.
    """

    @functools.wraps(fit)
    def fit_finite(*args: _P.args, **kwargs: _P.kwargs) -> _M:
        data: Any = kwargs.get("data", args[1] if len(args) > 1 else None)
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                model = fit(*args, **kwargs)
        except np.linalg.LinAlgError as error:
            raise DataError(f"The equations of the fit must have a solution. Got: {error}. {_advise(data)}") from error
        if find_non_finite(model) is not None:
            check_finite(model, _advise(data))
        highest = data.events.weight.max(initial=0)
        if 0 < highest < _TINY:
            message = (
                f"The weights of the interactions are at most {highest:g}. Models with penalties learn nothing from such "
                "weights: scale them to about 1."
            )
            warnings.warn(message, TrainingWarning, stacklevel=2)
        return model

    return fit_finite


def _advise(data: Any) -> str:
    """What to do about weights that the numbers of a model cannot hold."""
    weights = data.events.weight[data.events.weight > 0]
    return _ADVICE.format(low=weights.min(initial=np.inf), high=weights.max(initial=0))
