"""The laws of every feature transformer. Its test subclasses ``FeatureContract``."""

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest

from leanrec import artifacts
from leanrec.data.table import Table
from leanrec.features.base import Feature, FittedFeature
from leanrec.features.pipeline import FeatureBlock, FeatureSpec, FittedFeatures
from leanrec.run import Run
from leanrec.types import CSR

STRINGS = np.dtypes.StringDType()


def texts(*cells: str) -> np.ndarray:
    return np.array(cells, dtype=STRINGS)


class FeatureContract:
    """Set the feature, a training column, and cells that were not in it."""

    feature: ClassVar[Any]
    column: ClassVar[Any]
    # A cell of the same type that is not in the training column.
    unseen: ClassVar[Any]
    # Whether an unseen cell gives a row of zeros, as a word or a category does.
    unseen_gives_zeros: ClassVar[bool] = True
    # Whether every row that is not zero has unit length.
    unit: ClassVar[bool] = True

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Any:
        return cls.feature.fit(cls.column, Run(seed=3, threads=1))

    @property
    def missing(self) -> Any:
        if self.column.dtype.kind == "T":
            return texts("", "")
        return np.full(2, "NaT" if self.column.dtype.kind == "M" else np.nan, dtype=self.column.dtype)

    def check(self, X: CSR, rows: int, fitted: Any) -> None:
        assert X.shape == (rows, len(fitted.names))
        assert X.dtype == np.float32
        assert X.indices.dtype == np.int32
        assert np.isfinite(X.data).all()
        assert (X.data != 0).all()

    def test_is_a_frozen_dataclass_of_settings(self, fitted: Any) -> None:
        assert isinstance(self.feature, Feature)
        assert isinstance(fitted, FittedFeature)
        for value in (self.feature, fitted):
            with pytest.raises(dataclasses.FrozenInstanceError):
                value.settings = 1
        assert dataclasses.replace(self.feature) == self.feature
        assert fitted.settings == self.feature

    def test_has_a_row_for_each_cell_and_a_name_for_each_column(self, fitted: Any) -> None:
        X = fitted.transform(self.column)
        self.check(X, len(self.column), fitted)
        assert X.nnz > 0
        assert all(isinstance(name, str) and name for name in fitted.names)
        assert len(set(fitted.names)) == len(fitted.names)

    def test_a_row_alone_is_the_row_in_the_batch(self, fitted: Any) -> None:
        """Serving transforms one item at a time; it must get what training got."""
        X = fitted.transform(self.column)
        for row in range(len(self.column)):
            alone = fitted.transform(self.column[row : row + 1])
            np.testing.assert_allclose(alone.toarray(), X[[row]].toarray(), rtol=1e-5, atol=1e-6)

    def test_order_of_the_rows_changes_nothing(self, fitted: Any) -> None:
        backwards = fitted.transform(self.column[::-1])
        np.testing.assert_allclose(
            backwards.toarray()[::-1], fitted.transform(self.column).toarray(), rtol=1e-5, atol=1e-6
        )

    def test_rows_have_unit_length(self, fitted: Any) -> None:
        if self.unit:
            X = fitted.transform(self.column)
            lengths = np.sqrt(X.multiply(X).sum(axis=1))
            np.testing.assert_allclose(lengths[lengths > 0], 1, rtol=1e-5)

    def test_unseen_values_are_no_error(self, fitted: Any) -> None:
        X = fitted.transform(self.unseen)
        self.check(X, len(self.unseen), fitted)
        if self.unseen_gives_zeros:
            assert X.nnz == 0

    def test_missing_values_are_no_error(self, fitted: Any) -> None:
        X = fitted.transform(self.missing)
        self.check(X, 2, fitted)
        values = [column for column, name in enumerate(fitted.names) if name != "missing"]
        assert X[:, values].nnz == 0

    def test_a_column_that_is_not_there_counts_as_missing(self, fitted: Any) -> None:
        nothing = fitted.transform(texts("", ""))
        np.testing.assert_array_equal(nothing.toarray(), fitted.transform(self.missing).toarray())

    def test_no_row(self, fitted: Any) -> None:
        self.check(fitted.transform(self.column[:0]), 0, fitted)

    def test_fits_a_column_without_rows(self) -> None:
        fitted = self.feature.fit(self.column[:0])
        self.check(fitted.transform(self.column), len(self.column), fitted)

    def test_fits_a_column_without_values(self) -> None:
        fitted = self.feature.fit(self.missing)
        self.check(fitted.transform(self.column), len(self.column), fitted)
        self.check(fitted.transform(self.missing), 2, fitted)

    def test_any_script_is_no_error(self) -> None:
        column = texts("机器学习|数学", "машинное обучение", "תוכנה", "ภาษาไทย", "हिन्दी", "😀👍🏽", "a\x00b", "\u200d")
        fitted = self.feature.fit(column)
        self.check(fitted.transform(column), len(column), fitted)

    def test_survives_saving(self, fitted: Any, tmp_path: Any) -> None:
        loaded = artifacts.load(artifacts.save(fitted, tmp_path / "feature"), type(fitted))
        np.testing.assert_array_equal(loaded.transform(self.column).toarray(), fitted.transform(self.column).toarray())
        assert loaded.names == fitted.names
        assert loaded.settings == self.feature

    def test_same_seed_same_features(self, fitted: Any) -> None:
        again = self.feature.fit(self.column, Run(seed=3, threads=1))
        np.testing.assert_array_equal(again.transform(self.column).toarray(), fitted.transform(self.column).toarray())

    def test_works_in_the_pipeline(self, fitted: Any, tmp_path: Any) -> None:
        table = Table({"it": self.column})
        features = FeatureSpec(blocks=(FeatureBlock("it", self.feature, 0.5),)).fit(table, Run(seed=3, threads=1))
        X = features.transform(table)
        np.testing.assert_allclose(X.toarray(), 0.5 * fitted.transform(self.column).toarray(), rtol=1e-6)
        assert features.names == tuple(f"it: {name}" for name in fitted.names)
        loaded = artifacts.load(artifacts.save(features, tmp_path / "features"), FittedFeatures)
        np.testing.assert_array_equal(loaded.transform(table).toarray(), X.toarray())
        assert loaded.spec == features.spec
