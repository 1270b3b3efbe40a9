"""Fitted models that rank by features: their weights, and how they answer."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from leanrec.data.table import Table
from leanrec.errors import DataError, SettingError
from leanrec.models.ctr.core.rows import Askers, Content, Rows
from leanrec.models.ctr.core.settings import ByFields
from leanrec.nn.arrays import with_arrays
from leanrec.nn.fields import FieldNetwork, Fields, FieldVectors, side_by_side
from leanrec.protocols import Explanation
from leanrec.training.histories import Histories
from leanrec.types import Candidates, Float32Array, Int32Array, Queries

__all__ = ["FieldAnswers", "FieldModel", "RowModel", "field_logits"]

_ASKER, _ITEM = 0, 1
# Pairs judged at a time: their layers stay in the cache.
_PAIRS = 8_192


def field_logits(network: FieldNetwork, rows: Rows) -> Float32Array:
    """(E, T)."""
    device = next(network.parameters()).device
    out = []
    with torch.inference_mode():
        for start in range(0, len(rows), _PAIRS):
            some = rows.take(np.arange(start, min(start + _PAIRS, len(rows))))
            out.append(network.judge(network.embed(0, some.batch().to(device))).float().cpu().numpy())
    return np.concatenate(out) if out else np.zeros((0, 1), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class _Fitted:
    """Weights of a network.

    Attributes:
        settings: what it was fitted with; they know the network.
        sides: the fields of each side.
        tasks: T.
        weights: by name.
    """

    settings: ByFields
    sides: tuple[Fields, ...]
    tasks: int
    weights: Mapping[str, NDArray[Any]]

    @functools.cached_property
    def _network(self) -> FieldNetwork:
        return cast(FieldNetwork, with_arrays(self.settings.network(self.sides, self.tasks), self.weights))


@dataclasses.dataclass(frozen=True, eq=False)
class RowModel(_Fitted):
    """A model fitted on rows, which judges rows."""

    def predict(self, rows: Rows) -> Float32Array:
        """(E, T) the probability of each task. Raises DataError for rows of other fields."""
        if rows.fields != self.sides[0]:
            raise DataError(
                f"The rows must have the fields that the model was fitted on, {self.sides[0]}. Got {rows.fields}."
            )
        return np.asarray(1 / (1 + np.exp(-field_logits(self._network, rows))), np.float32)


class FieldAnswers:
    """Scores by a network that judges pairs of askers and items."""

    def __init__(self, network: FieldNetwork, settings: ByFields, askers: Askers, items: Rows) -> None:
        self.network, self.settings, self.askers, self.items = network, settings, askers, items
        self.device = next(network.parameters()).device

    @functools.cached_property
    def vectors(self) -> FieldVectors:
        """Of all items: they wait for every asker."""
        with torch.inference_mode():
            return self.network.embed(_ITEM, self.items.batch().to(self.device))

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """(B, N), or (B, K) for the given items; zeros for askers of whom nothing is known."""
        rows, known = self.askers.of_queries(queries)
        chosen = np.arange(len(self.items)) if items is None else items
        return self.judged(rows, known, np.broadcast_to(chosen, (len(queries), chosen.shape[-1])))

    def judged(self, rows: Rows, known: NDArray[np.bool_], chosen: NDArray[Any]) -> Float32Array:
        """(B, K) for askers as rows."""
        out = np.zeros(chosen.shape, np.float32)
        some, k = np.flatnonzero(known), chosen.shape[1]
        if not out.size or not len(some):
            return out
        with torch.inference_mode():
            askers = self.network.embed(_ASKER, rows.take(some).batch().to(self.device))
            flat = torch.empty(len(some) * k)
            for start in range(0, len(flat), _PAIRS):
                pairs = np.arange(start, min(start + _PAIRS, len(flat)))
                item = chosen[some[pairs // k], pairs % k].astype(np.int64)
                of, which = (torch.from_numpy(each).to(self.device) for each in (pairs // k, item))
                both = side_by_side([askers.take(of), self.vectors.take(which)])
                flat[start : start + len(pairs)] = self.settings.combined(self.network.judge(both).float()).cpu()
        out[some] = flat.numpy().reshape(len(some), k)
        return out


@dataclasses.dataclass(frozen=True, eq=False)
class FieldModel(_Fitted):
    """A model fitted on a data set, which scores items for askers, all of them or a short list.

    Attributes:
        askers: makes rows of who asks, when and with what history.
        items: N rows; those of new items have the unknown code and their content.
        content: makes rows of new items; None where there was no content.
    """

    askers: Askers
    items: Rows
    content: Content | None

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    @functools.cached_property
    def _answers(self) -> FieldAnswers:
        return FieldAnswers(self._network, self.settings, self.askers, self.items)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Logits of a pair, or what the model combines them to; zeros where neither user nor history is known."""
        return self._answers.score(queries, items)

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """The same candidates, best first by this model. Lists of askers of whom it knows nothing stay as they are."""
        there = candidates.items >= 0
        rows, known = self.askers.of_queries(queries)
        scores = self._answers.judged(rows, known, np.where(there, candidates.items, 0))
        scores = np.where(known[:, None] & there, scores, np.where(there, candidates.scores, -np.inf)).astype(
            np.float32
        )
        order = np.argsort(-scores, axis=1, kind="stable")
        items = np.take_along_axis(candidates.items, order, 1)
        return Candidates(items, np.take_along_axis(scores, order, 1), candidates.fallback)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by how far the score of ``item`` falls without each. L pairs are judged."""
        one = queries.block(0, 1)
        history = self.askers.histories(one).items
        pasts = Histories.from_rows([history, *(np.delete(history, place) for place in range(len(history)))])
        times = None if one.time is None else np.repeat(one.time, len(pasts))
        rows = self.askers.rows(np.repeat(self.askers.own(one.users), len(pasts)), times, pasts)
        scores = self._answers.judged(rows, np.ones(len(pasts), np.bool_), np.full((len(pasts), 1), item))[:, 0]
        added: dict[int, float] = {}
        for touched, less in zip(history.tolist(), scores[1:].tolist(), strict=True):
            added[touched] = added.get(touched, 0.0) + float(scores[0]) - less
        order = sorted(added, key=lambda row: -added[row])
        return Explanation("history", np.array(order, np.int32), np.array([added[row] for row in order], np.float32))

    def extend(self, items: Table) -> "FieldModel":
        """The model of N + M items: the M rows follow, judged by their content.

        Raises SettingError where the model was fitted without content, and ColumnError where no known column is there.
        """
        if self.content is None:
            name = type(self.settings).__name__
            raise SettingError(
                f"{name} was fitted without content of items, so new ones need a refit. Give it an item table."
            )
        new = Rows.of(len(items), codes=((np.zeros(len(items), np.int32), self.items.sizes[0]),)).beside(
            self.content.rows(items)
        )
        return dataclasses.replace(self, items=self.items.below(new))
