"""Lazy exports: a package imports a public name from its module when the name is first used."""

import importlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence

__all__ = ["export_lazily"]


class _LazyPackage(types.ModuleType):
    """A package whose exports take precedence over submodules of the same name.

    Importing the module ``leanrec.evaluation.evaluate`` would otherwise replace the function of that name.
    """

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute, unless the import system binds a submodule to the name of an export."""
        if not (isinstance(value, types.ModuleType) and name in self.__dict__.get("_homes", ())):
            super().__setattr__(name, value)


def export_lazily(
    package: str, exports: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """The ``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    Args:
        package: the ``__name__`` of the package.
        exports: module → names that it exports. A module without "leanrec." at its start is one of the package.
    """
    homes = {
        name: module if module.partition(".")[0] == "leanrec" else f"{package}.{module}"
        for module, names in exports.items()
        for name in names
    }
    this = sys.modules[package]
    this.__dict__["_homes"] = homes
    this.__class__ = _LazyPackage

    def import_name(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        this.__dict__[name] = value
        return value

    def list_names() -> list[str]:
        return sorted({*this.__dict__, *homes} - {"_homes"})

    return import_name, list_names, sorted(homes)
