"""Which models to try on a data set: all that it can feed, and a few sizes of some."""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from leanrec import models
from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.protocols import Estimator

__all__ = ["Candidate", "candidates", "portfolio"]

# Settings that trade size for quality, beside the defaults, in which every model takes part.
_SIZES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "content": ({"dimensions": 64},),
    "ease": ({"top": 100},),
    "ials": ({"width": 16}, {"width": 128}),
    "item_knn": ({"k": 20},),
    "local_regression": ({"neighbours": 50},),
    "pure_svd": ({"width": 16}, {"width": 128}),
    "rating_knn": ({"by": "users"},),
}
# Models that train for longer than all others together, though without torch.
_LONG = frozenset({"graphsage", "ultragcn", "xsimgcl"})
# Close kin of models that do take part, at like cost and never far from them: tried when asked for.
_ON_REQUEST = frozenset({"gf_cf", "turbo_cf"})


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One model to try.

    Attributes:
        name: the model and the settings that are not the usual ones.
        model: name of the model.
        family: its folder, or "plugin".
        estimator: the settings.
    """

    name: str
    model: str
    family: str
    estimator: Estimator


def portfolio(data: Dataset, *, deep: bool = False) -> tuple[Candidate, ...]:
    """Every installed model that ``data`` can feed, and a few sizes of some.

    Two graph filters wait to be named, because ``cheby_cf`` and ``rp3`` are close kin. Models of the family
    content take part only with an item table, models that predict ratings only with ratings.

    Models that train with torch, and some that train for long without, take part with ``deep`` alone: they need minutes
    where others need seconds. Without torch a ``deep`` portfolio raises MissingExtraError.
    """
    return candidates(
        [
            name
            for name, info in models.list_models().items()
            if name not in _ON_REQUEST
            and (deep or not (info.extra or name in _LONG))
            and _can_use(data, name, info.family)
        ],
        sizes=True,
    )


def candidates(
    chosen: Sequence[str | Estimator] | Mapping[str, str | Estimator], *, sizes: bool = False
) -> tuple[Candidate, ...]:
    """Candidates of what a user names: models by name, settings, or a mapping from own names to either.

    With ``sizes`` a model given by name brings its other sizes too. Raises SettingError for what is neither.
    """
    if isinstance(chosen, Mapping):
        named = [dataclasses.replace(_candidate(each), name=str(name)) for name, each in chosen.items()]
    else:
        named = [_candidate(each) for each in chosen]
        if sizes:
            named = [size for each in named for size in (each, *_sizes(each))]
    counts: dict[str, int] = {}
    distinct = []
    for each in named:
        counts[each.name] = counts.get(each.name, 0) + 1
        again = counts[each.name]
        distinct.append(each if again == 1 else dataclasses.replace(each, name=f"{each.name} #{again}"))
    return tuple(distinct)


def _candidate(given: str | Estimator) -> Candidate:
    estimator: Any = models.get_model(given)() if isinstance(given, str) else given
    is_value = dataclasses.is_dataclass(estimator) and not isinstance(estimator, type)
    if not (is_value and isinstance(estimator, Estimator)):
        raise SettingError(f"A model must be given by name or as settings, such as EASE(l2=200). Got {given!r}.")
    kind = type(estimator)
    info = models.find_info(kind)
    model = kind.__name__ if info is None else info.name
    return Candidate(_label(model, estimator), model, "plugin" if info is None else info.family, estimator)


def _sizes(candidate: Candidate) -> list[Candidate]:
    estimator: Any = candidate.estimator
    return [_candidate(dataclasses.replace(estimator, **size)) for size in _SIZES.get(candidate.model, ())]


def _label(model: str, estimator: Any) -> str:
    """``ials width=16``: the settings that differ from the defaults."""
    try:
        # Not the defaults of the fields: settings may bring what they are given into another form.
        usual = type(estimator)()
    except TypeError:
        usual = None
    values = {field.name: getattr(estimator, field.name) for field in dataclasses.fields(estimator)}
    unusual = [f"{name}={_short(value)}" for name, value in values.items() if value != getattr(usual, name, None)]
    return " ".join([model, *unusual])


def _short(value: object) -> str:
    if dataclasses.is_dataclass(value):
        return type(value).__name__
    if isinstance(value, tuple):
        return "+".join(map(_short, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _can_use(data: Dataset, name: str, family: str) -> bool:
    if family == "content" and data.item_table is None:
        return False
    return data.ratings is not None or not _predicts_ratings(models.get_model(name))


def _predicts_ratings(estimator: type[Estimator]) -> bool:
    """Whether the class that ``fit`` says it returns has ``predict``."""
    return hasattr(typing.get_type_hints(estimator.fit).get("return"), "predict")
