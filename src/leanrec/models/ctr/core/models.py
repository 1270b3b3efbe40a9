"""Fitted CTR models, which need no torch: scoring, reranking and explanations."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import scipy.special
from numpy.typing import NDArray

from leanrec.data.table import Table
from leanrec.errors import DataError, SettingError
from leanrec.field_checks import SharedSizes, check_array_shapes
from leanrec.kernels.layers.field_layers import FieldBlock, FieldSizes, embed_fields
from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.kernels.threads import run_in_threads
from leanrec.models.ctr.core.rows import ContentEncoder, FieldRows, QueryEncoder
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.protocols import Explanation, rank_contributions
from leanrec.training.histories import leave_one_out, sum_score_drops
from leanrec.types import Candidates, Float32Array, Int32Array, Queries

__all__ = ["ITEM_SIDE", "QUERY_SIDE", "FieldModel", "FieldScorer", "RowModel", "predict_logits"]

# The two sides of a network trained on events.
QUERY_SIDE, ITEM_SIDE = 0, 1
# Counts among the weights, which are whole numbers.
_COUNTERS = "num_batches_tracked"
# Pairs per block, so that the activations stay in the cache.
_BLOCK = 8_192


def predict_logits(settings: CTRSettings, layers: NamedLayers, rows: FieldRows) -> Float32Array:
    """(E, T) logits of rows with all fields on one side."""
    out = []
    for start in range(0, len(rows), _BLOCK):
        block = rows.take(np.arange(start, min(start + _BLOCK, len(rows))))
        out.append(settings.predict_logits(layers, _embed(layers, 0, block)))
    return np.concatenate(out) if out else np.zeros((0, 1), np.float32)


def _embed(layers: NamedLayers, side: int, rows: FieldRows) -> FieldBlock:
    """The vectors of rows of one side."""
    return embed_fields(layers.within(f"sides.{side}"), rows.fields, rows.codes, rows.bags, rows.numbers)


@dataclasses.dataclass(frozen=True, eq=False)
class _FittedNetwork:
    """Weights of a network and what is needed to compute with them.

    Attributes:
        settings: settings of the fit, which also compute the logits.
        sides: the fields of each side.
        n_tasks: T.
        weights: by name: arrays, and matrices in codes of `leanrec.compression`.
    """

    settings: CTRSettings
    sides: tuple[FieldSizes, ...]
    n_tasks: int
    weights: Mapping[str, Any]

    def check_state(self) -> None:
        """Raise DataError unless the weights are those of the network."""
        shapes = self.settings.weight_shapes(self.sides, self.n_tasks)
        check_array_shapes("The weights of the network", self.weights, shapes)
        for name, weight in self.weights.items():
            is_number = isinstance(weight, np.ndarray) and (weight.dtype.kind == "f") == name.endswith(_COUNTERS)
            if name not in shapes or is_number:
                raise DataError(
                    f"The weights must have the names and the kinds of numbers of the network. Got {name!r}"
                    f"{f' of {weight.dtype}' if is_number else ''}."
                )

    @functools.cached_property
    def _layers(self) -> NamedLayers:
        return NamedLayers(self.weights)


@dataclasses.dataclass(frozen=True, eq=False)
class RowModel(_FittedNetwork):
    """A CTR model fitted on labeled rows; all fields are on one side."""

    def predict(self, rows: FieldRows) -> Float32Array:
        """(E, T) probability of each task. Raises DataError if the rows have other fields than those of the fit."""
        if rows.fields != self.sides[0]:
            raise DataError(f"The rows must have the fields of the fit, {self.sides[0]}. Got {rows.fields}.")
        return np.asarray(scipy.special.expit(predict_logits(self.settings, self._layers, rows)), np.float32)


class FieldScorer:
    """Scores pairs of queries and items with the weights of a network."""

    def __init__(
        self, layers: NamedLayers, settings: CTRSettings, query_encoder: QueryEncoder, items: FieldRows
    ) -> None:
        self.layers, self.settings, self.query_encoder, self.items = layers, settings, query_encoder, items

    @functools.cached_property
    def item_vectors(self) -> FieldBlock:
        """Field vectors of all items, computed once for all queries."""
        return _embed(self.layers, ITEM_SIDE, self.items)

    def embed_items(self, rows: NDArray[Any]) -> FieldBlock:
        """Field vectors of some items. Those of tables in codes are computed anew, which keeps the memory small."""
        if all(isinstance(weight, np.ndarray) for weight in self.layers.weights.values()):
            return _take(self.item_vectors, rows)
        chosen, places = np.unique(rows, return_inverse=True)
        return _take(_embed(self.layers, ITEM_SIDE, self.items.take(chosen)), places)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """(B, N), or (B, K) for the given items; zeros for unknown queries."""
        rows, is_known = self.query_encoder.encode_queries(queries)
        candidates = np.arange(len(self.items)) if items is None else items
        return self.score_rows(rows, is_known, np.broadcast_to(candidates, (len(queries), candidates.shape[-1])))

    def score_rows(self, rows: FieldRows, is_known: NDArray[np.bool_], candidates: NDArray[Any]) -> Float32Array:
        """(B, K) scores of ``candidates`` (B, K) for encoded queries; zeros for those that are not known."""
        out = np.zeros(candidates.shape, np.float32)
        known, k = np.flatnonzero(is_known), candidates.shape[1]
        if not out.size or not len(known):
            return out
        queries = _embed(self.layers, QUERY_SIDE, rows.take(known))
        flat = np.empty(len(known) * k, np.float32)

        def work(start: int) -> None:
            pairs = np.arange(start, min(start + _BLOCK, len(flat)))
            sides = _take(queries, pairs // k), self.embed_items(candidates[known[pairs // k], pairs % k])
            fields = FieldBlock(*(np.concatenate(parts, axis=1) for parts in zip(*sides, strict=True)))
            flat[pairs] = self.settings.combine_logits(self.settings.predict_logits(self.layers, fields))

        run_in_threads(work, range(0, len(flat), _BLOCK))
        out[known] = flat.reshape(len(known), k)
        return out


def _take(block: FieldBlock, rows: NDArray[Any]) -> FieldBlock:
    return FieldBlock(block.vectors[rows], block.numbers[rows])


@dataclasses.dataclass(frozen=True, eq=False)
class FieldModel(_FittedNetwork):
    """A CTR model fitted on a data set; it scores all items or ranks candidates.

    Attributes:
        query_encoder: encodes user, time and history of a query.
        items: N rows; new items have the unknown code and their content.
        content: encodes new items; None if the fit had no item content.
    """

    query_encoder: Annotated[QueryEncoder, SharedSizes(U="U")]
    items: Annotated[FieldRows, SharedSizes(N="E")]
    content: ContentEncoder | None

    def check_state(self) -> None:
        """Raise DataError unless queries and items have the fields of the network."""
        super().check_state()
        if (self.query_encoder.fields, self.items.fields) != self.sides or self.query_encoder.n_items > self.n_items:
            raise DataError(
                f"FieldModel must have the fields {self.sides}. Got {self.query_encoder.fields} and {self.items.fields}."
            )

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    @functools.cached_property
    def _scorer(self) -> FieldScorer:
        return FieldScorer(self._layers, self.settings, self.query_encoder, self.items)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Combined logits of each pair: (B, N), or (B, K) for ``items``; zeros if neither user nor history is known."""
        return self._scorer.score(queries, items)

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """Rerank the candidates by the scores of this model. Lists of unknown queries stay as they are."""
        is_item = candidates.items >= 0
        rows, is_known = self.query_encoder.encode_queries(queries)
        scores = self._scorer.score_rows(rows, is_known, np.where(is_item, candidates.items, 0))
        given = np.where(is_item, candidates.scores, -np.inf)
        scores = np.where(is_known[:, None] & is_item, scores, given).astype(np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")
        items = np.take_along_axis(candidates.items, order, 1)
        return Candidates(items, np.take_along_axis(scores, order, 1), candidates.fallback)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Items of the history by how much the scores of ``items`` drop without each. (L + 1) · K pairs are scored."""
        history = self.query_encoder.select_histories(queries).items
        histories = leave_one_out(history)
        n = len(histories)
        times = None if queries.time is None else np.repeat(queries.time, n)
        users = np.repeat(self.query_encoder.mask_unknown_users(queries.users), n)
        rows = self.query_encoder.encode(users, times, histories)
        scores = self._scorer.score_rows(rows, np.ones(n, np.bool_), np.broadcast_to(items, (n, len(items))))
        unique, drops = sum_score_drops(history, scores)
        return rank_contributions(unique, drops, reason="history" if len(unique) else "attributes", top_k=top_k)

    def extend(self, items: Table) -> "FieldModel":
        """The model with the M ``items`` added at the end, scored by their content.

        Raises SettingError if the fit had no item content, and ColumnError if the items have no column of the fit.
        """
        if self.content is None:
            raise SettingError(
                f"To add items, {type(self.settings).__name__} must be fitted with item content. The fit had none; "
                "fit it again with an item table."
            )
        unknown = (np.zeros(len(items), np.int32), self.items.sizes[0])
        rows = FieldRows.from_columns(len(items), codes=(unknown,)).hstack(self.content.encode(items))
        return dataclasses.replace(self, items=self.items.vstack(rows))
