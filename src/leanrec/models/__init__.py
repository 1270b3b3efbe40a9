"""One file per model. A model is named by its module (``ease``) or by an import path (``package.module:Class``)."""

import ast
import dataclasses
import difflib
import functools
import importlib
import pkgutil
import re
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from leanrec.errors import MissingExtraError, SettingError
from leanrec.protocols import Estimator

__all__ = ["ModelInfo", "available", "find"]

_IMPORTED = re.compile(r"^\s*(?:from|import) ([\w.]+)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """One model, as found on disk, without importing it.

    Attributes:
        name: what the command line calls it.
        family: the folder it is in: content, collaborative, …
        path: import path of its settings class.
        summary: first line of its module docstring.
        extra: the extra that it needs, "deep" where it imports torch, else "".
        reads_users: whether it uses the table about users.
    """

    name: str
    family: str
    path: str
    summary: str
    extra: str = ""
    reads_users: bool = False


def available() -> dict[str, ModelInfo]:
    """Every model there is, by name: the modules of this package and the ``leanrec.models`` entry points."""
    found = {}
    for package in pkgutil.iter_modules(__path__):
        if package.ispkg:
            folder = Path(__path__[0], package.name)
            for module in pkgutil.iter_modules([str(folder)]):
                if not module.name.startswith("_"):
                    found[module.name] = _read(folder / f"{module.name}.py", package.name)
    for point in entry_points(group="leanrec.models"):
        found[point.name] = ModelInfo(point.name, "plugin", point.value, f"from {point.value}")
    return dict(sorted(found.items(), key=lambda entry: (entry[1].family, entry[0])))


def find(name: str) -> type[Estimator]:
    """The settings class of a model, by module name or import path.

    Raises SettingError with the closest names, and MissingExtraError where the model needs a package that is not there.
    """
    path = name
    if ":" not in name:
        known = available()
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise SettingError(f"There is no model {name!r}.{hint} Models: {', '.join(known)}.")
        path = known[name].path
    module, _, attribute = path.partition(":")
    if find_spec(module.partition(".")[0]) is None:
        raise SettingError(f"The model {name!r} is in the package {module!r}, which is not installed.")
    try:
        estimator: type[Estimator] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise MissingExtraError.of(f"The model {name!r}", error) or error from error
    return estimator


def _read(file: Path, family: str) -> ModelInfo:
    """Read name, class and summary from the source: importing every model would load every library."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    settings = next(
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(part, ast.FunctionDef) and part.name == "fit" for part in node.body)
    )
    path = f"leanrec.models.{family}.{file.stem}:{settings}"
    return ModelInfo(file.stem, family, path, summary, "deep" if _needs_torch(file) else "", _reads_users(tree))


def _reads_users(tree: ast.Module) -> bool:
    """Whether the source names the user table, or leaves it to the training that all rankers by features share."""
    names = (node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    shared = (isinstance(node, ast.ImportFrom) and node.module == "leanrec.training.ranking" for node in tree.body)
    return "user_table" in names or any(shared)


@functools.cache
def _needs_torch(file: Path) -> bool:
    """Whether the source imports torch, at once or when it fits, itself or through what leanrec trains with."""
    package = Path(__file__).parents[1]
    for name in _IMPORTED.findall(file.read_text(encoding="utf-8")):
        if name.partition(".")[0] == "torch":
            return True
        parts = name.split(".")
        below = package.joinpath(*parts[1:]).with_suffix(".py")
        if parts[:2] in (["leanrec", "training"], ["leanrec", "nn"]) and below.is_file() and _needs_torch(below):
            return True
    return False
