"""Classes of scorers that wrap others and keep exactly their powers."""

import functools
from collections.abc import Mapping

from leanrec.protocols import Scorer

__all__ = ["make_wrapper_class"]


def make_wrapper_class(base: type, powers: Mapping[type, type], scorer: Scorer) -> type:
    """A subclass of a wrapper with exactly the powers of the scorer that it will wrap.

    Runtime-checkable protocols look at attributes, so a wrapper must have ``embed_items`` if, and only if, the scorer
    has it.

    Args:
        base: the wrapper of a plain scorer.
        powers: for each protocol, a subclass of ``base`` that adds its methods.
        scorer: the scorer to wrap.
    """
    return _combine(base, tuple(part for protocol, part in powers.items() if isinstance(scorer, protocol)))


@functools.cache
def _combine(base: type, parts: tuple[type, ...]) -> type:
    # Of the module of the base, by which a saved wrapper is found again.
    return type(base.__name__, parts, {"__doc__": base.__doc__, "__module__": base.__module__}) if parts else base
