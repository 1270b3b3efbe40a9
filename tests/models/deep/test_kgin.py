"""KGIN: the contract with labels and with triples, cold items, explanation paths, and a slow reference of the layers."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse as sp

from contracts.estimator import EstimatorContract, OddDataContract
from contracts.fitting import fit_once
from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.data.links import ItemLinks
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.features.knowledge import build_knowledge_graph
from leanrec.models.deep.kgin import KGIN, KGINModel
from leanrec.run import Run
from leanrec.types import Queries

SMALL = KGIN(embedding_dim=16, epochs=25, batch_size=128, n_negatives=32, learning_rate=0.01)
STRINGS = np.dtypes.StringDType()
ACTORS = ("Ann", "Bob", "Cid", "Dee")


class TestKGIN(EstimatorContract):
    """With the labels of the item table."""

    estimator: ClassVar[Any] = SMALL


def with_triples(data: Dataset) -> Dataset:
    """Actors match genres, actors belong to schools, and one film is the sequel of another."""
    triples = [(100 + i, "film.actor", ACTORS[i % 4]) for i in range(40)]
    triples += [(actor, "school", "east" if i % 2 else "west") for i, actor in enumerate(ACTORS)]
    triples += [(110, "sequel_of", 106), ("studio x", "made", 100), ("studio x", "made", 104)]
    assert data.item_table is not None
    title = {"title": data.item_table.columns["title"]}
    return dataclasses.replace(data, item_links=ItemLinks.from_triples(triples), item_table=Table(title))


class TestKGINWithTriples(EstimatorContract, OddDataContract):
    """With triples alone."""

    estimator: ClassVar[Any] = SMALL

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls, dataset: Dataset) -> Dataset:
        return with_triples(dataset)


@pytest.fixture(scope="module")
def linked(dataset: Dataset) -> Dataset:
    return with_triples(dataset)


@pytest.fixture(scope="module")
def model(linked: Dataset) -> KGINModel:
    return fit_once(SMALL, linked, Run(seed=3, threads=1))


def without_items(data: Dataset, items: list[int]) -> Dataset:
    """The data set without interactions of these items."""
    return data.with_events(data.events.take(~np.isin(data.events.item, items)))


def test_items_without_interactions_are_placed_by_their_triples(linked: Dataset) -> None:
    """Eight films lose all their events: users still prefer those whose actor plays in the genre they like."""
    cold = np.arange(16, 24, dtype=np.int32)
    model = SMALL.fit(without_items(linked, cold.tolist()), Run(seed=3, threads=1))
    queries = without_items(linked, cold.tolist()).queries()
    scores = model.score(queries, cold)
    liked = (cold[None, :] % 4) == (np.arange(60) % 4)[:, None]
    above = np.array([row[mine].mean() > row[~mine].mean() for row, mine in zip(scores, liked, strict=True)])
    assert above.mean() > 0.9
    # Without triples they are indistinguishable.
    bare = dataclasses.replace(without_items(linked, cold.tolist()), item_links=None)
    flat = SMALL.fit(bare, Run(seed=3, threads=1)).score(queries, cold)
    assert (flat.max(axis=1) == flat.min(axis=1)).all()


def test_knowledge_graph_helps_with_few_events(linked: Dataset) -> None:
    """With two events per user the actors add information."""
    first = np.concatenate([np.arange(start, start + 2) for start in linked.indptr[:-1]])
    few = linked.with_events(linked.events.take(first))
    rest = np.setdiff1d(np.arange(len(linked.events)), first)
    truth = linked.events.take(rest)

    def recall(data: Dataset) -> float:
        scores = SMALL.fit(data, Run(seed=3, threads=1)).score(data.queries())
        scores[data.seen.nonzero()] = -np.inf
        top = np.argsort(-scores, axis=1)[:, :10]
        return float((top[truth.user] == truth.item[:, None]).any(axis=1).mean())

    assert recall(few) > recall(dataclasses.replace(few, item_links=None)) + 0.05


def test_the_layers_are_the_sums_over_triples(model: KGINModel, linked: Dataset) -> None:
    """Slow reference: the mean of the messages over the links of an item."""
    links = linked.item_links
    assert links is not None
    rows, R = links.rows(linked.items), len(links.relations)
    entity = np.cumsum(rows < 0) - 1
    handed = [
        model.item_messages[row] if row >= 0 else model.entity_messages[entity[node]] for node, row in enumerate(rows)
    ]
    got: dict[int, list[np.ndarray]] = {}
    for head, relation, tail in zip(links.head, links.relation, links.tail, strict=True):
        got.setdefault(head, []).append(model.relations[relation] * handed[tail])
        got.setdefault(tail, []).append(model.relations[relation + R] * handed[head])
    cold = without_items(linked, [7])
    fitted = SMALL.fit(cold, Run(seed=3, threads=1))
    for node, row in enumerate(rows):
        if row >= 0:
            alone = sum(model._messages(*model.knowledge.items.neighbors(int(row))))
            np.testing.assert_allclose(np.mean(got[node], axis=0), alone, rtol=1e-4, atol=1e-5)
    # An item without interactions consists of its messages only.
    alone = sum(fitted._messages(*fitted.knowledge.items.neighbors(7)))
    np.testing.assert_allclose(fitted.items[7, :-1], alone, rtol=1e-4, atol=1e-5)
    assert fitted.items[7, -1] == fitted.unknown_bias[0]


def test_the_history_adds_up_to_the_score(model: KGINModel, linked: Dataset) -> None:
    queries = linked.queries(np.array([5], np.int32))
    for item in (3, 9, 21):
        why = model.explain(queries, np.array([item]))[0]
        assert why.weights.sum() + model.items[item, -1] == pytest.approx(
            float(model.score(queries)[0, item]), abs=1e-3
        )


def one(items: list[int], n: int) -> Queries:
    history = sp.csr_array((np.ones(len(items), np.float32), (np.zeros(len(items), int), items)), shape=(1, n))
    return Queries(users=np.array([-1], np.int32), history=history)


def test_path_names_the_shared_entity(model: KGINModel) -> None:
    why = model.explain(one([4, 5], model.n_items), np.array([8]))[0]
    assert why.paths
    assert why.paths[0].item == 4
    assert why.paths[0].through == "actor: Ann"
    assert why.features[0] == "actor: Ann"
    assert all(path.weight > 0 for path in why.paths)
    assert [path.weight for path in why.paths] == sorted((path.weight for path in why.paths), reverse=True)


def test_paths_over_items_and_backwards(model: KGINModel) -> None:
    gate = np.ones(model.relations.shape[1], np.float32)
    forced = dataclasses.replace(
        model,
        items=np.abs(model.items),
        item_messages=np.abs(model.item_messages),
        entity_messages=np.abs(model.entity_messages),
        relations=np.abs(model.relations),
    )
    assert {path.through for path in forced._find_paths({10: forced._find_links(10, gate)}, 6)} == {
        "actor: Cid",
        "sequel of",
    }
    assert {path.through for path in forced._find_paths({0: forced._find_links(0, gate)}, 4)} == {
        "actor: Ann",
        "studio x (made)",
    }
    assert forced._find_paths({1: forced._find_links(1, gate)}, 4) == ()


def test_new_items_use_labels_in_columns_named_like_relations(dataset: Dataset) -> None:
    """A new item has the vector of an item without interactions and with the same labels."""
    data = without_items(dataset, [9])
    model = SMALL.fit(data, Run(seed=3, threads=1))
    assert data.item_table is not None
    larger = model.extend(data.item_table.take(np.array([9])))
    np.testing.assert_allclose(larger.items[40], larger.items[9], rtol=1e-5, atol=1e-6)
    assert (
        larger.explain(one([5], 41), np.array([40]))[0].features
        == model.explain(one([5], 40), np.array([9]))[0].features
    )
    nothing = larger.extend(Table({"color": np.array(["red"], STRINGS)}))
    assert nothing.n_items == 42
    assert not nothing.items[41, :-1].any()


def test_labels_and_triples_join(linked: Dataset, dataset: Dataset) -> None:
    both = build_knowledge_graph(dataclasses.replace(linked, item_table=dataset.item_table))
    assert set(both.relations.tolist()) == {"film.actor", "school", "sequel_of", "made", "genres"}
    assert (
        both.describe_link(both.relations.tolist().index("genres"), -1 - both.names.tolist().index("drama"))
        == "genres: drama"
    )
    none = build_knowledge_graph(dataset, labels=False)
    assert not len(none.items.node)
    assert len(none.items.indptr) == 41


def test_relations_can_be_called_anything() -> None:
    data_names = {"film.film.actor": "actor", "http://x.org/p#has_part": "has part", "...": "...", "7": "7"}
    from leanrec.features.knowledge import short_relation_name

    assert {name: short_relation_name(name) for name in data_names} == data_names


def test_early_stopping_keeps_the_best_epoch(linked: Dataset) -> None:
    stopping = dataclasses.replace(SMALL, patience=2, epochs=40)
    model = stopping.fit(linked, Run(seed=3, threads=1))
    assert np.isfinite(model.score(linked.queries())).all()


def test_scoring_works_without_torch(model: KGINModel, tmp_path: Path) -> None:
    folder = artifacts.save(model, tmp_path / "model")
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'torch': raise ModuleNotFoundError('no torch', name='torch')\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from leanrec import artifacts;"
        f"m = artifacts.load({str(folder)!r}); print(m.items.shape[0], type(m).__name__)\n"
        "from leanrec.errors import MissingExtraError; from leanrec.data.datasets.bundled import load_sample\n"
        "try: m.settings.fit(load_sample())\nexcept MissingExtraError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    assert out[0] == "40 KGINModel"
    assert 'pip install "leanrec[deep]"' in out[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_layers", -1), ("n_intents", -1), ("node_dropout", 1.0), ("sampler", "batch"), ("pooling_exponent", 2.0)],
)
def test_settings_are_checked(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=name):
        KGIN(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("source", "item"), [(0, 4), (4, 8), (8, 4), (0, 8)])
def test_path_weights_add_up_to_the_score(model: KGINModel, source: int, item: int) -> None:
    """Where items consist of messages that are orthogonal between entities, only shared entities contribute."""
    neighbors, n_entities, dim = model.knowledge.items.neighbors, len(model.entity_messages), model.relations.shape[1]
    forced = dataclasses.replace(
        model,
        intents=np.zeros((0, dim), np.float32),
        item_messages=np.zeros_like(model.item_messages),
        entity_messages=np.eye(n_entities, dim, dtype=np.float32),
        relations=np.ones_like(model.relations),
    )
    vectors = np.zeros_like(model.items)
    for row in (source, item):
        vectors[row, :-1] = forced._messages(*neighbors(row)).sum(axis=0)
    forced = dataclasses.replace(forced, items=vectors)
    query = one([source], model.n_items)
    why = forced.explain(query, np.array([item]))[0]
    assert why.paths
    assert sum(path.weight for path in why.paths) == pytest.approx(float(forced.score(query)[0, item]), rel=1e-5)
