"""What `make quick` leaves out, by rule: pages that run whole workflows, and laws of a model that a second fit proves again."""

import collections
from typing import Any

import pytest

from contracts.estimator import EstimatorContract
from leanrec.models import find_info

__all__ = ["mark_slow"]

# Of a model that trains for minutes on real data, quick tests fit, score, save and load it once.
_SMOKE_LAW = "test_survives_saving"
# The first cases of a test find what breaks all, the others what one form of log or one model needs.
_QUICK_CASES = 2


def mark_slow(items: list[pytest.Item]) -> None:
    """Mark as slow what `make quick` leaves out.

    * Pages of the documentation.
    * Of the classes in a file that hold the laws of estimators, every one but the first.
    * Of a model that trains long, every law but one.
    * Of another test with many cases, those after the second.
    """
    first: dict[Any, type] = {}
    cases: collections.Counter[tuple[Any, Any, str]] = collections.Counter()
    for item in items:
        kind, name = getattr(item, "cls", None), getattr(item, "originalname", "")
        is_contract = kind is not None and issubclass(kind, EstimatorContract)
        if is_contract:
            is_first = first.setdefault(item.path, kind) is kind
            is_slow = not is_first or (trains_long(kind.estimator) and name != _SMOKE_LAW)
        else:
            cases[item.path, kind, name] += 1
            is_slow = item.path.suffix == ".md" or cases[item.path, kind, name] > _QUICK_CASES
        if is_slow:
            item.add_marker(pytest.mark.slow)


def trains_long(estimator: Any) -> bool:
    """Whether fits of the model take minutes where those of others take seconds."""
    info = find_info(type(estimator))
    return info is not None and info.cost != "seconds"
