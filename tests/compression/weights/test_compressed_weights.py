"""Models with packed weights: the laws of their models, their bytes, and what remains of their scores."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from contracts.estimator import EstimatorContract
from contracts.fitting import fit_once
from leanrec import artifacts
from leanrec.compression.methods import CompressionMethod, count_parts
from leanrec.compression.weights.compressed_weights import CompressedWeights, WeightCompression, pack
from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import SettingError
from leanrec.models import get_model
from leanrec.protocols import Explainable, Extendable, Scorer, Searcher, Updatable
from leanrec.run import Run
from leanrec.types import Queries

_RUN = Run(seed=3, threads=1)
MODELS: dict[str, dict[str, Any]] = {
    "ease": {"top_k": 12},
    "slim": {"n_neighbors": 15},
    "item_knn": {"n_neighbors": 15},
    "rp3": {},
    "local_regression": {},
    "sansa": {"n_neighbors": 20},
    "asymmetric_cosine": {},
    "gf_cf": {"top_k": 20},
}


@dataclasses.dataclass(frozen=True)
class Packed:
    """An estimator whose model is packed."""

    estimator: Any

    def fit(self, data: Dataset, run: Run = _RUN) -> Any:
        return pack(fit_once(self.estimator, data, run), value_bits=8)

    def fit_bytes(self, shape: DatasetShape) -> int:
        return int(self.estimator.fit_bytes(shape))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.estimator, name)


class PackedContract(EstimatorContract):
    """The laws of a plain model, which hold for one that is packed."""

    def test_refuses_a_fit_that_exceeds_the_memory(self, dataset: Dataset) -> None:
        """A law of the plain estimator alone."""

    def test_survives_saving(self, model: Any, dataset: Dataset, tmp_path: Any) -> None:
        loaded = artifacts.load(artifacts.save(model, tmp_path / "model"), type(model))
        assert type(loaded) is type(model)
        np.testing.assert_array_equal(loaded.score(dataset.queries()), model.score(dataset.queries()))
        assert loaded.settings == self.estimator.estimator


class TestPackedEASE(PackedContract):
    estimator: ClassVar[Any] = Packed(get_model("ease")(**MODELS["ease"]))


class TestPackedItemKNN(PackedContract):
    estimator: ClassVar[Any] = Packed(get_model("item_knn")(n_neighbors=15, by="content"))
    min_recall = 0.05


class TestPackedSANSA(PackedContract):
    estimator: ClassVar[Any] = Packed(get_model("sansa")(**MODELS["sansa"]))


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, dataset: Dataset) -> Any:
    return fit_once(get_model(request.param)(**MODELS[request.param]), dataset, _RUN)


def test_every_model_with_sparse_weights_keeps_its_scores_and_powers(model: Any, dataset: Dataset) -> None:
    packed, queries = pack(model, value_bits=8), dataset.queries()
    assert isinstance(packed, Searcher)
    for power in (Explainable, Extendable, Updatable):
        assert isinstance(packed, power) == isinstance(model, power), power
    scores, expected = packed.score(queries), model.score(queries)
    assert packed.n_items == model.n_items
    assert np.linalg.norm(scores - expected) < 0.02 * np.linalg.norm(expected)
    np.testing.assert_allclose(packed.unpack().score(queries), scores, rtol=1e-4, atol=1e-5)
    chosen = np.array([3, 0, 3], np.int32)
    np.testing.assert_array_equal(packed.score(queries, chosen), scores[:, chosen])
    explained, plain = (each.explain(queries.block(0, 1), chosen)[0] for each in (packed, packed.unpack()))
    np.testing.assert_array_equal(explained.items, plain.items)
    np.testing.assert_array_equal(explained.weights, plain.weights)


def test_the_artifact_has_the_bytes_of_the_packed_rows(model: Any, tmp_path: Path) -> None:
    packed = pack(model)
    folder = artifacts.save(packed, tmp_path / "packed")
    tables = sum(table.nbytes for table in packed.tables.values())
    # A model with other arrays of the items keeps the row starts of its empty matrix.
    others = count_parts(packed.model)
    assert others.pop("weights.indptr", 0) <= (4 * (model.n_items + 1) if others.get("root") else 4)
    assert sum(count_parts(packed).values()) == tables + sum(count_parts(packed.model).values())
    assert sum(file.stat().st_size - 128 for file in folder.glob("*.npy")) == sum(count_parts(packed).values())


def test_a_process_holds_no_decoded_weights(dataset: Dataset) -> None:
    """Scores, lists and profiles are made from the packed rows: the model beside them has empty matrices."""
    packed = pack(fit_once(get_model("slim")(**MODELS["slim"]), dataset, _RUN))
    packed.score(dataset.queries())
    packed.search(dataset.queries(), 5)
    bare = packed._bare.weights
    assert bare.shape == (packed.n_items, packed.n_items)
    assert not bare.nnz
    assert bare.indptr.strides == (0,)


def test_an_update_has_the_weights_per_item_of_before(dataset: Dataset) -> None:
    method = WeightCompression(bytes_per_item=12)
    packed: Any = method.compress(fit_once(get_model("ease")(), dataset, _RUN), dataset)
    updated = packed.update(dataset, None, _RUN)
    assert isinstance(updated, CompressedWeights)
    assert updated.weights.nnz == packed.weights.nnz
    scores, before = updated.score(dataset.queries()), packed.score(dataset.queries())
    assert np.linalg.norm(scores - before) < 0.2 * np.linalg.norm(before)


def test_repeated_packing_does_not_drift(dataset: Dataset) -> None:
    model = fit_once(get_model("item_knn")(**MODELS["item_knn"]), dataset, _RUN)
    packed = pack(model)
    first = packed.score(dataset.queries())
    for _ in range(10):
        packed = pack(packed.unpack())
    assert np.linalg.norm(packed.score(dataset.queries()) - first) < 0.02 * np.linalg.norm(first)


@pytest.mark.parametrize("limit", [0, 16])
def test_the_method_of_compression_keeps_its_bytes(limit: int, dataset: Dataset) -> None:
    model: Scorer = fit_once(get_model("local_regression")(), dataset, _RUN)
    method = WeightCompression(limit, value_bits=5)
    assert isinstance(method, CompressionMethod)
    compressed: Any = method.compress(model, dataset, _RUN)
    assert compressed.weights.nbytes <= method.estimate_bytes(model)
    assert not limit or compressed.weights.nbytes > 0.9 * limit * model.n_items
    query = Queries(np.array([-1], np.int32), dataset.interactions[[0]])
    assert np.isfinite(compressed.score(query)).all()


def test_a_model_without_sparse_weights_is_refused(dataset: Dataset) -> None:
    for name in ("ease", "popularity", "user_knn"):
        with pytest.raises(SettingError, match="item-item weights"):
            pack(fit_once(get_model(name)(), dataset, _RUN))
