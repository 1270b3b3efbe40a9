"""One file per model. A model is named by its module (``ease``) or by an import path (``package.module:Class``).

``from leanrec.models import EASE`` imports the one module that defines the class. The settings class of a module has its
name without underscores, whatever the case (``item_knn`` → ``ItemKNN``), and the fitted class adds ``Model`` to it.
"""

import dataclasses
import difflib
import functools
import importlib
import pkgutil
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, cast

from leanrec.errors import MissingExtraError, SettingError
from leanrec.protocols import Estimator

__all__ = ["ModelInfo", "find_info", "get_model", "list_models"]


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """One model, found by its file name; nothing of it is imported until it is asked for.

    Attributes:
        name: what the command line calls it.
        family: the folder it is in: linear, sequential, …; "plugin" for models of other packages.
        module: import path of its module.
        extra: the extra that it needs, "deep" where it needs torch, else "".
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
        """The settings class. Imports the module; raises MissingExtraError where its extra is not installed."""
        try:
            module = importlib.import_module(self.module)
        except ImportError as error:
            raise MissingExtraError.of(f"The model {self.name!r}", error) or error from error
        name = self.attribute or next(name for name in vars(module)["__all__"] if name.lower() == _key(self.name))
        return cast("type[Estimator]", getattr(module, name))


@functools.cache
def list_models() -> dict[str, ModelInfo]:
    """Every model by name: the modules of this package and the ``leanrec.models`` entry points. About 1 ms, once."""
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

    Raises SettingError with the closest names, and MissingExtraError where the model needs a package that is not there.
    """
    if ":" in name:
        module, _, attribute = name.partition(":")
        if find_spec(module.partition(".")[0]) is None:
            raise SettingError(f"The model {name!r} is in the package {module!r}, which is not installed.")
        return ModelInfo(name, "plugin", module, attribute=attribute).settings
    known = list_models()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SettingError(f"There is no model {name!r}.{hint} Models: {', '.join(known)}.")
    return known[name].settings


def find_info(settings: type) -> ModelInfo | None:
    """The entry of a settings class among the models, None for a class that is not listed."""
    for info in list_models().values():
        named = settings.__name__ == info.attribute if info.attribute else _key(info.name) == settings.__name__.lower()
        if info.module == settings.__module__ and named:
            return info
    return None


def _key(name: str) -> str:
    """What module and class names have in common."""
    return name.replace("_", "").lower()


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    key = _key(name)
    for info in list_models().values():
        if not info.attribute and _key(info.name) in (key, key.removesuffix("model")):
            settings = info.settings
            fitted = getattr(importlib.import_module(info.module), f"{settings.__name__}Model", None)
            found = {settings.__name__: settings, f"{settings.__name__}Model": fitted}.get(name)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *(info.name for info in list_models().values())]
