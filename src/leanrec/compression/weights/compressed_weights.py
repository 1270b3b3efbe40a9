"""Compressed weights: an item-item model whose weights stay packed, in memory as on disk."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from leanrec.compression.weights.packed_weights import PackedWeights, count_weight_bytes
from leanrec.compression.weights.pruning import find_weights, list_matrices, prune
from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import DataError, SettingError
from leanrec.field_checks import check_fields
from leanrec.kernels.sparse import gather_scores
from leanrec.protocols import Explainable, Explanation, Extendable, Scorer, Updatable
from leanrec.retrieval.wrappers import make_wrapper_class
from leanrec.run import Run
from leanrec.types import CSR, Float32Array, Int32Array, Queries, empty_csr

__all__ = ["CompressedWeights", "WeightCompression", "pack"]

_RUN = Run()
# An updated model with more weights per item than this times those before is cut again.
_GROWTH = 1.1
# Row starts of the empty matrices in the place of the packed ones.
_BARE_BYTES = 16


def pack(model: Any, *, value_bits: int = 6) -> "CompressedWeights":
    """The model with packed weights: about a quarter of its bytes. O(weights).

    Args:
        model: a fitted model with sparse item-item weights, such as SLIM, item-kNN, or EASE with ``top_k`` or pruned.
        value_bits: bits of a value, from 1 to 8; the columns are exact.

    Raises SettingError for a model without sparse item-item weights.
    """
    name, weights = _find_packable(model)
    if isinstance(weights, np.ndarray):
        raise SettingError(
            f"The item-item weights must be sparse to be packed. {type(model).__name__} has dense ones; prune it."
        )
    # A matrix beside the weights, such as the projection of SANSA, is packed as well.
    names = [name, *(other for other in list_matrices(model) if other != name)]
    tables = {each: PackedWeights.encode(getattr(model, each), value_bits) for each in names}
    bare = dataclasses.replace(model, **dict.fromkeys(names, empty_csr(0, 0)))
    try:
        check_fields(bare)
    except DataError:  # other arrays have a row for each item too
        bare = dataclasses.replace(model, **{each: empty_csr(*table.shape) for each, table in tables.items()})
    return CompressedWeights(bare, tables)


def _find_packable(model: Any) -> tuple[str, Float32Array | CSR]:
    """The weights of a model, which may also be on components and items, as those of SANSA are, or on items by their place."""
    for sizes in (("2 N", "N"), ("M", "N")):
        if list_matrices(model, sizes):
            return find_weights(model, sizes)
    return find_weights(model)


@dataclasses.dataclass(frozen=True, eq=False)
class CompressedWeights:
    """A model with item-item weights in packed rows. Make it with `pack`, or with ``prune`` and `pack`.

    It has the powers of the model. A query reads the packed rows of its history; nothing is decoded as a whole.

    Cost: memory of the packed weights, about two bytes a weight; a query less than that of the model.

    Attributes:
        model: the model without its weights.
        tables: the packed weights by their field of the model; the first are those of the scores.
    """

    model: Any
    tables: dict[str, PackedWeights]

    def __new__(cls, model: Any, tables: Any = None) -> Self:  # noqa: ARG004 - of __init__
        """An instance of the class with the powers of the model."""
        return object.__new__(make_wrapper_class(CompressedWeights, _POWERS, model))

    @property
    def settings(self) -> Any:
        """Settings of the fit of the model."""
        return self.model.settings

    @property
    def n_items(self) -> int:
        """N."""
        return self.weights.n_columns

    @property
    def weights(self) -> PackedWeights:
        """The weights of the scores."""
        return next(iter(self.tables.values()))

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """(B, N) scores, or (B, K) for ``items``."""
        return gather_scores(self.weights.score(self._profile(queries)), items)

    def search(
        self, queries: Queries, k: int, *, seen: CSR | None = None, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[Int32Array, Float32Array, NDArray[np.bool_]]:
        """The k best items of each query, best first; see `leanrec.protocols.Searcher`."""
        return self.weights.search(self._profile(queries), k, seen=seen, allowed=allowed)

    def unpack(self) -> Any:
        """The model with all weights decoded."""
        return dataclasses.replace(self.model, **{name: table.decode() for name, table in self.tables.items()})

    def _profile(self, queries: Queries) -> CSR:
        """The profiles as the model makes them."""
        profile: CSR = self._model_of_rows(queries.history.indices).profile(queries)
        return profile

    @functools.cached_property
    def _empty(self) -> dict[str, CSR]:
        """Matrices of the shapes of the tables, without entries, which share one number as all their row starts."""
        empty = {}
        for name, table in self.tables.items():
            matrix = empty_csr(0, 0)
            # The constructor would store every row start.
            vars(matrix).update(_shape=table.shape, indptr=np.broadcast_to(np.int32(0), table.shape[0] + 1))
            empty[name] = matrix
        return empty

    @functools.cached_property
    def _bare(self) -> Any:
        """The model with empty weights of the right shape."""
        return dataclasses.replace(self.model, **self._empty)

    def _model_of_rows(self, history: Int32Array) -> Any:
        """The model with what its profile needs: the rows of the history of the matrices beside the weights."""
        if len(self.tables) == 1:
            return self._bare
        names = list(self.tables)[1:]
        return dataclasses.replace(self._bare, **{name: self.tables[name].decode(history) for name in names})


class _ExplainableWeights(CompressedWeights):
    """Explained by the model with the rows of the history alone."""

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """As the model explains; see `leanrec.protocols.Explainable`."""
        model = self._model_of_rows(queries.history.indices)
        rows = self.weights.decode(model.profile(queries).indices)
        explained = dataclasses.replace(model, **{next(iter(self.tables)): rows})
        explanations: list[Explanation] = explained.explain(queries, items, top_k)
        return explanations


class _UpdatableWeights(CompressedWeights):
    """Updated with all weights decoded for the moment, cut to the weights per item of before, and packed again."""

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = _RUN) -> Scorer:
        """The packed model that knows ``data``; see `leanrec.protocols.Updatable`."""
        updated = self.unpack().update(data, changed, run)
        n_weights = round(self.weights.nnz / max(1, self.n_items) * updated.n_items)
        weights = find_weights(updated)[1]
        if isinstance(weights, np.ndarray) or weights.nnz > _GROWTH * n_weights:
            updated = prune(updated, data, n_weights=n_weights, run=run)
        return pack(updated, value_bits=self.weights.bits)


class _ExtendableWeights(CompressedWeights):
    """Extended with all weights decoded for the moment, and packed again."""

    def extend(self, items: Table) -> Scorer:
        """The packed model of more items; see `leanrec.protocols.Extendable`."""
        return pack(self.unpack().extend(items), value_bits=self.weights.bits)


_POWERS: Mapping[type, type] = {
    Explainable: _ExplainableWeights,
    Updatable: _UpdatableWeights,
    Extendable: _ExtendableWeights,
}


@dataclasses.dataclass(frozen=True)
class WeightCompression:
    """A method of compression: item-item weights cut to a number of bytes per item, solved again and packed.

    Attributes:
        bytes_per_item: bytes of the packed weights per item; 0 = all weights are kept.
        value_bits: bits of a value.
    """

    bytes_per_item: float = 0
    value_bits: int = 6

    def __str__(self) -> str:
        cut = f"cut to {self.bytes_per_item:.4g} B/item, " if self.bytes_per_item else ""
        return f"weights {cut}bits={self.value_bits}"

    def estimate_bytes(self, model: Scorer) -> float:
        """Bytes of the packed weights, without other arrays of the model. Raises SettingError for a model without weights."""
        weights = _find_packable(model)[1]
        limit = self.bytes_per_item * model.n_items or np.inf
        if isinstance(weights, np.ndarray):
            return limit
        others = (getattr(model, name) for name in list_matrices(model))
        matrices = [weights, *(each for each in others if each is not weights)]
        whole = sum(count_weight_bytes(np.diff(each.indptr), self.value_bits, each.shape[1]) for each in matrices)
        # Only a matrix of items on items can be cut.
        return min(limit, whole) if weights.shape[0] == weights.shape[1] else whole

    def refine(self, model: Scorer) -> "tuple[WeightCompression, ...]":  # noqa: ARG002
        """() because kept weights are solved for again in any case."""
        return ()

    def compress(self, model: Scorer, data: Dataset, run: Run = _RUN) -> Scorer:
        """The smaller model, with the powers of ``model``. Deterministic."""
        if self.bytes_per_item and self.estimate_bytes(model) == self.bytes_per_item * model.n_items:
            room = self.bytes_per_item - _BARE_BYTES / max(model.n_items, 1)
            model = prune(model, data, bytes_per_item=max(room, 0), value_bits=self.value_bits, run=run)
        return pack(model, value_bits=self.value_bits)
