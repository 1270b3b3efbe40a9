"""One fitted pipeline from a table to features, the same object in training and in serving."""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from leanrec.data.table import Table
from leanrec.errors import ColumnError, SettingError
from leanrec.features.base import Column, Feature, Fitted, csr
from leanrec.features.categorical import Categories, Labels
from leanrec.features.column_types import ColumnKind, infer
from leanrec.features.embedding import StaticEmbedding
from leanrec.features.numeric import Bins
from leanrec.features.reduction import SVD, Reduction
from leanrec.features.selection import Select, Selection
from leanrec.features.temporal import Recency, TimeOfDay
from leanrec.features.text import HashedText, TfIdf
from leanrec.features.topics import Topics
from leanrec.run import Run
from leanrec.settings import check_one_of, check_settings, setting
from leanrec.types import CSR, Int32Array

__all__ = ["TEXT_FEATURES", "Block", "BlockReport", "FeatureSpec", "Features", "FittedBlock", "text_feature"]

TEXT_FEATURES = ("tfidf", "hashing", "nmf", "lda", "embedding")


def text_feature(name: str) -> Feature:
    """The feature of text with one of the names in ``TEXT_FEATURES``, with its default settings."""
    check_one_of("text", name, TEXT_FEATURES)
    kinds: dict[str, Feature] = {
        "tfidf": TfIdf(),
        "hashing": HashedText(),
        "nmf": Topics(method="nmf"),
        "lda": Topics(method="lda"),
        "embedding": StaticEmbedding(),
    }
    return kinds[name]


@dataclasses.dataclass(frozen=True)
class Block:
    """One feature of one column."""

    column: str
    feature: Feature
    weight: float = setting(
        1.0,
        at_least=0,
        doc=(
            "What its rows are multiplied by. A row of text, labels or a category has length 1 before that, so blocks "
            "count by their weights, and a long text does not drown the genres."
        ),
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """Which features to make of a table."""

    blocks: tuple[Block, ...] = setting(
        (), doc="What to make of which column; () = found by looking at each column, and reported."
    )
    columns: tuple[str, ...] = setting((), doc="Where columns are looked at, only these; () = all.")
    text: Feature | None = setting(None, doc="What a column of text gives; None = ``TfIdf()``.")
    select: Select | None = setting(None, doc="Which features to keep; None = all.")
    reduce: SVD | None = setting(None, doc="Fewer, dense dimensions; None = no.")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.blocks and (self.columns or self.text is not None):
            raise SettingError(
                "columns and text choose what is inferred, so they must be left out where blocks are given."
            )

    def fit(self, table: Table, run: Run = Run(), *, groups: Int32Array | None = None) -> "Features":
        """Learn from the table. Raises ColumnError if a named column is missing or none can be learnt from.

        Args:
            table: n rows.
            run: seed, threads and memory.
            groups: (n,) the group of each row, for a selection by mutual information.
        """
        run.require_memory(_bytes_needed(table), f"Features of {len(table)} rows")
        inferred, blocks = self._choose(table)
        fitted = tuple(FittedBlock(b.column, b.weight, b.feature.fit(table.columns[b.column], run)) for b in blocks)
        features = Features(self, fitted, inferred)
        if self.select is not None:
            chosen = self.select.fit(features.transform(table), features.names, groups)
            features = dataclasses.replace(features, selection=chosen)
        if self.reduce is not None:
            fewer = self.reduce.fit(features.transform(table), features.names, run)
            features = dataclasses.replace(features, reduction=fewer)
        return features

    def _choose(self, table: Table) -> tuple[tuple[ColumnKind, ...], tuple[Block, ...]]:
        wanted = tuple(block.column for block in self.blocks) or self.columns or tuple(table.columns)
        missing = [name for name in wanted if name not in table.columns]
        if missing:
            raise ColumnError(
                f"The table must have the column {missing[0]!r}. It has {', '.join(table.columns) or 'none'}."
            )
        if self.blocks:
            return (), self.blocks
        inferred = infer(Table({name: table.columns[name] for name in wanted}))
        blocks = tuple(block for kind in inferred for block in _blocks(kind, self.text or TfIdf()))
        if not blocks:
            why = "; ".join(f"{kind.column}: {kind.reason}" for kind in inferred) or "it has no column"
            raise ColumnError(f"The table must have a column that features can be made of. It has none ({why}).")
        return inferred, blocks


@dataclasses.dataclass(frozen=True, eq=False)
class FittedBlock:
    """One fitted feature of one column.

    Attributes:
        column: name of the column.
        weight: what its rows are multiplied by.
        fitted: the feature.
    """

    column: str
    weight: float
    fitted: Fitted

    def transform(self, column: Column) -> CSR:
        """(n, F) weighted."""
        return csr(self.fitted.transform(column) * np.float32(self.weight))


class BlockReport(NamedTuple):
    """What one column gave."""

    column: str
    kind: str
    features: int
    weight: float
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """A fitted FeatureSpec.

    Attributes:
        spec: what it was fitted with.
        blocks: the fitted features, in the order of their columns in the result.
        inferred: what each column was taken for; () where the spec names the blocks.
        selection: which of them are kept; None = all.
        reduction: the dense dimensions they become; None = they stay.
    """

    spec: FeatureSpec
    blocks: tuple[FittedBlock, ...]
    inferred: tuple[ColumnKind, ...] = ()
    selection: Selection | None = None
    reduction: Reduction | None = None

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """(F,) what each feature is: ``genres: space``."""
        if self.reduction is not None:
            return self.reduction.labels
        names = [f"{block.column}: {name}" for block in self.blocks for name in block.fitted.names]
        if self.selection is None:
            return tuple(names)
        return tuple(name for name, kept in zip(names, self.selection.kept.tolist(), strict=True) if kept)

    def transform(self, table: Table) -> CSR:
        """(n, F) float32: a row depends on its own cells alone; a column that is not there counts as missing.

        Raises ColumnError if the table has none of the columns. O(cells).
        """
        X = self.sparse(table)
        return X if self.reduction is None else csr(self.reduction.apply(X))

    def sparse(self, table: Table) -> CSR:
        """(n, F) before the reduction: each column is a word, a label or the like."""
        wanted = list(dict.fromkeys(block.column for block in self.blocks))
        if not any(name in table.columns for name in wanted):
            raise ColumnError(
                f"The table must have at least one of the columns {', '.join(wanted)}. "
                f"It has {', '.join(table.columns) or 'none'}."
            )
        nothing = np.zeros(len(table), dtype=np.dtypes.StringDType())
        parts = [block.transform(table.columns.get(block.column, nothing)) for block in self.blocks]
        X = csr(sp.hstack(parts, format="csr"))
        return X if self.selection is None else csr(self.selection.apply(X))

    def report(self) -> list[BlockReport]:
        """For each column: what was made of it, how many features, their weight, and why; dropped too."""
        why = {kind.column: kind for kind in self.inferred}
        used = [
            BlockReport(
                b.column,
                type(b.fitted).__name__,
                len(b.fitted.names),
                b.weight,
                why[b.column].reason if b.column in why else "as set",
            )
            for b in self.blocks
        ]
        return used + [
            BlockReport(kind.column, kind.kind, 0, 0.0, kind.reason) for kind in self.inferred if kind.kind == "dropped"
        ]


def _blocks(kind: ColumnKind, text: Feature) -> tuple[Block, ...]:
    """What to make of a column by default: numbers and times say less of an item than words do."""
    if kind.kind == "time":
        return Block(kind.column, Recency(), 0.25), Block(kind.column, TimeOfDay(), 0.1)
    made: dict[str, Block] = {
        "text": Block(kind.column, text),
        "category": Block(kind.column, Categories()),
        "labels": Block(kind.column, Labels()),
        "number": Block(kind.column, Bins(), 0.5),
    }
    return (made[kind.kind],) if kind.kind in made else ()


def _bytes_needed(table: Table) -> int:
    """A token list, its counts and its weights cost about sixteen bytes for each byte of text."""
    texts = [column for column in table.columns.values() if column.dtype.kind not in "fiubM"]
    characters = sum(int(np.strings.str_len(column.astype(np.dtypes.StringDType())).sum()) for column in texts)
    return 16 * characters + 64 * len(table) * len(table.columns)
