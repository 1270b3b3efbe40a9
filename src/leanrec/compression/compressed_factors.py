"""Compressed factors: a model of item embeddings whose tables are kept in codes, and serve without being decoded."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from leanrec.compression.coded_scorer import CodedScorer, sample_query_vectors
from leanrec.compression.vectors.codec import VectorCodec, VectorCodes
from leanrec.compression.vectors.mapped import MappedCodec
from leanrec.compression.vectors.offsets import OffsetCodec
from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.field_checks import ArrayShape
from leanrec.kernels.threads import single_threaded_blas
from leanrec.protocols import (
    Explainable,
    Explanation,
    Extendable,
    OffsetEmbedder,
    RatingPredictor,
    RowUpdatable,
    RowwiseEmbedder,
    Scorer,
    SharedItemReader,
    SimilarityEmbedder,
    Updatable,
)
from leanrec.retrieval.wrappers import make_wrapper_class
from leanrec.run import Run
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["CompressedFactors", "compress_factors"]

_RUN = Run()
_TILE = 1024
# The table that an `OffsetEmbedder` puts together.
_ITEMS = "items"


def compress_factors(
    model: Scorer,
    codec: VectorCodec,
    *,
    inputs: VectorCodec | None = None,
    data: Dataset | None = None,
    seed: int = 0,
) -> Any:
    """The model with its tables in the codes of a codec: a `CompressedFactors` with the powers of the model.

    Args:
        model: a fitted model of item embeddings whose queries need few rows, such as iALS, PureSVD or LightGCN.
        codec: how vectors are coded.
        inputs: how the vectors are coded that queries are made of, where they are not those that are scored; None = by ``codec``.
        data: what the model was fitted on; from it a codec sees query vectors. None = it sees none.
        seed: of whatever is random in the codes.

    Raises:
        SettingError: for a model whose scores are not a product of embeddings, or whose queries need all rows.
    """
    if not isinstance(model, RowwiseEmbedder) or find_scored_table(model) is None:
        raise SettingError(
            "The model must score by item embeddings of which a query reads few rows, as ials, pure_svd and lightgcn do. "
            f"Got {type(model).__name__}."
        )
    queries = sample_query_vectors(model, data, seed)
    tables: dict[str, VectorCodes] = {}
    for name, coded in choose_codecs(model, codec, inputs).items():
        seen = queries if name == find_scored_table(model) else None
        tables[name] = coded.encode(read_table(model, name), queries=seen, seed=seed)
    return build_factors(model, codec, tables)


def build_factors(model: Any, codec: VectorCodec, tables: Mapping[str, VectorCodes]) -> "CompressedFactors":
    """The compressed model of coded tables. Sums over all rows are those of the decoded ones."""
    decoded: dict[str, Any] = {name: codes.decode() for name, codes in tables.items()}
    # Sums of the model itself are of the rows before they were coded.
    sums = {field.name: None for field in dataclasses.fields(model) if field.default is None}
    summarized: Any = _replace_tables(dataclasses.replace(model, **sums), decoded).summarize()
    return CompressedFactors(remove_rows(summarized), codec, dict(tables))


def remove_rows(summarized: Any) -> Any:
    """The model without the rows of its tables, which is what it keeps beside their codes."""
    tables = {name: read_table(summarized, name)[:0].copy() for name in find_tables(summarized)}
    return _replace_tables(summarized, tables)


def _replace_tables(model: Any, tables: Mapping[str, Any]) -> Any:
    """The model with other tables."""
    others = dict(tables)
    if isinstance(model, OffsetEmbedder) and _ITEMS in others:
        model = model.replace_items(others.pop(_ITEMS))
    return dataclasses.replace(model, **others)


def read_table(model: Any, name: str) -> Float32Array:
    """(N, D) or (U, D) the table of a name, with the offsets of items."""
    return np.asarray(
        model.embed_items() if isinstance(model, OffsetEmbedder) and name == _ITEMS else getattr(model, name)
    )


def choose_codecs(model: Any, codec: Any, inputs: Any = None) -> dict[str, Any]:
    """The codec of each table of a model: ``inputs`` where it is given and the table is not scored, and offsets of items kept apart."""
    scored = find_scored_table(model)
    codecs = {name: codec if inputs is None or name == scored else inputs for name in find_tables(model)}
    if isinstance(codec, MappedCodec):
        # The other tables are read and never searched, and an offset is as exact as the vector.
        searched = find_scored_table(model)
        return {name: codec if name == searched else MappedCodec(0) for name in codecs}
    if isinstance(model, OffsetEmbedder) and _ITEMS in codecs:
        vectors, columns = model.embed_items(), model.offset_columns
        is_constant = {column: bool(np.ptp(vectors[:, column]) == 0) for column in columns}
        constants = tuple(column for column in columns if is_constant[column])
        offsets = tuple(column for column in columns if not is_constant[column])
        codecs[_ITEMS] = OffsetCodec(codec, offsets, constants)
    return codecs


def find_tables(model: Any) -> dict[str, str]:
    """The arrays with a row for each item or user of the fit that are not empty: name → "N" or "U"."""
    found = {}
    for field in dataclasses.fields(model):
        for rule in getattr(field.type, "__metadata__", ()):
            if isinstance(rule, ArrayShape) and rule.sizes[0] in {"N", "U"} and len(getattr(model, field.name)):
                found[field.name] = rule.sizes[0]
    return found


def find_coded_shapes(model: Any) -> list[tuple[int, int]]:
    """(rows, columns) of each table, without the offsets of items, which a codec does not see."""
    shapes = {name: read_table(model, name).shape for name in find_tables(model)}
    n_offsets = len(model.offset_columns) if isinstance(model, OffsetEmbedder) else 0
    return [(rows, columns - n_offsets * (name == _ITEMS)) for name, (rows, columns) in shapes.items()]


def find_scored_table(model: Any) -> str | None:
    """Name of the table that ``embed_items`` gives; None if there is none, or the model has no items."""
    if isinstance(model, OffsetEmbedder):
        return _ITEMS if len(model.embed_items()) else None
    vectors = model.embed_items()
    return next(
        (name for name, size in find_tables(model).items() if size == "N" and getattr(model, name) is vectors), None
    )


@dataclasses.dataclass(frozen=True, eq=False)
class CompressedFactors(CodedScorer):
    """A model of item embeddings with its tables in codes. Make it with `compress_factors`.

    It has the powers of the model. A query decodes the rows of its history, is embedded by the model of these rows
    alone, and searches the codes of all items.

    Cost: memory of the codes; a query as the model's, with a rotation or a table of the codec and a scan of the codes. That of a
    user who was not in the fit of BPR decodes up to 2,000 negatives too, 1 to 4 ms at 64 dimensions.

    Attributes:
        model: the model without rows, with its sums over all decoded rows.
        codec: how new vectors are coded.
        tables: the codes of each table of the model; the first is that of the items that are scored.
    """

    model: Any
    codec: Any
    tables: dict[str, Any]

    def __new__(cls, model: Any, codec: Any = None, tables: Any = None) -> Self:  # noqa: ARG004 - of __init__
        """An instance of the class with the powers of the model."""
        return object.__new__(make_wrapper_class(CompressedFactors, _POWERS, model))

    @functools.cached_property
    def items(self) -> Any:
        """Codes of the items that are scored."""
        return self.tables[self._scored]

    @functools.cached_property
    def _scored(self) -> str:
        if isinstance(self.model, OffsetEmbedder):
            return _ITEMS
        vectors = self.model.embed_items()
        return next(name for name in self.tables if getattr(self.model, name) is vectors)

    @functools.cached_property
    def _sizes(self) -> dict[str, str]:
        """The first size of each table: "N" or "U", of items or users."""
        return {
            field.name: rule.sizes[0]
            for field in dataclasses.fields(self.model)
            for rule in getattr(field.type, "__metadata__", ())
            if isinstance(rule, ArrayShape) and field.name in self.tables
        }

    @functools.cached_property
    def _reads_shared_items(self) -> bool:
        """Whether queries read items beside their histories. Asking a protocol each time is slow."""
        return isinstance(self.model, SharedItemReader)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D) as the model embeds them, from the decoded rows of the histories."""
        return self._take_part(queries).embed()

    def compare_items(self, row: int) -> Float32Array:
        """(N,) cosine of all items with that of a row; 0 for items of which nothing is known."""
        query = self._similarity_vectors(np.array([row]))[0]
        query /= max(float(np.linalg.norm(query)), 1e-12)
        found = np.zeros(self.n_items, np.float32)
        for start in range(0, self.n_items, _TILE):
            rows = np.arange(start, min(start + _TILE, self.n_items))
            vectors = self._similarity_vectors(rows)
            found[rows] = vectors @ query / np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
        return found

    def _similarity_vectors(self, rows: NDArray[Any]) -> Float32Array:
        part = self._decode(rows)
        vectors = part.similarity_vectors() if isinstance(part, SimilarityEmbedder) else part.embed_items()
        return np.asarray(vectors)

    def _decode(self, items: NDArray[Any], users: NDArray[Any] | None = None) -> Any:
        """The model of some items, and users of the fit."""
        which = {"N": items, "U": np.zeros(0, np.intp) if users is None else users}
        decoded = {name: codes.decode(which[self._sizes[name]]) for name, codes in self.tables.items()}
        return _replace_tables(self.model, decoded)

    def _take_part(self, queries: Queries, items: NDArray[Any] | None = None) -> "_Part":
        """The model of the items of the queries, of those that it reads beside, and of ``items``."""
        is_reader = self._reads_shared_items
        shared = self.model.find_shared_items(queries, self.n_items) if is_reader else np.zeros(0, np.int32)
        named = [queries.history.indices, shared]
        named += [] if queries.ratings is None else [queries.ratings.indices]
        named += [] if items is None else [np.ravel(items)]
        rows = np.unique(np.concatenate(named))
        fitted = queries.users
        users = np.unique(fitted[fitted >= 0]) if "U" in self._sizes.values() else np.zeros(0, np.int32)
        known = np.searchsorted(users, fitted) if len(users) else np.zeros(len(fitted), np.intp)
        places = np.where(fitted >= 0, known, -1) if len(users) else np.full(len(fitted), -1)
        narrow = Queries(
            places.astype(np.int32),
            _keep_columns(queries.history, rows),
            ratings=None if queries.ratings is None else _keep_columns(queries.ratings, rows),
            time=queries.time,
            is_stale=queries.is_stale,
        )
        part = self._decode(rows, users)
        if is_reader:
            part = part.with_shared_items(np.searchsorted(rows, shared).astype(np.int32))
        return _Part(part, narrow, rows)


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
    """A model of some items, and queries about these.

    Attributes:
        model: the model.
        queries: the queries over the items of the model.
        rows: (R,) sorted rows of these items among all.
    """

    model: Any
    queries: Queries
    rows: NDArray[Any]

    def embed(self) -> Float32Array:
        """(B, D) embeddings of the queries."""
        return np.asarray(self.model.embed_queries(self.queries), np.float32)


def _keep_columns(matrix: CSR, rows: NDArray[Any]) -> CSR:
    """The matrix (B, N) with the columns ``rows``, which are sorted and hold all its entries."""
    indices = np.searchsorted(rows, matrix.indices).astype(np.int32)
    narrow: CSR = sp.csr_array((matrix.data, indices, matrix.indptr), shape=(matrix.shape[0], len(rows)))
    return narrow


class _CompressedExplainable(CompressedFactors):
    """Explains by the model of the items of the history and of those to explain."""

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        part = self._take_part(queries, items)
        places = np.searchsorted(part.rows, items).astype(np.int32)
        explanations: list[Explanation] = part.model.explain(part.queries, places, top_k)
        return [dataclasses.replace(each, items=part.rows[each.items].astype(np.int32)) for each in explanations]


class _CompressedExtendable(CompressedFactors):
    """Codes the rows that the model without rows gives to new items; the codes of the others stay."""

    def extend(self, items: Table) -> Scorer:
        new = self.model.extend(items)
        tables = {
            name: codes.append(read_table(new, name)) if self._sizes[name] == "N" else codes
            for name, codes in self.tables.items()
        }
        return CompressedFactors(self.model, self.codec, tables)


class _CompressedUpdatable(CompressedFactors):
    """Updates the decoded model. Where it solves rows alone, only these are coded anew."""

    def update(self, data: Dataset, changed: Int32Array | None = None, run: Run = _RUN) -> Scorer:
        n_users = max((codes.n_items for name, codes in self.tables.items() if self._sizes[name] == "U"), default=0)
        whole = self._decode(np.arange(self.n_items), np.arange(n_users))
        # Solved rows stay in their axes, in which the Gram matrix of all is no longer diagonal: exact lists need new ones.
        if not isinstance(whole, RowUpdatable) or isinstance(self.codec, MappedCodec):
            updated: Scorer = compress_factors(whole.update(data, changed, run), self.codec, data=data, seed=run.seed)
            return updated
        with run.limit_threads(), single_threaded_blas():
            solved = whole.solve_items(data, changed, run)
        n_items = data.interactions.shape[1]
        rows = np.arange(n_items) if changed is None else np.asarray(changed)
        # New items without events have vectors of zeros.
        new = np.zeros((n_items - self.n_items, solved.shape[1]), np.float32)
        is_new = rows >= self.n_items
        new[rows[is_new] - self.n_items] = solved[is_new]
        codes = self.items.replace(rows[~is_new], solved[~is_new])
        return build_factors(whole, self.codec, {self._scored: codes.append(new) if len(new) else codes})


class _CompressedRatingPredictor(CompressedFactors):
    """Predicts by the model of the items of the history and of those to rate."""

    def predict(self, queries: Queries, items: Int32Array) -> Float32Array:
        part = self._take_part(queries, items)
        return np.asarray(part.model.predict(part.queries, np.searchsorted(part.rows, items)))


_POWERS: Mapping[type, type] = {
    Explainable: _CompressedExplainable,
    Extendable: _CompressedExtendable,
    RatingPredictor: _CompressedRatingPredictor,
    Updatable: _CompressedUpdatable,
}
