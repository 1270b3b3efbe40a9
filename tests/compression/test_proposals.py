"""The methods that are proposed for a model within some bytes."""

from typing import Any

import numpy as np
import pytest

from leanrec.compression.compressed_encoder import EncoderCompression
from leanrec.compression.methods import count_parts
from leanrec.compression.proposals import propose_methods
from leanrec.data.dataset import Dataset
from leanrec.models import get_model
from leanrec.models.sequential.core.models import ITEM_TABLE, SequentialModel
from leanrec.run import Run

RUN = Run(seed=3, threads=1)


@pytest.mark.parametrize("name", ["ials", "pure_svd", "lightgcn", "bpr", "rating_mf", "ease", "item_knn", "slim"])
def test_proposals_keep_the_bytes_and_use_them(dataset: Dataset, name: str) -> None:
    sizes: dict[str, Any] = {} if name in {"ease", "item_knn", "slim"} else {"embedding_dim": 32}
    model = get_model(name)(**sizes).fit(dataset, RUN)
    size = sum(count_parts(model).values())
    limit = size / 3
    methods = propose_methods(model, limit)
    assert methods
    assert len({str(each) for each in methods}) == len(methods)
    sizes_made = [sum(count_parts(each.compress(model, dataset, RUN)).values()) for each in methods]
    # A small matrix has some bytes beside its rows.
    assert max(sizes_made) <= limit
    assert max(sizes_made) >= limit / 3


def test_the_layers_of_a_sequential_model_count(dataset: Dataset) -> None:
    settings: Any = get_model("gru4rec")(embedding_dim=16)
    rng = np.random.default_rng(4)
    shapes = settings.weight_shapes(4000).items()
    model = SequentialModel(settings, {name: rng.standard_normal(shape, np.float32) for name, shape in shapes})
    parts = count_parts(model)
    limit = sum(parts.values()) - parts[ITEM_TABLE] * 0.8
    methods = propose_methods(model, limit)
    assert {type(each) for each in methods} == {EncoderCompression}
    made = [
        sum(count_parts(each.compress(model, dataset, RUN)).values()) for each in methods if "half" not in str(each)
    ]
    assert limit / 2 <= max(made) <= limit


def test_nothing_is_proposed_where_nothing_is_known(dataset: Dataset) -> None:
    assert propose_methods(get_model("popularity")().fit(dataset), 1000) == ()
    assert propose_methods(get_model("ials")().fit(dataset), 10) == ()
