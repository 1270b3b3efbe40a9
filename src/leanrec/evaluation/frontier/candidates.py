"""Candidate models of a frontier: every model that a data set can feed, with variants of some."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from leanrec import models
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.protocols import Estimator

__all__ = ["ModelCandidate", "list_candidates", "parse_candidates"]


@dataclasses.dataclass(frozen=True)
class ModelCandidate:
    """One model to fit.

    Attributes:
        name: the model and its settings that differ from the defaults.
        model: name of the model.
        family: its folder, or "plugin".
        estimator: the settings.
    """

    name: str
    model: str
    family: str
    estimator: Estimator


def list_candidates(data: Dataset, *, deep: bool = False) -> tuple[ModelCandidate, ...]:
    """Every installed model that ``data`` has the inputs for, with its variants.

    A model that is similar to another one (``SIMILAR_TO``) takes part only if it is named explicitly, and a model only
    if ``data`` has the inputs that it needs (``NEEDS``). Models that need minutes where others need seconds (``COST``,
    and all that train with torch) are included with ``deep`` alone. With ``deep`` and without torch,
    MissingExtraError is raised.
    """
    optional_inputs = {
        "content": data.item_table,
        "users": data.user_table,
        "ratings": data.ratings,
        "item_links": data.item_links,
        "user_links": data.user_links,
    }
    available = {name for name, values in optional_inputs.items() if values is not None}
    names = [
        name
        for name, info in models.list_models().items()
        if (deep or info.cost == "seconds") and not info.similar_to and info.needs <= available
    ]
    return parse_candidates(names, variants=True)


def parse_candidates(
    chosen: Sequence[str | Estimator] | Mapping[str, str | Estimator], *, variants: bool = False
) -> tuple[ModelCandidate, ...]:
    """Candidates from models given by name or as settings, or from a mapping of labels to either.

    With ``variants`` each model is followed by its ``VARIANTS``. Raises SettingError for anything else.
    """
    if isinstance(chosen, Mapping):
        named = [dataclasses.replace(_make_candidate(each), name=str(name)) for name, each in chosen.items()]
    else:
        named = []
        for given in chosen:
            candidate = _make_candidate(given)
            estimator: Any = candidate.estimator
            others = getattr(estimator, "VARIANTS", ()) if variants else ()
            named += [candidate, *(_make_candidate(dataclasses.replace(estimator, **each)) for each in others)]
    counts: dict[str, int] = {}
    distinct = []
    for each in named:
        counts[each.name] = counts.get(each.name, 0) + 1
        count = counts[each.name]
        distinct.append(each if count == 1 else dataclasses.replace(each, name=f"{each.name} #{count}"))
    return tuple(distinct)


def _make_candidate(given: str | Estimator) -> ModelCandidate:
    estimator: Any = models.get_model(given)() if isinstance(given, str) else given
    is_value = dataclasses.is_dataclass(estimator) and not isinstance(estimator, type)
    if not (is_value and isinstance(estimator, Estimator)):
        raise SettingError(f"A model must be given by name or as settings, such as EASE(l2=200). Got {given!r}.")
    kind = type(estimator)
    info = models.find_info(kind)
    model = kind.__name__ if info is None else info.name
    return ModelCandidate(_format_label(model, estimator), model, "plugin" if info is None else info.family, estimator)


def _format_label(model: str, estimator: Any) -> str:
    """The model with the settings that differ from the defaults: ``ials embedding_dim=16``."""
    try:
        # An instance, not the defaults of the fields: __post_init__ may convert values.
        default = type(estimator)()
    except TypeError:
        default = None
    values = {field.name: getattr(estimator, field.name) for field in dataclasses.fields(estimator)}
    changed = [
        f"{name}={_format_value(value)}" for name, value in values.items() if value != getattr(default, name, None)
    ]
    return " ".join([model, *changed])


def _format_value(value: object) -> str:
    if dataclasses.is_dataclass(value):
        return type(value).__name__
    if isinstance(value, tuple):
        return "+".join(map(_format_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
