"""Classes of wrappers with the powers of what they wrap."""

import dataclasses
from typing import Any

import numpy as np

from leanrec.protocols import Embedder, Explainable, Scorer
from leanrec.retrieval.wrappers import make_wrapper_class


@dataclasses.dataclass(frozen=True)
class Named:
    """A wrapper of a scorer."""

    scorer: Any


class Explaining(Named):
    def explain(self, queries: Any, items: Any, top_k: int | None = None) -> list[Any]:
        return list(self.scorer.explain(queries, items, top_k))


class Explained:
    n_items = 3

    def score(self, queries: Any, items: Any = None) -> Any:
        return np.zeros((len(queries), 3), np.float32)

    def explain(self, queries: Any, items: Any, top_k: int | None = None) -> list[Any]:
        return ["why"] * len(items)


def test_a_wrapper_has_the_powers_of_its_scorer_and_no_others() -> None:
    powers: dict[type, type] = {Explainable: Explaining, Embedder: Named}
    scorer = Explained()
    assert isinstance(scorer, Scorer)
    made = make_wrapper_class(Named, powers, scorer)
    assert isinstance(made(scorer), Explainable)
    assert not isinstance(made(scorer), Embedder)
    assert made is make_wrapper_class(Named, powers, Explained())
    assert (made.__name__, made.__module__, made.__doc__) == ("Named", Named.__module__, Named.__doc__)


def test_a_scorer_without_powers_is_wrapped_by_the_base() -> None:
    plain: Any = object()
    assert make_wrapper_class(Named, {Explainable: Explaining}, plain) is Named
