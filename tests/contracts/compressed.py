"""The laws of a plain model, which hold for one that is compressed by a method."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from contracts.estimator import EstimatorContract
from contracts.fitting import fit_once
from leanrec import artifacts
from leanrec.compression.methods import count_parts
from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.run import Run

_RUN = Run(seed=3, threads=1)


@dataclasses.dataclass(frozen=True)
class CompressedEstimator:
    """An estimator whose model is compressed by a method."""

    estimator: Any
    method: Any

    def fit(self, data: Dataset, run: Run = _RUN) -> Any:
        return self.method.compress(fit_once(self.estimator, data, run), data, run)

    def fit_bytes(self, shape: DatasetShape) -> int:
        return 2 * int(self.estimator.fit_bytes(shape))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.estimator, name)


class CompressedContract(EstimatorContract):
    """Subclass it with a `CompressedEstimator`."""

    estimator: ClassVar[Any]

    def test_refuses_a_fit_that_exceeds_the_memory(self, dataset: Dataset) -> None:
        """A law of the plain estimator alone."""

    def test_survives_saving(self, model: Any, dataset: Dataset, tmp_path: Any) -> None:
        loaded = artifacts.load(artifacts.save(model, tmp_path / "model"), type(model))
        assert type(loaded) is type(model)
        np.testing.assert_array_equal(loaded.score(dataset.queries()), model.score(dataset.queries()))
        assert loaded.settings == self.estimator.estimator

    def test_takes_the_bytes_that_were_estimated(self, model: Any, dataset: Dataset) -> None:
        n_bytes = sum(count_parts(model).values())
        plain = fit_once(self.estimator.estimator, dataset, self.run)
        assert n_bytes <= self.estimator.method.estimate_bytes(plain) <= 1.02 * n_bytes + 64
