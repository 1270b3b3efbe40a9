"""Feature pipeline: from a table to a sparse or dense feature matrix, the same in training and serving."""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from leanrec.data.table import Table
from leanrec.errors import ColumnError, DataError, SettingError
from leanrec.features.base import Column, Feature, FittedFeature, to_csr
from leanrec.features.categorical import MultiLabelEncoder, OneHotEncoder
from leanrec.features.column_types import ColumnType, infer_column_types
from leanrec.features.embedding import StaticEmbedding
from leanrec.features.numeric import QuantileBins
from leanrec.features.reduction import FittedTruncatedSVD, TruncatedSVD
from leanrec.features.selection import FeatureSelector, FittedFeatureSelector
from leanrec.features.temporal import RecencyDecay, TimeOfDay
from leanrec.features.text import HashedText, TfIdf
from leanrec.features.topics import TopicModel
from leanrec.run import Run
from leanrec.settings import check_one_of, check_settings, setting
from leanrec.types import CSR, Int32Array

__all__ = [
    "TEXT_FEATURES",
    "BlockReport",
    "FeatureBlock",
    "FeatureSpec",
    "FittedFeatureBlock",
    "FittedFeatures",
    "default_text_feature",
]

TEXT_FEATURES = ("tfidf", "hashing", "nmf", "lda", "embedding")


def default_text_feature(name: str) -> Feature:
    """The text feature of a name in ``TEXT_FEATURES``, with its default settings."""
    check_one_of("text", name, TEXT_FEATURES)
    kinds: dict[str, Feature] = {
        "tfidf": TfIdf(),
        "hashing": HashedText(),
        "nmf": TopicModel(method="nmf"),
        "lda": TopicModel(method="lda"),
        "embedding": StaticEmbedding(),
    }
    return kinds[name]


@dataclasses.dataclass(frozen=True)
class FeatureBlock:
    """One feature of one column.

    Attributes:
        column: name of the column.
        feature: settings of the feature to compute from it.
    """

    column: str
    feature: Feature
    weight: float = setting(
        1.0,
        at_least=0,
        doc=(
            "Factor on the block. A row of text, labels or a category has unit length before it, so that a long text does "
            "not outweigh the genres."
        ),
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class FeatureSpec:
    """The features to compute from a table."""

    blocks: tuple[FeatureBlock, ...] = setting(
        (), doc="Features of each column; () = inferred from each column, and reported."
    )
    columns: tuple[str, ...] = setting((), doc="Columns to infer features from; () = all.")
    text: Feature | None = setting(None, doc="Feature of a column of text; None = ``TfIdf()``.")
    select: FeatureSelector | None = setting(None, doc="Feature selection; None = all features are kept.")
    reduce: TruncatedSVD | None = setting(None, doc="Reduction to dense dimensions; None = the features stay sparse.")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.blocks and (self.columns or self.text is not None):
            raise SettingError(
                "columns and text control inference, so they must not be set where blocks are given. Drop one or the other."
            )

    def fit(self, table: Table, run: Run = Run(), *, groups: Int32Array | None = None) -> "FittedFeatures":
        """Fit every feature. Raises ColumnError if a named column is missing or no column is usable.

        Args:
            table: n rows.
            run: seed, threads and memory.
            groups: (n,) the group of each row, for a selection by mutual information.
        """
        run.require_memory(_estimate_memory(table), f"Features of {len(table)} rows")
        inferred, blocks = self._choose_blocks(table)
        fitted = tuple(
            FittedFeatureBlock(b.column, b.weight, b.feature.fit(table.columns[b.column], run)) for b in blocks
        )
        features = FittedFeatures(self, fitted, inferred)
        if self.select is not None:
            chosen = self.select.fit(features.transform(table), features.names, groups)
            features = dataclasses.replace(features, selection=chosen)
        if self.reduce is not None:
            fewer = self.reduce.fit(features.transform(table), features.names, run)
            features = dataclasses.replace(features, reduction=fewer)
        return features

    def _choose_blocks(self, table: Table) -> tuple[tuple[ColumnType, ...], tuple[FeatureBlock, ...]]:
        wanted = tuple(block.column for block in self.blocks) or self.columns or tuple(table.columns)
        missing = [name for name in wanted if name not in table.columns]
        if missing:
            raise ColumnError(
                f"The table must have the column {missing[0]!r}. It has {', '.join(table.columns) or 'none'}."
            )
        if self.blocks:
            return (), self.blocks
        inferred = infer_column_types(Table({name: table.columns[name] for name in wanted}))
        blocks = tuple(block for kind in inferred for block in _default_blocks(kind, self.text or TfIdf()))
        if not blocks:
            why = "; ".join(f"{kind.column}: {kind.reason}" for kind in inferred) or "it has no column"
            raise ColumnError(f"The table must have a usable column. It has none ({why}).")
        return inferred, blocks


@dataclasses.dataclass(frozen=True, eq=False)
class FittedFeatureBlock:
    """One fitted feature of one column.

    Attributes:
        column: name of the column.
        weight: factor on the block.
        fitted: the feature.
    """

    column: str
    weight: float
    fitted: FittedFeature

    def transform(self, column: Column) -> CSR:
        """(n, F) weighted."""
        return to_csr(self.fitted.transform(column) * np.float32(self.weight))


class BlockReport(NamedTuple):
    """The features of one column.

    Attributes:
        column: name of the column.
        kind: class of the fitted feature, or "dropped".
        features: number of features.
        weight: factor on them.
        reason: why the column has this feature, or none.
    """

    column: str
    kind: str
    features: int
    weight: float
    reason: str


@dataclasses.dataclass(frozen=True, eq=False)
class FittedFeatures:
    """A fitted FeatureSpec.

    Attributes:
        spec: settings of the fit.
        blocks: the fitted features, in the order of their columns in the result.
        inferred: inferred type of each column; () where the spec names the blocks.
        selection: the fitted selection; None = all features are kept.
        reduction: the fitted reduction; None = the features stay sparse.
    """

    spec: FeatureSpec
    blocks: tuple[FittedFeatureBlock, ...]
    inferred: tuple[ColumnType, ...] = ()
    selection: FittedFeatureSelector | None = None
    reduction: FittedTruncatedSVD | None = None

    def __post_init__(self) -> None:
        # A saved one holds plain tuples.
        object.__setattr__(self, "inferred", tuple(ColumnType(*each) for each in self.inferred))

    def check_state(self) -> None:
        """Raise DataError unless selection and reduction are of the features of the blocks."""
        n_features = sum(len(block.fitted.names) for block in self.blocks)
        for step in (self.selection, self.reduction):
            if step is not None and len(step.names) != n_features:
                raise DataError(f"Selection and reduction must be of the {n_features} features. Got {len(step.names)}.")
            if step is self.selection and self.selection is not None:
                n_features = int(self.selection.kept.sum())

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """(F,) names of the features, such as ``genres: space``."""
        if self.reduction is not None:
            return self.reduction.labels
        names = [f"{block.column}: {name}" for block in self.blocks for name in block.fitted.names]
        if self.selection is None:
            return tuple(names)
        return tuple(name for name, kept in zip(names, self.selection.kept.tolist(), strict=True) if kept)

    def transform(self, table: Table) -> CSR:
        """(n, F) float32: a row depends only on its own cells; an absent column counts as missing cells.

        Raises ColumnError if the table has none of the columns. O(cells).
        """
        X = self.transform_sparse(table)
        return X if self.reduction is None else to_csr(self.reduction.apply(X))

    def transform_sparse(self, table: Table) -> CSR:
        """(n, F) before the reduction: each feature is a word, a label or the like."""
        wanted = list(dict.fromkeys(block.column for block in self.blocks))
        if not any(name in table.columns for name in wanted):
            raise ColumnError(
                f"The table must have at least one of the columns {', '.join(wanted)}. "
                f"It has {', '.join(table.columns) or 'none'}."
            )
        nothing = np.zeros(len(table), dtype=np.dtypes.StringDType())
        parts = [block.transform(table.columns.get(block.column, nothing)) for block in self.blocks]
        X = to_csr(sp.hstack(parts, format="csr"))
        return X if self.selection is None else to_csr(self.selection.apply(X))

    def report(self) -> list[BlockReport]:
        """For each column, dropped ones included: its features, their number, their weight and the reason."""
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


def _default_blocks(kind: ColumnType, text: Feature) -> tuple[FeatureBlock, ...]:
    """Default features of a column. Numbers and times have lower weights, since they describe an item less well than words."""
    if kind.kind == "time":
        return FeatureBlock(kind.column, RecencyDecay(), 0.25), FeatureBlock(kind.column, TimeOfDay(), 0.1)
    made: dict[str, FeatureBlock] = {
        "text": FeatureBlock(kind.column, text),
        "category": FeatureBlock(kind.column, OneHotEncoder()),
        "labels": FeatureBlock(kind.column, MultiLabelEncoder()),
        "number": FeatureBlock(kind.column, QuantileBins(), 0.5),
    }
    return (made[kind.kind],) if kind.kind in made else ()


def _estimate_memory(table: Table) -> int:
    """Bytes that fitting features takes: tokens, their counts and their weights are about 16 for each character of text."""
    texts = [column for column in table.columns.values() if column.dtype.kind not in "fiubM"]
    characters = sum(int(np.strings.str_len(column.astype(np.dtypes.StringDType())).sum()) for column in texts)
    return 16 * characters + 64 * len(table) * len(table.columns)
