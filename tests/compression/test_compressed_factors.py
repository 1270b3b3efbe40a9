"""Compressed models of item embeddings: the laws of their models, and those of compression."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from conftest import make_dataset
from contracts.estimator import EstimatorContract
from contracts.fitting import fit_once
from contracts.rating import RatingContract
from contracts.updatable import find_changed, grow
from leanrec import artifacts
from leanrec.compression import HalfCodec, ScalarCodec, compress_factors
from leanrec.compression.methods import count_parts
from leanrec.compression.vectors.mapped import MappedCodec
from leanrec.data import load_sample
from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.errors import SettingError
from leanrec.kernels.topk.selection import top_k
from leanrec.models import IALS, get_model
from leanrec.protocols import (
    Embedder,
    Explainable,
    Extendable,
    ItemComparer,
    OffsetEmbedder,
    RatingPredictor,
    Scorer,
    Searcher,
    SimilarityEmbedder,
    SparseScorer,
    Updatable,
)
from leanrec.retrieval.exact import ExactRetriever
from leanrec.run import Run
from leanrec.types import Queries, empty_csr

_RUN = Run(seed=3, threads=1)
MODELS = {
    "ials": {"embedding_dim": 16},
    "pure_svd": {"embedding_dim": 12},
    "lightgcn": {"embedding_dim": 16, "epochs": 8},
    "lightgcn with users": {"embedding_dim": 16, "epochs": 8, "learn_user_embeddings": True},
    "ultragcn": {"embedding_dim": 16, "epochs": 4},
    "xsimgcl": {"embedding_dim": 16, "epochs": 4},
    "bpr": {"embedding_dim": 16, "epochs": 20, "learning_rate": 0.1},
    "bpr by popularity": {"embedding_dim": 16, "epochs": 8, "sampler": "popularity"},
    "rating_mf": {"embedding_dim": 8, "l2": 0.5},
}


def build(name: str) -> Any:
    return get_model(name.partition(" ")[0])(**MODELS[name])


@dataclasses.dataclass(frozen=True)
class Compressed:
    """An estimator whose model is compressed."""

    estimator: Any
    codec: Any

    def fit(self, data: Dataset, run: Run = _RUN) -> Any:
        return compress_factors(fit_once(self.estimator, data, run), self.codec, seed=run.seed)

    def fit_bytes(self, shape: DatasetShape) -> int:
        return int(self.estimator.fit_bytes(shape)) + 8 * self.estimator.embedding_dim * (shape.users + shape.items)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.estimator, name)


class CompressedContract(EstimatorContract):
    """The laws of a plain model, which hold for one that is compressed."""

    estimator: ClassVar[Any]

    def test_refuses_a_fit_that_exceeds_the_memory(self, dataset: Dataset) -> None:
        """A law of the plain estimator alone."""

    def test_survives_saving(self, model: Any, dataset: Dataset, tmp_path: Any) -> None:
        loaded = artifacts.load(artifacts.save(model, tmp_path / "model"), type(model))
        assert type(loaded) is type(model)
        np.testing.assert_array_equal(loaded.score(dataset.queries()), model.score(dataset.queries()))
        assert loaded.settings == self.estimator.estimator


class TestCompressedIALS(CompressedContract):
    estimator = Compressed(build("ials"), ScalarCodec(bits=4))


class TestExactIALS(CompressedContract):
    estimator = Compressed(build("ials"), MappedCodec(bits=4))


class TestCompressedPureSVD(CompressedContract):
    estimator = Compressed(build("pure_svd"), ScalarCodec(bits=8))


class TestCompressedLightGCN(CompressedContract):
    estimator = Compressed(build("lightgcn"), HalfCodec())


class TestCompressedBPR(CompressedContract):
    estimator = Compressed(build("bpr"), ScalarCodec(bits=6))


class TestCompressedRatingMF(RatingContract, CompressedContract):
    estimator = Compressed(build("rating_mf"), ScalarCodec(bits=6))
    min_recall = 0.3

    def test_an_empty_history_predicts_the_baseline_of_the_item(self, model: Any) -> None:
        empty = Queries(users=np.full(2, -1, np.int32), history=empty_csr(2, model.n_items))
        baseline, offsets = model.model.baseline, model.items.decode(np.array([0, 5]))[:, 1]
        expected = baseline.clip(np.float32(baseline.mean) + offsets)
        np.testing.assert_allclose(model.predict(empty, np.array([0, 5], np.int32)), expected, atol=1e-5)


@pytest.fixture(params=sorted(MODELS))
def plain(request: pytest.FixtureRequest, dataset: Dataset) -> Any:
    return fit_once(build(request.param), dataset, _RUN)


def test_half_precision_scores_and_explains_as_the_model(plain: Any, dataset: Dataset) -> None:
    compressed, queries = compress_factors(plain, HalfCodec()), dataset.queries()
    scores = plain.score(queries)
    atol = 5e-3 * float(np.abs(scores).max())
    np.testing.assert_allclose(compressed.score(queries), scores, rtol=0.02, atol=atol)
    strangers = dataclasses.replace(queries, users=np.full(len(queries), -1, np.int32))
    np.testing.assert_allclose(compressed.score(strangers), plain.score(strangers), rtol=0.02, atol=atol)
    query, items = queries.block(2, 3), np.array([3, 0, 7, 3], np.int32)
    for found, expected in zip(compressed.explain(query, items), plain.explain(query, items), strict=True):
        weights = dict(zip(expected.items.tolist(), expected.weights.tolist(), strict=True))
        wanted = [weights[item] for item in found.items.tolist()]
        np.testing.assert_allclose(found.weights, wanted, rtol=0.05, atol=0.01 * np.abs(wanted).max())
        assert found.reason == expected.reason


def test_keeps_the_powers_of_the_model(plain: Any) -> None:
    compressed = compress_factors(plain, ScalarCodec(bits=8))
    assert all(isinstance(compressed, each) for each in (Scorer, Embedder, Searcher, ItemComparer))
    for power in (Explainable, Updatable, Extendable, RatingPredictor, SparseScorer):
        assert isinstance(compressed, power) == isinstance(plain, power), power


def test_lists_are_those_of_the_scores(plain: Any, dataset: Dataset) -> None:
    compressed, queries = compress_factors(plain, ScalarCodec(bits=5)), dataset.queries()
    items, scores, has_no_evidence = compressed.search(queries, 6, seen=queries.history)
    _, expected = top_k(compressed.score(queries), 6, seen=queries.history)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    assert not has_no_evidence.any()
    assert (items >= 0).all()


def test_exact_lists_are_those_of_the_model(plain: Any, dataset: Dataset, tmp_path: Path) -> None:
    saved = artifacts.save(compress_factors(plain, MappedCodec(bits=3)), tmp_path / "model")
    compressed, queries = artifacts.load(saved), dataset.queries()
    strangers = dataclasses.replace(queries, users=np.full(len(queries), -1, np.int32))
    for each in (queries, strangers, queries.block(2, 3)):
        expected = ExactRetriever(plain).retrieve(each, 8)
        found = ExactRetriever(compressed).retrieve(each, 8)
        np.testing.assert_array_equal(found.items, expected.items)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-6)
    assert all(codes.coded is None for name, codes in compressed.tables.items() if name != "items")


def test_exact_lists_of_real_users() -> None:
    data = load_sample("ml-latest-small")
    plain = IALS(embedding_dim=64, epochs=3).fit(data, _RUN)
    compressed, queries = compress_factors(plain, MappedCodec(bits=4)), data.queries()
    expected = ExactRetriever(plain).retrieve(queries, 20).items
    np.testing.assert_array_equal(ExactRetriever(compressed).retrieve(queries, 20).items, expected)


def test_compares_items_as_their_vectors_do(plain: Any) -> None:
    compressed = compress_factors(plain, HalfCodec())
    vectors = plain.similarity_vectors() if isinstance(plain, SimilarityEmbedder) else plain.embed_items()
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(compressed.compare_items(5), unit @ unit[5], atol=2e-3)


def test_bytes_are_those_of_the_codes_and_sums(plain: Any, dataset: Dataset, tmp_path: Path) -> None:
    compressed = compress_factors(plain, ScalarCodec(bits=2))
    folder = artifacts.save(compressed, tmp_path / "model")
    files = sum(file.stat().st_size - 128 for file in folder.glob("*.npy"))
    assert files == sum(count_parts(compressed).values())
    tables = [plain.items, getattr(plain, "users", []), getattr(plain, "sources", [])]
    # The negatives that new users meet, where they cannot be drawn without the popularity of all items.
    negatives = 4 * 2000 * (getattr(plain.settings, "sampler", "") == "popularity")
    # Codes are in strips of 16 rows, a tile has 40 bytes of bounds, and an offset takes 3 bytes.
    offsets = 3 * len(plain.items) * isinstance(plain, OffsetEmbedder)
    assert files <= sum((len(table) + 15) * (4 + 2) + 40 for table in tables) + 128 + negatives + offsets


@pytest.mark.parametrize("name", ["ials", "pure_svd"])
def test_an_update_follows_that_of_the_model(name: str) -> None:
    small = make_dataset(25, 20, 6)
    grown = grow(small, 1, 60)
    plain, changed = fit_once(build(name), small, _RUN), find_changed(small, grown)
    compressed = compress_factors(plain, HalfCodec())
    before = compressed.score(small.queries())
    exact = compress_factors(plain, MappedCodec(bits=4))
    for which in (None, changed):
        updated = compressed.update(grown, which, _RUN)
        assert updated.n_items == len(grown.items)
        wanted = plain.update(grown, which, _RUN).score(grown.queries())
        np.testing.assert_allclose(updated.score(grown.queries()), wanted, atol=0.05 * np.abs(wanted).max())
        assert isinstance(updated, Explainable)
        found = exact.update(grown, which, _RUN).score(grown.queries())
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
    np.testing.assert_array_equal(compressed.score(small.queries()), before)


@pytest.mark.parametrize("name", ["bpr", "bpr by popularity"])
def test_bpr_trains_on_from_the_decoded_vectors(name: str) -> None:
    small = make_dataset(25, 20, 6)
    grown = grow(small, 1, 60)
    plain = fit_once(build(name), small, _RUN)
    updated = compress_factors(plain, HalfCodec()).update(grown, None, _RUN)
    wanted = plain.update(grown, None, _RUN)
    found, expected = updated.score(grown.queries()), wanted.score(grown.queries())
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    strangers = dataclasses.replace(grown.queries(), users=np.full(len(grown.users), -1, np.int32))
    assert np.corrcoef(updated.score(strangers).ravel(), wanted.score(strangers).ravel())[0, 1] > 0.99


def test_an_update_codes_only_the_items_that_changed() -> None:
    small = make_dataset(25, 20, 6)
    grown = grow(small, 1, 10)
    changed = find_changed(small, grown)
    compressed = compress_factors(fit_once(build("ials"), small, _RUN), ScalarCodec(bits=3))
    updated = compressed.update(grown, changed, _RUN)
    others = np.setdiff1d(np.arange(20), changed)
    np.testing.assert_array_equal(updated.items.read_levels()[0][others], compressed.items.read_levels()[0][others])
    assert len(others)


@pytest.mark.parametrize("name", ["ease", "popularity"])
def test_refuses_a_model_without_embeddings(name: str, dataset: Dataset) -> None:
    with pytest.raises(SettingError, match="item embeddings"):
        compress_factors(fit_once(get_model(name)(), dataset, _RUN), HalfCodec())
