"""Knowledge graphs from triples and from the labels of an item table."""

import dataclasses

import numpy as np
import pytest

from conftest import make_dataset
from leanrec.data.dataset import Dataset
from leanrec.data.links import ItemLinks
from leanrec.data.table import Table
from leanrec.features.knowledge import build_knowledge_graph, short_relation_name

STRINGS = np.dtypes.StringDType()


@pytest.fixture
def data() -> Dataset:
    small = make_dataset(n_users=6, n_items=4, per_user=3)
    genres = np.array(["crime|drama", "drama", "crime|drama", "crime"], dtype=STRINGS)
    first = str(small.items.ids[0])
    triples = [(first, "film.actor", "pacino"), ("pacino", "film.born_in", "harlem")]
    return dataclasses.replace(small, item_table=Table({"genres": genres}), item_links=ItemLinks.from_triples(triples))


def links_of(graph: object, item: int) -> set[str]:
    relations, nodes = graph.items.neighbors(item)
    return {graph.describe_link(int(relation), int(node)) for relation, node in zip(relations, nodes, strict=True)}


def test_items_are_linked_by_triples_and_labels(data: Dataset) -> None:
    graph = build_knowledge_graph(data)
    assert links_of(graph, 0) == {"actor: pacino", "genres: crime", "genres: drama"}
    assert links_of(graph, 3) == {"genres: crime"}
    assert graph.n_relations == 3


def test_labels_are_optional(data: Dataset) -> None:
    graph = build_knowledge_graph(data, labels=False)
    assert links_of(graph, 0) == {"actor: pacino"}
    assert links_of(graph, 3) == set()


def test_every_link_has_an_inverse(data: Dataset) -> None:
    graph = build_knowledge_graph(data)
    inverse = {
        (int(node), -1 - entity, int(relation) - graph.n_relations)
        for entity in range(len(graph.names))
        for relation, node in zip(*graph.entities.neighbors(entity), strict=True)
        if node >= 0
    }
    direct = {
        (item, int(node), int(relation))
        for item in range(4)
        for relation, node in zip(*graph.items.neighbors(item), strict=True)
    }
    assert inverse == direct


def test_new_rows_are_linked_by_known_labels(data: Dataset) -> None:
    graph = build_knowledge_graph(data)
    found = graph.link_rows(Table({"genres": np.array(["drama|unheard of", ""], dtype=STRINGS)}))
    relations, nodes = found.neighbors(0)
    assert [graph.describe_link(int(relations[0]), int(nodes[0]))] == ["genres: drama"]
    assert len(found.neighbors(1)[0]) == 0
    assert len(graph.items.append(found).indptr) == 4 + 2 + 1


def test_without_links_and_labels_the_graph_is_empty() -> None:
    graph = build_knowledge_graph(dataclasses.replace(make_dataset(n_users=6, n_items=4, per_user=3), item_table=None))
    assert len(graph.names) == 0
    assert len(graph.items.node) == 0


@pytest.mark.parametrize(
    ("name", "short"), [("film.film.actor", "actor"), ("http://x/y#born_in", "born in"), ("actor", "actor"), ("", "")]
)
def test_relation_names_are_shortened(name: str, short: str) -> None:
    assert short_relation_name(name) == short
