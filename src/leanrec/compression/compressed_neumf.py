"""Compressed NeuMF: three tables in codes, of which a query decodes the rows that it reads."""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.compression.vectors.codec import TILE_ROWS, VectorCodec
from leanrec.compression.vectors.offsets import OffsetCodec
from leanrec.errors import DataError
from leanrec.models.deep.neumf import NeuMF, NeuMFModel
from leanrec.protocols import Explanation
from leanrec.types import Float32Array, Int32Array, Queries

__all__ = ["CompressedNeuMF", "compress_neumf"]


def compress_neumf(model: NeuMFModel, codec: VectorCodec, inputs: VectorCodec, *, seed: int = 0) -> "CompressedNeuMF":
    """The model with its tables in codes; the layers, which are small, stay as they are.

    Args:
        model: a fitted NeuMF.
        codec: how the vectors and the hidden parts of the items that are scored are coded.
        inputs: how the vectors are coded that a history is folded in with.
        seed: of whatever is random in the codes.
    """
    fold_in, width = model.fold_in, model.items.shape[1]
    vectors = inputs.encode(fold_in.items, seed=seed)
    # The sums over all items are those of the decoded vectors.
    sums, decoded = (np.square(each, dtype=np.float64).sum(axis=0) for each in (fold_in.items, vectors.decode()))
    base = fold_in.base * np.divide(decoded, sums, out=np.ones_like(sums), where=sums > 0)
    bare = dataclasses.replace(
        model,
        fold_in=dataclasses.replace(fold_in, items=fold_in.items[:0].copy(), base=base.astype(np.float32)),
        items=model.items[:0].copy(),
        hidden=model.hidden[:0].copy(),
    )
    items = OffsetCodec(codec, (width - 1,)).encode(model.items, seed=seed)
    return CompressedNeuMF(bare, items, vectors, codec.encode(model.hidden, seed=seed) if model.hidden.size else None)


@dataclasses.dataclass(frozen=True, eq=False)
class CompressedNeuMF:
    """NeuMF with its tables in codes. Make it with `compress_neumf`.

    Cost: memory of the codes and of the layers; a query as the model's, and O(N · (D + H)) to decode all items, a block at a time.

    Attributes:
        model: the model without rows.
        items: codes of the item vectors of GMF with their biases.
        vectors: codes of the vectors that histories are folded in with.
        hidden: codes of what each item adds to the first hidden layer; None = the model has no MLP.
    """

    model: NeuMFModel
    items: Any
    vectors: Any
    hidden: Any = None

    def check_state(self) -> None:
        """Raise DataError unless the tables are of the same items and of the widths of the model."""
        tables = [self.items, self.vectors] + ([] if self.hidden is None else [self.hidden])
        found = [(each.n_items, each.n_dims) for each in tables]
        sizes, D = self.settings.hidden_sizes, self.settings.embedding_dim
        expected = [(self.n_items, width) for width in (D + 1, D, *sizes[:1])]
        if found != expected:
            raise DataError(f"CompressedNeuMF must have tables of the shapes {expected}. Got {found}.")

    @property
    def settings(self) -> NeuMF:
        """Settings of the fit."""
        return self.model.settings

    @property
    def n_items(self) -> int:
        """N."""
        return int(self.items.n_items)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """GMF + MLP of the decoded tables: (B, N), or (B, K) for ``items``; zeros for an empty history."""
        known = np.unique(queries.history.indices)
        users = self._take(known, np.zeros(0, np.intp)).fold_in.encode(_keep_columns(queries, known).history)
        if items is None:
            scores = np.empty((len(users), self.n_items), np.float32)
            for start in range(0, self.n_items, TILE_ROWS):
                rows = np.arange(start, min(start + TILE_ROWS, self.n_items))
                scores[:, rows] = self._take(rows[:0], rows).score_users(users)
        else:
            chosen, places = np.unique(items, return_inverse=True)
            part = self._take(chosen[:0], chosen)
            scores = part.score_users(users, places.reshape(np.shape(items)).astype(np.int32))
        scores[np.diff(queries.history.indptr) == 0] = 0
        return scores

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """As the model explains, from the rows of the history and of ``items``."""
        rows = np.unique(np.concatenate([queries.history.indices, np.asarray(items)]))
        part, places = self._take(rows, rows), np.searchsorted(rows, items).astype(np.int32)
        explanations = part.explain(_keep_columns(queries, rows), places, top_k)
        return [dataclasses.replace(each, items=rows[each.items].astype(np.int32)) for each in explanations]

    def _take(self, history: NDArray[Any], rows: NDArray[Any]) -> NeuMFModel:
        """The model that folds in with some items, and scores some."""
        return dataclasses.replace(
            self.model,
            fold_in=dataclasses.replace(self.model.fold_in, items=self.vectors.decode(history)),
            items=self.items.decode(rows),
            hidden=self.model.hidden if self.hidden is None else self.hidden.decode(rows),
        )


def _keep_columns(queries: Queries, rows: NDArray[Any]) -> Queries:
    """The queries over the items ``rows``, which are sorted and hold all of the histories."""
    history = queries.history
    indices = np.searchsorted(rows, history.indices).astype(np.int32)
    narrow = sp.csr_array((history.data, indices, history.indptr), shape=(history.shape[0], len(rows)))
    return Queries(queries.users, narrow)
