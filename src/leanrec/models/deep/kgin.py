"""KGIN: items are what they are tied to, and a taste is a mix of intents over relations.

Wang, Huang, Wang, Yuan, Liu, He & Chua, "Learning Intents behind Interactions with Knowledge Graph for Recommendation",
WWW 2021. Nobody has a vector of their own here: a taste is made of the history alone, and every item of a history is
asked for given the others, so that a new user is no other case than an old one.
"""

import dataclasses

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.data.table import Table
from leanrec.errors import MissingExtraError
from leanrec.features.base import STRINGS
from leanrec.features.knowledge import Knowledge, knowledge_of
from leanrec.kernels.sparse import dot_scores
from leanrec.models.deep.core.settings import HistorySettings
from leanrec.protocols import Explanation, Path, rank_contributions
from leanrec.run import Run
from leanrec.settings import check_at_least
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["KGIN", "KGINModel"]

_MOST_PATHS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class KGIN(HistorySettings):
    """The vector of a node is its own + what reaches it over ``layers`` links: x_v ← mean over (r, w) of e_r ⊙ x_w.

    A history h sums the vectors of its L items to s / L^damping; the scores are (s ⊙ g) · x_i + a bias, where the gate g is a
    mix of ``intents``, each a mix of relations. Without triples and labels nothing is left but the items' own vectors.

    Cost: an epoch O(E · (D + S) + steps · layers · T · D) for T links; a query O(L · D + N · D); the model 8 D (N + M) bytes
    for M entities.

    Attributes:
        intents: mixes of relations that a taste chooses from; 0 = no gate.
        labels: labels of the item table (genres, …) count as triples too.
    """

    intents: int = 4
    labels: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("intents", self.intents, 0)

    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> "KGINModel":
        """Learn from the histories and the triples of ``data``.

        With ``patience`` the score is NDCG@10 on ``valid``, or on the latest item of 5 % of the users, which is then left
        out of training. Raises MissingExtraError without torch.
        """
        try:
            from leanrec.models.deep.core.knowledge import fit_knowledge  # noqa: PLC0415 - answers need no torch
        except ImportError as error:
            raise MissingExtraError.from_import_error("The model 'kgin'", error) or error from error
        knowledge = knowledge_of(data, labels=self.labels)
        links, entities = len(knowledge.items.node) + len(knowledge.entities.node), len(knowledge.names)
        own = 4 * self.width * (16 * entities + 4 * (self.layers + 1) * links) if self.layers else 0
        run.require_memory(
            self.fit_bytes(data.shape) + own,
            f"KGIN of width {self.width} over {links:,} links",
            "Choose a smaller width or batch, or raise the limit.",
        )
        learnt = fit_knowledge(self, self.intents, data, knowledge, run, valid, self._model)
        return self._model(knowledge, learnt)

    def _model(self, knowledge: Knowledge, learnt: dict[str, Float32Array]) -> "KGINModel":
        return KGINModel(settings=self, knowledge=knowledge, **learnt)


@dataclasses.dataclass(frozen=True, eq=False)
class KGINModel:
    """A fitted KGIN.

    Attributes:
        settings: what it was fitted with.
        knowledge: what items and entities are tied to.
        items: (N, D + 1) float32 item vectors, their bias last.
        item_reach: (N, D) float32 what an item hands on over a link.
        entity_reach: (M, D) float32 the same for entities.
        relations: (2 R, D) float32 what a link lets through, in either direction.
        intents: (K, D) float32 gates that tastes choose from; K = 0 without.
        unknown: (1,) float32 the bias of an item that nobody touched.
    """

    settings: KGIN
    knowledge: Knowledge
    items: Float32Array
    item_reach: Float32Array
    entity_reach: Float32Array
    relations: Float32Array
    intents: Float32Array
    unknown: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D + 1): tastes, gated; the last cell is 1 for the bias. Zeros for an empty history."""
        gated, counts = self._tastes(queries.history)
        out = np.ones((len(queries), self.items.shape[1]), np.float32)
        out[:, :-1] = gated
        out[counts == 0] = 0
        return out

    def embed_items(self) -> Float32Array:
        """(N, D + 1), the bias last."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Tastes · item vectors + biases."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def _tastes(self, history: CSR) -> tuple[Float32Array, Int32Array]:
        """(B, D) and (B,) how many items each history has. What was touched counts, not how often."""
        counts = np.diff(history.indptr)
        ones = type(history)((np.ones(history.nnz, np.float32), history.indices, history.indptr), shape=history.shape)
        sums = np.asarray(ones @ self.items[:, :-1], np.float32)
        sums /= (np.maximum(counts, 1) ** np.float32(self.settings.length_exponent))[:, None].astype(np.float32)
        return sums * self._gate(sums), counts

    def _gate(self, tastes: Float32Array) -> Float32Array:
        """(B, D) the intents, by how well each fits; ones without."""
        if not len(self.intents):
            return np.ones_like(tastes)
        fit = tastes @ self.intents.T / np.float32(np.sqrt(self.intents.shape[1]))
        fit = np.exp(fit - fit.max(axis=1, keepdims=True))
        return np.asarray((fit / fit.sum(axis=1, keepdims=True)) @ self.intents, np.float32)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history by what each adds to the score, and the links that lead from them to ``item``.

        With the gate as it is the score is a sum over the history, so the weights are exact. A path's weight is what passes
        over it: (what the touched item gets over its link ⊙ gate) · (what ``item`` gets over its own).
        """
        history = queries.history[[0]].indices.astype(np.int32)
        vectors = self.items[:, :-1]
        pull = self._pull(history)
        added = vectors[history] @ (pull * vectors[item])
        ranked = rank_contributions(history, added)
        paths = self._paths(ranked.items, item, pull)
        features = tuple(dict.fromkeys(path.through for path in paths))
        return dataclasses.replace(ranked, features=features, paths=paths)

    def _pull(self, history: Int32Array) -> Float32Array:
        """(D,) what a cell of a touched item counts: the gate, divided as the history is long."""
        count = max(1, len(history)) ** self.settings.length_exponent
        sums = self.items[history, :-1].sum(axis=0, keepdims=True) / np.float32(count)
        return np.asarray(self._gate(sums)[0] / np.float32(count), np.float32)

    def _paths(self, history: Int32Array, item: int, pull: Float32Array) -> tuple[Path, ...]:
        """Links from touched items to ``item``: over an entity that both are tied to, or directly. O(links of the history · D)."""
        relation, node = self.knowledge.items.of(item)
        received = self._received(relation, node)
        here: dict[int, list[int]] = {}
        for place, each in enumerate(node.tolist()):
            here.setdefault(each, []).append(place)
        found = []
        for touched in history.tolist():
            theirs, nodes = self.knowledge.items.of(touched)
            shared = [place for place, each in enumerate(nodes.tolist()) if each in here or each == item]
            gets = self._received(theirs[shared], nodes[shared]) * pull
            for place, got in zip(shared, gets, strict=True):
                link, via = int(theirs[place]), int(nodes[place])
                if via == item:
                    weight = float(got @ self.items[item, :-1])
                    found.append(Path(touched, self.knowledge.relation_words(link), weight))
                for other in here.get(via, ()):
                    words = self._words(link, int(relation[other]), via)
                    found.append(Path(touched, words, float(got @ received[other])))
        found.sort(key=lambda path: -path.weight)
        return tuple(path for path in found if path.weight > 0)[:_MOST_PATHS]

    def _words(self, theirs: int, own: int, via: int) -> str:
        words = self.knowledge.words(own, via)
        return words if theirs == own else f"{self.knowledge.relation_words(theirs)}, {words}"

    def _received(self, relation: Int32Array, node: Int32Array) -> Float32Array:
        """(links, D) what comes over each link of one item."""
        share = np.float32(1 / max(1, len(node)))
        return self._handed_on(node) * self.relations[relation] * share

    def _handed_on(self, node: Int32Array) -> Float32Array:
        out = np.zeros((len(node), self.relations.shape[1]), np.float32)
        is_item = node >= 0
        out[is_item], out[~is_item] = self.item_reach[node[is_item]], self.entity_reach[-1 - node[~is_item]]
        return out

    def extend(self, items: Table) -> "KGINModel":
        """Items that nobody has touched, known by their labels: a column that is called like a relation, with known labels."""
        near = self.knowledge.read(items)
        added = np.zeros((len(items), self.items.shape[1]), np.float32)
        added[:, -1] = self.unknown[0]
        for row in range(len(items)):
            relation, node = near.of(row)
            if len(node):
                added[row, :-1] = self._received(relation, node).sum(axis=0)
        titles = self.knowledge.titles
        if len(titles):
            titles = np.concatenate([titles, np.full(len(items), "", STRINGS)])
        wider = dataclasses.replace(self.knowledge, items=self.knowledge.items.below(near), titles=titles)
        reach = np.concatenate([self.item_reach, np.zeros((len(items), self.item_reach.shape[1]), np.float32)])
        return dataclasses.replace(self, knowledge=wider, items=np.concatenate([self.items, added]), item_reach=reach)
