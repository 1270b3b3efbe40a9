"""Sequential models with coded item tables: the laws of the plain model on the decoded table and layers."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leanrec import artifacts
from leanrec.compression import CompressedEncoder, HalfCodec, ProductCodec, ScalarCodec, compress_encoder
from leanrec.compression.coded_network import CodedNetwork, count_layers
from leanrec.compression.compressed_encoder import EncoderCompression
from leanrec.compression.methods import count_parts
from leanrec.data.dataset import Dataset
from leanrec.errors import DataError, MissingExtraError, SettingError
from leanrec.kernels.topk.selection import top_k
from leanrec.models import get_model
from leanrec.models.sequential.core.item_content import ItemContent, fit_features
from leanrec.models.sequential.core.models import ITEM_TABLE, SequentialContentModel, SequentialModel
from leanrec.protocols import Extendable, ItemComparer, Searcher
from leanrec.run import Run

CODECS = [HalfCodec(), ScalarCodec(8), ScalarCodec(4), ProductCodec(4)]


def make_model(name: str, n_items: int) -> SequentialModel:
    """A model whose weights are random."""
    rng = np.random.default_rng(7)
    settings: Any = get_model(name)(embedding_dim=16, max_length=6)
    shapes = settings.weight_shapes(n_items)
    weights = {each: 0.3 * rng.standard_normal(shape, np.float32) for each, shape in shapes.items()}
    return SequentialModel(settings, weights | {ITEM_TABLE: rng.standard_normal((n_items, 16), np.float32)})


@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "bert4rec", "caser"])
@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_scores_are_those_of_the_model_of_the_decoded_table(name: str, codec: Any, dataset: Dataset) -> None:
    model = make_model(name, len(dataset.items))
    small = compress_encoder(model, codec, data=dataset)
    decoded = dataclasses.replace(model, weights={**small.model.weights, ITEM_TABLE: small.embed_items()})
    assert set(decoded.weights) == set(decoded.settings.weight_shapes(0))
    queries, items = dataset.queries(), np.array([5, 1, 9], np.int32)
    np.testing.assert_allclose(small.embed_queries(queries), decoded.embed_queries(queries), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(small.score(queries), decoded.score(queries), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(small.score(queries, items), decoded.score(queries, items), rtol=1e-4, atol=1e-4)
    one = queries.take(np.array([3]))
    for found, expected in zip(small.explain(one, items), decoded.explain(one, items), strict=True):
        np.testing.assert_allclose(np.sort(found.weights), np.sort(expected.weights), rtol=1e-3, atol=1e-4)


def test_a_search_leaves_out_what_was_seen(dataset: Dataset) -> None:
    small = compress_encoder(make_model("sasrec", len(dataset.items)), ScalarCodec(8))
    assert isinstance(small, Searcher)
    queries = dataset.queries()
    items, scores, is_unknown = small.search(queries, 5, seen=queries.history)
    expected = top_k(small.score(queries), 5, seen=queries.history)
    np.testing.assert_array_equal(items, expected[0])
    np.testing.assert_allclose(scores, expected[1], rtol=1e-4, atol=1e-4)
    assert not is_unknown.any()


def test_close_items_are_those_of_the_decoded_vectors(dataset: Dataset) -> None:
    small = compress_encoder(make_model("sasrec", len(dataset.items)), ScalarCodec(4))
    assert isinstance(small, ItemComparer)
    vectors = small.embed_items()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(small.compare_items(7), unit @ unit[7], rtol=1e-4, atol=1e-4)


def test_it_survives_saving_and_takes_the_bytes_that_were_estimated(dataset: Dataset, tmp_path: Path) -> None:
    model = make_model("sasrec", len(dataset.items))
    method = EncoderCompression(ScalarCodec(4))
    small = method.compress(model, dataset, Run(seed=1))
    loaded = artifacts.load(artifacts.save(small, tmp_path / "model"))
    assert isinstance(loaded, CompressedEncoder)
    np.testing.assert_array_equal(loaded.score(dataset.queries()), small.score(dataset.queries()))
    n_bytes = sum(count_parts(small).values())
    assert n_bytes <= method.estimate_bytes(model) <= 1.02 * n_bytes
    assert str(method) == str(ScalarCodec(4))


def test_new_items_are_coded_where_the_model_takes_them(dataset: Dataset) -> None:
    plain = make_model("sasrec", len(dataset.items))
    assert dataset.item_table is not None
    features = fit_features(dataset, "tfidf", Run(threads=1))
    projection = np.random.default_rng(2).standard_normal((len(features.names), 16), np.float32)
    model = SequentialContentModel(plain.settings, plain.weights, ItemContent(features, projection))
    small, table = compress_encoder(model, ScalarCodec(8)), dataset.item_table.take(np.arange(3))
    assert isinstance(small, Extendable)
    assert not isinstance(compress_encoder(plain, ScalarCodec(8)), Extendable)
    larger: Any = small.extend(table)
    assert larger.n_items == len(dataset.items) + 3
    np.testing.assert_array_equal(larger.embed_items()[:-3], small.embed_items())
    np.testing.assert_allclose(larger.embed_items()[-3:], model.content.embed_items(table), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("bits", [8, 32])
@pytest.mark.parametrize("name", ["sasrec", "caser", "hstu"])
def test_layers_keep_their_numbers_up_to_a_step_of_their_block(name: str, bits: int) -> None:
    model = make_model(name, 20)
    network = CodedNetwork.encode(model, bits)
    found = network.decode()
    found.check_state()
    assert sum(count_parts(network).values()) == count_layers(model.settings, bits)
    for weight, array in model.weights.items():
        if weight != ITEM_TABLE:
            # Of normal numbers of size 0.3, 256 levels for those up to 1.2.
            np.testing.assert_allclose(
                found.weights[weight], array, rtol=0, atol=0.012 if array.ndim > 1 and bits == 8 else 0
            )


def test_layers_of_other_settings_are_refused() -> None:
    network = CodedNetwork.encode(make_model("sasrec", 20), 8)
    other = dataclasses.replace(network, settings=dataclasses.replace(network.settings, n_layers=1))
    with pytest.raises(DataError, match="must have the weights of the network"):
        other.check_state()


def test_models_of_another_kind_are_refused(dataset: Dataset) -> None:
    model: Any = get_model("popularity")().fit(dataset)  # type: ignore[call-arg]
    with pytest.raises(SettingError, match="must be sequential"):
        EncoderCompression(HalfCodec()).compress(model, dataset)


def test_product_codes_are_trained_where_torch_is(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model("sasrec", len(dataset.items))
    (trained,) = EncoderCompression(ProductCodec(4)).refine(model)
    assert trained.epochs
    assert str(trained) != str(EncoderCompression(ProductCodec(4)))
    assert trained.refine(model) == ()
    assert EncoderCompression(ScalarCodec(8)).refine(model) == EncoderCompression(HalfCodec()).refine(model) == ()
    with pytest.raises(SettingError, match=r"must be a ScalarCodec or a ProductCodec\. Got half\. Set epochs=0"):
        EncoderCompression(HalfCodec(), epochs=1)
    # As without torch: an import of the module fails.
    monkeypatch.setattr("leanrec.compression.compressed_encoder.find_spec", lambda name: None)
    assert EncoderCompression(ProductCodec(4)).refine(model) == ()
    monkeypatch.delitem(sys.modules, "leanrec.compression.encoder_tuning", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match="Training of codes needs an optional package"):
        EncoderCompression(ProductCodec(4), epochs=1).compress(model, dataset)
