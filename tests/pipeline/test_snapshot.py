"""Snapshots of model and catalog."""

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.models import get_model
from leanrec.pipeline.catalog import Catalog
from leanrec.pipeline.snapshot import Snapshot


def test_unit_embeddings_have_length_one_or_are_none(dataset: Dataset) -> None:
    catalog = Catalog(dataset.items)
    embedder = Snapshot(get_model("pure_svd")().fit(dataset), None, catalog)
    assert embedder.unit_embeddings is not None
    np.testing.assert_allclose(np.linalg.norm(embedder.unit_embeddings, axis=1), 1, rtol=1e-5)
    assert Snapshot(get_model("ease")().fit(dataset), None, catalog).unit_embeddings is None


def test_only_a_model_that_explains_is_an_explainer(dataset: Dataset) -> None:
    ease = get_model("ease")().fit(dataset)
    assert Snapshot(ease, None, Catalog(dataset.items)).explainer is ease


def test_the_fallback_is_padded_to_the_items_of_the_catalog(dataset: Dataset) -> None:
    popularity = get_model("popularity")().fit(dataset)
    same = Snapshot(popularity, popularity, Catalog(dataset.items))
    assert same.padded_fallback is popularity
    more = Snapshot(popularity, popularity, Catalog(Vocabulary(id_array(range(43)))))
    assert more.padded_fallback is not None
    assert more.padded_fallback.n_items == 43
    assert Snapshot(popularity, None, Catalog(dataset.items)).padded_fallback is None
