"""Recommendation models: one file for each, found by its module name or by an import path (``package.module:Class``).

``from leanrec.models import EASE`` imports only the module that defines the class. The settings class of a module has
the module's name without underscores, whatever the case (``item_knn`` → ``ItemKNN``), and the fitted class adds
``Model`` to it.

A settings class may describe itself in class variables, which discovery reads:

* ``READS: ClassVar[frozenset[str]]``: every input that some setting makes it read, of `INPUTS`. Default: the history.
* ``NEEDS: ClassVar[frozenset[str]]``: the inputs without which it cannot be fitted. Default: none beside the history.
* ``COST: ClassVar[str]``: "seconds" or "minutes", the order of a fit on 100,000 interactions. Default: "minutes" for
  models that need an extra, "seconds" for others.
* ``VARIANTS: ClassVar[tuple[Mapping[str, Any], ...]]``: settings worth trying beside the defaults, such as other sizes.
* ``SIMILAR_TO: ClassVar[str]``: a model of like cost and quality that is tried instead, unless this one is named.
"""

import dataclasses
import difflib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from leanrec.errors import MissingExtraError, SettingError
from leanrec.protocols import Estimator
from leanrec.settings import parse_settings, split_list

if TYPE_CHECKING:
    from leanrec.models.ctr.core.examples import RowSpec as RowSpec

__all__ = ["INPUTS", "ModelInfo", "RowSpec", "find_info", "get_model", "list_models", "parse_model"]

INPUTS: Mapping[str, str] = {
    "history": "the items that a user interacted with",
    "order": "the order of the interactions",
    "times": "the times of the interactions",
    "ratings": "explicit ratings",
    "event_types": "types of events, such as click and purchase",
    "content": "the item table",
    "users": "the user table",
    "context": "the circumstances of a request, such as the hour",
    "item_links": "links of items to entities",
    "user_links": "links between users",
}


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """One model, found by its file name. Its module is imported when its settings class is first read.

    Attributes:
        name: module name, which is also its name on the command line.
        family: its folder: "linear", "sequential" …; "plugin" for models of other packages.
        module: import path of the module.
        extra: the extra to install for it, such as "deep"; "" = none.
        attribute: name of the settings class of a plugin; "" = by the naming rule.
    """

    name: str
    family: str
    module: str
    extra: str = ""
    attribute: str = ""

    @functools.cached_property
    def summary(self) -> str:
        """First line of the module docstring, read from the compiled module without running it."""
        if self.attribute:
            return f"from {self.module}:{self.attribute}"
        spec = find_spec(self.module)
        code = spec.loader.get_code(self.module) if spec and spec.loader else None  # type: ignore[attr-defined]
        first = code.co_consts[0] if code else ""
        return first.partition("\n")[0] if isinstance(first, str) else ""

    @property
    def settings(self) -> type[Estimator]:
        """The settings class. Imports the module.

        Raises:
            MissingExtraError: the extra of the model is not installed.
            SettingError: the import path of a plugin has no such module or class.
        """
        try:
            module = importlib.import_module(self.module)
        except ImportError as error:
            if self.attribute and f"{self.module}.".startswith(f"{error.name}."):
                raise SettingError(
                    f"The model {self.name!r} must be in a module. There is no module {error.name!r}."
                ) from error
            raise MissingExtraError.from_import_error(f"The model {self.name!r}", error) or error from error
        name = self.attribute or next(each for each in vars(module)["__all__"] if each.lower() == _normalize(self.name))
        classes = [each for each, value in vars(module).items() if isinstance(value, type) and hasattr(value, "fit")]
        if name not in classes:
            raise SettingError(
                f"The model {self.name!r} must name a class with the method fit. "
                f"{self.module} has {', '.join(classes) or 'none'}."
            )
        return cast("type[Estimator]", getattr(module, name))

    @property
    def reads(self) -> frozenset[str]:
        """The inputs that it can read, of `INPUTS`. Imports the module, as the properties below do."""
        return frozenset({"history"}) | getattr(self.settings, "READS", frozenset()) | self.needs

    @property
    def needs(self) -> frozenset[str]:
        """The inputs without which it cannot be fitted."""
        return frozenset(getattr(self.settings, "NEEDS", ()))

    @property
    def cost(self) -> str:
        """Order of the time of a fit on 100,000 interactions: "seconds" or "minutes"."""
        return str("minutes" if self.extra else getattr(self.settings, "COST", "seconds"))

    @property
    def is_updatable(self) -> bool:
        """Whether its fitted model is `Updatable`: whether it can learn from the events of all users while it is served."""
        model = inspect.signature(self.settings.fit).return_annotation
        if isinstance(model, str):
            model = vars(importlib.import_module(self.module)).get(model)
        return hasattr(model, "update")

    @property
    def variants(self) -> tuple[Mapping[str, Any], ...]:
        """Settings worth trying beside the defaults."""
        return tuple(getattr(self.settings, "VARIANTS", ()))

    @property
    def similar_to(self) -> str:
        """Name of a model of like cost and quality that is tried instead, unless this one is named; "" = none."""
        return str(getattr(self.settings, "SIMILAR_TO", ""))


@functools.cache
def list_models() -> dict[str, ModelInfo]:
    """Every model by name: the modules of this package and the ``leanrec.models`` entry points.

    Imports no model. Takes about 1 ms the first time.
    """
    found = {}
    for family in pkgutil.iter_modules(__path__):
        package = importlib.import_module(f"{__name__}.{family.name}")
        for module in pkgutil.iter_modules(package.__path__):
            if not module.ispkg:
                path = f"{package.__name__}.{module.name}"
                found[module.name] = ModelInfo(module.name, family.name, path, getattr(package, "EXTRA", ""))
    for point in entry_points(group="leanrec.models"):
        found[point.name] = ModelInfo(point.name, "plugin", point.module, attribute=point.attr)
    return dict(sorted(found.items(), key=lambda entry: (entry[1].family, entry[0])))


def get_model(name: str) -> type[Estimator]:
    """The settings class of a model, by module name or import path.

    Raises:
        SettingError: no such model or import path; the message names the closest one.
        MissingExtraError: the model needs a package that is not installed.
    """
    if ":" in name:
        module, _, attribute = name.partition(":")
        if not module or not attribute:
            raise SettingError(f"An import path must have the form package.module:Class. Got {name!r}.")
        if find_spec(module.partition(".")[0]) is None:
            raise SettingError(f"The model {name!r} is in the package {module!r}, which is not installed.")
        return ModelInfo(name, "plugin", module, attribute=attribute).settings
    known = list_models()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SettingError(f"There is no model {name!r}.{hint} Models: {', '.join(known)}.")
    return known[name].settings


def parse_model(text: str) -> Estimator:
    """Settings from text: a model's name, then settings that differ from the defaults, as in ``"ials,embedding_dim=32"``.

    Raises:
        SettingError: no such model or setting, or a part that is not of the form NAME=VALUE.
        MissingExtraError: the model needs a package that is not installed.
    """
    name, *pairs = split_list(text) or ("",)
    settings = dict(pair.partition("=")[::2] for pair in pairs)
    if not all(settings.values()):
        raise SettingError(f"Settings of {name} must have the form NAME=VALUE, separated by commas. Got {text!r}.")
    return parse_settings(get_model(name), settings)


def find_info(settings: type) -> ModelInfo | None:
    """The entry of a settings class in `list_models`; None for a class that is not listed."""
    for info in list_models().values():
        named = (
            settings.__name__ == info.attribute
            if info.attribute
            else _normalize(info.name) == settings.__name__.lower()
        )
        if info.module == settings.__module__ and named:
            return info
    return None


# Classes that models share and users need, imported when first used: they may need an extra.
_SHARED = {"RowSpec": "leanrec.models.ctr.core.examples"}


def _normalize(name: str) -> str:
    """The form that module and class names have in common."""
    return name.replace("_", "").lower()


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _SHARED:
        return getattr(importlib.import_module(_SHARED[name]), name)
    key = _normalize(name)
    for info in list_models().values():
        if not info.attribute and _normalize(info.name) in (key, key.removesuffix("model")):
            settings = info.settings
            fitted = getattr(importlib.import_module(info.module), f"{settings.__name__}Model", None)
            found = {settings.__name__: settings, f"{settings.__name__}Model": fitted}.get(name)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *(info.name for info in list_models().values())]
