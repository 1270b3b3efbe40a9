"""Linear filters on the item graph: sparse weights, scores and contributions shared by the spectral models."""

import dataclasses
from typing import Any, TypeVar

import numpy as np

from leanrec.data.dataset import DatasetShape
from leanrec.errors import DataError
from leanrec.kernels.csr import build_single_rows
from leanrec.kernels.graph.spectral import ItemGraph, item_graph_bytes, sparsify_filter, sparsify_filter_bytes
from leanrec.kernels.sparse import gather_scores, history_contributions, history_scores
from leanrec.kernels.weighting import weight_interactions
from leanrec.protocols import Explanation, rank_contributions
from leanrec.run import Run
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["FilterModel", "check_filter_memory", "filter_bytes", "keep_largest_weights"]

_Model = TypeVar("_Model", bound="FilterModel")


class FilterModel:
    """A fitted filter: the item graph with its singular vectors or, with ``top_k``, sparse item-item weights.

    A model is a dataclass with these fields, and defines ``filter_by_graph`` and ``weigh_by_graph``.

    Attributes:
        settings: settings of the fit, with ``top_k`` and ``weighting``.
        graph: the graph; None with ``top_k``.
        weights: with ``top_k``, (N, N) CSR: ``weights[i, j]`` is the contribution of item i in a history to the score of
            item j; else None.
    """

    settings: Any
    graph: ItemGraph | None
    weights: CSR | None

    def filter_by_graph(self, graph: ItemGraph, signals: CSR) -> Float32Array:
        """(B, N) filtered signals from sparse ones (B, N)."""
        raise NotImplementedError

    def weigh_by_graph(self, graph: ItemGraph, units: CSR, items: Int32Array, history: Int32Array) -> Float32Array:
        """(K, L) weights of the L items of a history in the scores of K items, whose unit signals are ``units`` (K, N)."""
        raise NotImplementedError

    def check_state(self) -> None:
        """Raise DataError unless it has either its graph or its weights."""
        if (self.graph is None) == (self.weights is None) or bool(self.settings.top_k) != (self.graph is None):
            raise DataError(f"{type(self).__name__} must have weights where top_k is set, and its graph otherwise.")

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return int((self._require_graph().to_users if self.weights is None else self.weights).shape[0])

    def profile(self, queries: Queries) -> CSR:
        """(B, N) weighted histories."""
        return weight_interactions(queries.history, self.settings.weighting)

    def item_weights(self) -> CSR | None:
        """(N, N) with ``top_k``; None where the graph is applied to each query."""
        return self.weights

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Filtered histories: (B, N), or (B, K) for ``items``."""
        return gather_scores(self.apply_filter(self.profile(queries)), items)

    def apply_filter(self, signals: CSR) -> Float32Array:
        """(B, N) filtered signals from sparse ones (B, N)."""
        if self.weights is not None:
            return history_scores(signals, self.weights)
        return self.filter_by_graph(self._require_graph(), signals)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """The items of the history and their contributions to the score."""
        history = self.profile(queries)
        if self.weights is not None:
            added = history_contributions(history, self.weights, items)
        else:
            units = build_single_rows(items, np.ones(len(items), np.float32), self.n_items)
            added = self.weigh_by_graph(self._require_graph(), units, items, history.indices) * history.data
        return rank_contributions(history.indices, added, top_k=top_k)

    def _require_graph(self) -> ItemGraph:
        assert self.graph is not None  # noqa: S101 - a model has its graph or its weights
        return self.graph


def filter_bytes(shape: DatasetShape, n_components: int, top_k: int) -> int:
    """Upper estimate of the memory of a fit: the graph twice, its singular vectors, and blocks of scores with ``top_k``."""
    size = item_graph_bytes(shape.users, shape.items, shape.events, n_components) + 2**25
    return size + (sparsify_filter_bytes(shape.items, top_k) if top_k else 0)


def check_filter_memory(settings: Any, shape: DatasetShape, run: Run, name: str) -> None:
    """Raise BudgetError if a fit needs more memory than ``run`` has. Advises to lower the sizes that are above 0."""
    sizes = " or ".join(each for each in ("n_components", "top_k") if getattr(settings, each))
    advice = f"Lower {sizes}, or raise the limit." if sizes else "Raise the limit."
    run.require_memory(settings.fit_bytes(shape), f"{name} with {settings.n_components} components", advice)


def keep_largest_weights(model: _Model, run: Run, name: str) -> _Model:
    """The model as its ``top_k`` largest weights of each item, or as it is without ``top_k``. Filters N unit signals."""
    top_k = model.settings.top_k
    if not top_k:
        return model
    weights = sparsify_filter(model.apply_filter, model.n_items, top_k, lambda blocks: run.track(blocks, name))
    # Every model is a dataclass.
    return dataclasses.replace(model, graph=None, weights=weights)  # type: ignore[type-var]
