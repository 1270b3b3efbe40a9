"""Snapshots of model and catalog."""

from pathlib import Path

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.data.vocabulary import Vocabulary, id_array
from leanrec.errors import SettingError
from leanrec.models import get_model
from leanrec.pipeline.catalog import Catalog
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.snapshot import Snapshot
from leanrec.retrieval import approximate
from leanrec.retrieval.approximate import ApproximateRetriever
from leanrec.run import Run


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


def test_an_approximate_pipeline_is_loaded_with_its_index_and_keeps_it_as_items_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approximate, "_MAX_SCANNED", 1.0)
    data = make_dataset(n_users=80, n_items=400, per_user=50)
    pipeline = Pipeline.fit(get_model("ials")(embedding_dim=2), data, Run(threads=1), retrieval="approximate")
    assert pipeline.provenance["retrieval"]["used"] == "approximate"
    loaded = Pipeline.load(pipeline.save(tmp_path / "model"))
    assert pipeline.recall_watch is not None
    assert loaded.recall_watch is not None
    users = data.users.ids.tolist()
    lists = [[(item.id, item.score) for item in each.recommend(users[5]).items] for each in (pipeline, loaded)]
    assert lists[0] == lists[1]
    loaded.start_learning()
    loaded.add_items([9_001], Table({}))
    assert len(loaded.catalog) == 401
    assert isinstance(loaded._snapshot.stages.retriever, ApproximateRetriever)
    assert loaded._snapshot.stages.retriever._is_usable
    assert [item.id for item in loaded.recommend(users[5]).items] == [item for item, _ in lists[0]]
    again = Pipeline.load(loaded.save(tmp_path / "longer"))
    assert again.recall_watch is not None
    assert [item.id for item in again.recommend(users[5]).items] == [item for item, _ in lists[0]]


def test_an_updated_model_is_searched_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "_MAX_SCANNED", 1.0)
    data = make_dataset(n_users=80, n_items=400, per_user=50)
    pipeline = Pipeline.fit(get_model("ials")(embedding_dim=2), data, Run(threads=1), retrieval="approximate")
    assert isinstance(pipeline._snapshot.stages.retriever, ApproximateRetriever)
    pipeline.use_updated(pipeline.fitted_scorers[0])
    assert not isinstance(pipeline._snapshot.stages.retriever, ApproximateRetriever)


def test_other_retrievals_have_no_index() -> None:
    data = make_dataset()
    assert Pipeline.fit(get_model("popularity")(), data).recall_watch is None
    with pytest.raises(SettingError, match="retrieval must be one of"):
        Pipeline.fit(get_model("popularity")(), data, retrieval="fast")
