"""Codes that are trained on: the model comes nearer to the uncompressed one, the same for a seed, and keeps its powers."""

import functools
from typing import Any

import numpy as np
import pytest

from leanrec.compression import ProductCodec, ScalarCodec
from leanrec.compression.compressed_encoder import EncoderCompression
from leanrec.compression.methods import count_parts
from leanrec.data.dataset import Dataset
from leanrec.models import get_model
from leanrec.models.sequential.core.models import SequentialModel
from leanrec.protocols import Extendable, Scorer
from leanrec.run import Run

RUN = Run(seed=3, threads=1)


@functools.cache
def fit(name: str, dataset: Dataset, **changes: Any) -> SequentialModel:
    settings: Any = get_model(name)(embedding_dim=16, max_length=8, epochs=4, batch_size=256, dropout=0.1, **changes)
    model: SequentialModel = settings.fit(dataset, RUN)
    return model


def measure_distance(model: Scorer, other: Scorer, dataset: Dataset) -> float:
    """The mean divergence of the softmax of a model from that of another one."""
    first, second = (np.exp(each.score(dataset.queries()).astype(np.float64)) for each in (model, other))
    first, second = (each / each.sum(axis=1, keepdims=True) for each in (first, second))
    return float((first * np.log(first / second)).sum(axis=1).mean())


@pytest.mark.parametrize(
    ("name", "loss", "codec"),
    [
        ("sasrec", "cross_entropy", ProductCodec(3)),
        ("sasrec", "sampled_softmax", ProductCodec(3)),
        ("bert4rec", "cross_entropy", ProductCodec(3)),
        ("gru4rec", "gbce", ScalarCodec(2)),
    ],
    ids=str,
)
def test_the_scores_come_nearer_to_those_of_the_model(
    name: str, loss: str, codec: ProductCodec | ScalarCodec, dataset: Dataset
) -> None:
    model = fit(name, dataset, loss=loss)
    codes = EncoderCompression(codec).compress(model, dataset, RUN)
    trained = EncoderCompression(codec, epochs=40).compress(model, dataset, RUN)
    assert measure_distance(model, trained, dataset) < 0.98 * measure_distance(model, codes, dataset)
    assert count_parts(trained) == count_parts(codes)


def test_it_is_the_same_for_a_seed(dataset: Dataset) -> None:
    model = fit("sasrec", dataset, loss="cross_entropy")
    first, second, other = (
        EncoderCompression(ProductCodec(3), epochs=1).compress(model, dataset, run)
        for run in (RUN, RUN, Run(seed=4, threads=1))
    )
    queries = dataset.queries()
    np.testing.assert_array_equal(first.score(queries), second.score(queries))
    assert not np.array_equal(first.score(queries), other.score(queries))


def test_a_model_with_content_still_takes_new_items(dataset: Dataset) -> None:
    model = fit("sasrec", dataset, loss="cross_entropy", content="tfidf")
    small: Any = EncoderCompression(ScalarCodec(4), epochs=1).compress(model, dataset, RUN)
    assert isinstance(small, Extendable)
    assert dataset.item_table is not None
    larger: Any = small.extend(dataset.item_table.take(np.arange(2)))
    assert larger.n_items == len(dataset.items) + 2
    assert np.isfinite(larger.embed_items()).all()
