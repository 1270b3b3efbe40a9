"""A knowledge graph of items and entities, from triples and from the labels of the item table.

A label of an item table ("genres": "Crime|Drama") is a triple like any other: the item, the column, the label.
"""

import dataclasses
import functools
import re
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from leanrec.data.dataset import Dataset
from leanrec.data.links import ItemLinks
from leanrec.data.table import Table
from leanrec.errors import DataError
from leanrec.features.base import STRINGS, StringArray, to_texts
from leanrec.features.categorical import find_separator, split_labels
from leanrec.features.column_types import infer_column
from leanrec.field_checks import ArrayShape, SharedSizes, check_bounds, check_codes
from leanrec.types import Int32Array, Int64Array

__all__ = ["EntityNeighbors", "KnowledgeGraph", "build_knowledge_graph"]

_KINDS = ("labels", "category")
_TRIPLES = ""  # the namespace of entities that come from triples; those of labels have the name of their column


@dataclasses.dataclass(frozen=True, eq=False)
class EntityNeighbors:
    """Adjacency lists of a set of nodes.

    Attributes:
        indptr: (n + 1,) the links of node v are ``indptr[v]:indptr[v + 1]``.
        relation: (links,) int32, r where the node is the head of a triple, r + R where it is the tail.
        node: (links,) int32 an item row, or −1 − e for entity e.
    """

    indptr: Annotated[Int64Array, ArrayShape("n + 1")]
    relation: Annotated[Int32Array, ArrayShape("E")]
    node: Annotated[Int32Array, ArrayShape("E")]

    def check_state(self) -> None:
        """Raise DataError unless each node has a list."""
        check_bounds("EntityNeighbors.indptr", self.indptr, len(self.node))

    def neighbors(self, row: int) -> tuple[Int32Array, Int32Array]:
        """Relations and neighbors of one node."""
        part = slice(int(self.indptr[row]), int(self.indptr[row + 1]))
        return self.relation[part], self.node[part]

    def append(self, other: "EntityNeighbors") -> "EntityNeighbors":
        """The lists of these nodes followed by those of ``other``."""
        return EntityNeighbors(
            np.concatenate([self.indptr, self.indptr[-1] + other.indptr[1:]]),
            np.concatenate([self.relation, other.relation]),
            np.concatenate([self.node, other.node]),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class KnowledgeGraph:
    """N items and M entities, linked by R relations.

    Attributes:
        items: links of each item.
        entities: links of each entity.
        relations: (R,) StringDType names.
        names: (M,) StringDType names of the entities.
        spaces: (M,) StringDType: the column of an entity that is a label, "" for one of the triples.
        separators: column of labels → text between labels, "" where a cell is one label.
        titles: (N,) StringDType titles of the items where items are linked to items; else empty.
    """

    items: Annotated[EntityNeighbors, SharedSizes(N="n")]
    entities: Annotated[EntityNeighbors, SharedSizes(M="n")]
    relations: Annotated[StringArray, ArrayShape("R")]
    names: Annotated[StringArray, ArrayShape("M")]
    spaces: Annotated[StringArray, ArrayShape("M")]
    separators: dict[str, str]
    titles: StringArray

    def check_state(self) -> None:
        """Raise DataError unless the links are of these items, entities and relations."""
        n_items, n_entities = len(self.items.indptr) - 1, len(self.names)
        for side in (self.items, self.entities):
            check_codes("KnowledgeGraph.relation", side.relation, 2 * self.n_relations)
            check_codes("KnowledgeGraph.node", side.node, n_items, lowest=-n_entities)
        # Only links between items are described by their titles.
        if len(self.titles) != n_items and (len(self.titles) or self.items.node.max(initial=-1) >= 0):
            raise DataError(f"KnowledgeGraph.titles must have a title for each of the {n_items} items.")

    @property
    def n_relations(self) -> int:
        """R; codes of relations are below 2 R, the inverse relations included."""
        return len(self.relations)

    def describe_link(self, relation: int, node: int) -> str:
        """A link as text: "actor: Al Pacino", or "Al Pacino (acts in)" for the inverse relation."""
        entity = -1 - node
        name = str(self.names[entity] if entity >= 0 else self.titles[node])
        what = short_relation_name(str(self.relations[relation % self.n_relations]))
        return f"{what}: {name}" if relation < self.n_relations else f"{name} ({what})"

    def relation_name(self, relation: int) -> str:
        """The short name of a relation or of its inverse."""
        return short_relation_name(str(self.relations[relation % self.n_relations]))

    @functools.cached_property
    def _labels(self) -> dict[tuple[str, str], int]:
        pairs = zip(self.spaces.tolist(), self.names.tolist(), strict=True)
        return {pair: entity for entity, pair in enumerate(pairs) if pair[0] != _TRIPLES}

    def link_rows(self, table: Table) -> EntityNeighbors:
        """Links of the rows of a table to the known labels. O(cells)."""
        codes = {name: code for code, name in enumerate(self.relations.tolist())}
        rows: list[list[tuple[int, int]]] = [[] for _ in range(len(table))]
        for column, separator in self.separators.items():
            if column in table.columns:
                for row, labels in enumerate(_split_cells(table, column, separator)):
                    known = (self._labels.get((column, label)) for label in labels)
                    rows[row] += [(codes[column], -1 - entity) for entity in known if entity is not None]
        flat = [link for links in rows for link in links]
        indptr = np.concatenate([[0], np.cumsum([len(links) for links in rows])]).astype(np.int64)
        relation, node = (np.array(list(part), np.int32) for part in (zip(*flat, strict=True) if flat else ((), ())))
        return EntityNeighbors(indptr, relation, node)


def short_relation_name(name: str) -> str:
    """The last part of a relation's name: "film.film.actor" and "http://x/y#actor" are "actor"."""
    last = re.split(r"[./#:]", name.rstrip("./#:"))[-1] or name
    return last.replace("_", " ").strip() or name


def build_knowledge_graph(data: Dataset, *, labels: bool = True) -> KnowledgeGraph:
    """The graph of the triples of ``data``, and of the labels of its item table unless ``labels`` is False.

    Without either it has no link. Cost O(T log T + cells).
    """
    links = data.item_links if data.item_links is not None else ItemLinks.from_triples([])
    n = len(data.items)
    rows = links.rows(data.items)
    entity = np.cumsum(rows < 0) - 1
    code = np.where(rows >= 0, rows, n + entity)
    found = _read_labels(data.item_table) if labels and data.item_table is not None else _ItemLabels.empty()
    known = {name: relation for relation, name in enumerate(links.relations.tolist())}
    new = [column for column in found.separators if column not in known]
    known |= {column: len(known) + i for i, column in enumerate(new)}
    n_linked = int((rows < 0).sum())
    label_relation = np.array([known[column] for column in found.columns], np.int64)
    heads = np.concatenate([code[links.head], found.rows])
    relations = np.concatenate([links.relation, label_relation[found.codes] if len(found.codes) else found.codes])
    tails = np.concatenate([code[links.tail], n + n_linked + found.codes])
    near = _build_adjacency(heads, relations, tails, len(known), n + n_linked + len(found.columns))
    cut = int(near.indptr[n])
    node = np.where(near.node < n, near.node, n - 1 - near.node).astype(np.int32)
    return KnowledgeGraph(
        items=EntityNeighbors(near.indptr[: n + 1], near.relation[:cut], node[:cut]),
        entities=EntityNeighbors(near.indptr[n:] - cut, near.relation[cut:], node[cut:]),
        relations=np.array(list(known), STRINGS),
        names=np.concatenate([links.nodes.ids[rows < 0].astype(STRINGS), found.names]),
        spaces=np.array([_TRIPLES] * n_linked + list(found.columns), STRINGS),
        separators=found.separators,
        titles=_item_titles(data) if (node >= 0)[:cut].any() else np.zeros(0, STRINGS),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _ItemLabels:
    """Labels: item ``rows`` have the label ``codes``; a label has a column and a name."""

    rows: Int64Array
    codes: Int64Array
    columns: list[str]
    names: StringArray
    separators: dict[str, str]

    @classmethod
    def empty(cls) -> "_ItemLabels":
        empty = np.zeros(0, np.int64)
        return cls(empty, empty, [], np.zeros(0, STRINGS), {})


def _read_labels(table: Table) -> _ItemLabels:
    codes_by_label: dict[tuple[str, str], int] = {}
    rows: list[int] = []
    codes: list[int] = []
    separators: dict[str, str] = {}
    for column, cells in table.columns.items():
        kind = infer_column(column, cells).kind
        if kind in _KINDS and cells.dtype.kind == "T":
            separators[column] = (find_separator(to_texts(cells)) or "") if kind == "labels" else ""
            for row, labels in enumerate(_split_cells(table, column, separators[column])):
                rows += [row] * len(labels)
                codes += [codes_by_label.setdefault((column, label), len(codes_by_label)) for label in labels]
    names = np.array([name for _, name in codes_by_label], STRINGS)
    columns = [column for column, _ in codes_by_label]
    return _ItemLabels(np.array(rows, np.int64), np.array(codes, np.int64), columns, names, separators)


def _split_cells(table: Table, column: str, separator: str) -> list[list[str]]:
    """The distinct labels of each row."""
    texts = to_texts(table.columns[column])
    if not separator:
        return [[text.strip()] if text.strip() else [] for text in texts]
    return [list(dict.fromkeys(split_labels(text, separator))) for text in texts]


def _build_adjacency(
    heads: NDArray[np.integer], relations: NDArray[np.integer], tails: NDArray[np.integer], R: int, nodes: int
) -> EntityNeighbors:
    """The links of every node, in both directions."""
    start = np.concatenate([heads, tails]).astype(np.int64)
    order = np.argsort(start, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(start, minlength=nodes))]).astype(np.int64)
    relation = np.concatenate([relations, relations + R])[order].astype(np.int32)
    return EntityNeighbors(indptr, relation, np.concatenate([tails, heads])[order].astype(np.int32))


def _item_titles(data: Dataset) -> StringArray:
    table = data.item_table
    ids = [str(each) for each in data.items.ids.tolist()]
    if table is None or table.title is None:
        return np.array(ids, STRINGS)
    titles = table.columns[table.title].tolist()
    return np.array([title or id_ for title, id_ in zip(titles, ids, strict=True)], STRINGS)
