"""KGIN: item vectors from a knowledge graph, user preferences as a mix of intents over relations.

Wang, Huang, Wang, Yuan, Liu, He & Chua, "Learning Intents behind Interactions with Knowledge Graph for Recommendation",
WWW 2021. Users have no id embeddings here: a user vector is made of the history, and training predicts each item of a
history from the rest, so that new users are served as those of the fit are.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.data.table import Table
from leanrec.errors import MissingExtraError
from leanrec.features.base import STRINGS
from leanrec.features.knowledge import KnowledgeGraph, build_knowledge_graph
from leanrec.field_checks import ArrayShape, SharedSizes
from leanrec.finiteness import require_finite
from leanrec.kernels.sparse import dot_scores
from leanrec.models.deep.core.settings import HistorySettings
from leanrec.protocols import Explanation, ExplanationPath, rank_contributions
from leanrec.run import Run
from leanrec.settings import setting
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["KGIN", "KGINModel"]

# Paths in an explanation, and items of the history at which they begin.
_MAX_PATHS, _MAX_SOURCES = 10, 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class KGIN(HistorySettings):
    """A node vector is its id embedding + messages over ``n_layers`` links: x_v ← mean over links (r, w) of e_r ⊙ x_w.

    The vectors of the L items of a history are pooled to s = Σ / L^pooling_exponent. The score is (s ⊙ g) · x_i + bias,
    where the gate g is a mix of ``n_intents`` intents, each a mix of relations. Without triples and item labels only the
    items' own vectors are left.

    When to use: knowledge about items (triples or labels), few events, items without interactions; it explains by
    links.

    Cost: an epoch O(E · (D + S) + steps · n_layers · T · D) for T links; a query O(L · D + N · D); the model 4 D (2 N + M)
    bytes for M entities.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "content", "item_links"})

    n_intents: int = setting(4, at_least=0, doc="Number of intents, mixes of relations; 0 = no gate.")
    use_item_table: bool = setting(True, doc="Use the labels of the item table (genres, …) as triples too.")

    @require_finite
    def fit(self, data: Dataset, run: Run = Run(), valid: EvaluationSet | None = None) -> "KGINModel":
        """Train on the histories and the triples of ``data``.

        With ``patience`` the validation score is NDCG@10 on ``valid``; if that is None, on the latest item of 5 % of the
        users, which is then left out of training. Raises MissingExtraError without torch.
        """
        try:
            from leanrec.models.deep.core.history_training import fit_histories  # noqa: PLC0415 - torch is optional
            from leanrec.models.deep.core.knowledge_network import KnowledgeNetwork  # noqa: PLC0415 - torch is optional
        except ImportError as error:
            raise MissingExtraError.from_import_error("The model 'kgin'", error) or error from error
        knowledge = build_knowledge_graph(data, labels=self.use_item_table)
        n_links, n_entities = len(knowledge.items.node) + len(knowledge.entities.node), len(knowledge.names)
        floats = 16 * n_entities + 4 * (self.n_layers + 1) * n_links if self.n_layers else 0
        run.require_memory(
            self.fit_bytes(data.shape) + 4 * self.embedding_dim * floats,
            f"KGIN with embedding_dim={self.embedding_dim} over {n_links:,} links",
            "Lower embedding_dim or batch_size, or raise the limit.",
        )

        def build_network(_: Dataset, counts: Int64Array) -> Any:
            return KnowledgeNetwork(self, self.n_intents, knowledge, counts)

        def build_model(arrays: dict[str, Float32Array]) -> KGINModel:
            return KGINModel(settings=self, knowledge=knowledge, **arrays)

        return build_model(fit_histories(self, data, build_network, run, valid, build_model))


@dataclasses.dataclass(frozen=True, eq=False)
class KGINModel:
    """A fitted `KGIN`.

    Attributes:
        settings: settings of the fit.
        knowledge: links of items and entities.
        items: (N, D + 1) float32 item vectors, the bias last.
        item_messages: (N, D) float32 vectors that items send over their links.
        entity_messages: (M, D) float32 the same for entities.
        relations: (2 R, D) float32 relation vectors, in either direction.
        intents: (K, D) float32; K = 0 without a gate.
        unknown_bias: (1,) float32 bias of items without interactions.
    """

    settings: KGIN
    knowledge: Annotated[KnowledgeGraph, SharedSizes(N="N", M="M", R="R")]
    items: Annotated[Float32Array, ArrayShape("N", "D + 1")]
    item_messages: Annotated[Float32Array, ArrayShape("N", "D")]
    entity_messages: Annotated[Float32Array, ArrayShape("M", "D")]
    relations: Annotated[Float32Array, ArrayShape("2 R", "D")]
    intents: Annotated[Float32Array, ArrayShape("K", "D")]
    unknown_bias: Annotated[Float32Array, ArrayShape("1")]

    @property
    def n_items(self) -> int:
        """N, the number of items."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D + 1) gated user vectors, the last cell 1 for the bias; zeros for an empty history."""
        gated, counts = self._pool_history(queries.history)
        out = np.ones((len(queries), self.items.shape[1]), np.float32)
        out[:, :-1] = gated
        out[counts == 0] = 0
        return out

    def embed_items(self) -> Float32Array:
        """(N, D + 1) item vectors, the bias last."""
        return self.items

    def similarity_vectors(self) -> Float32Array:
        """(N, D) item vectors without the bias."""
        return self.items[:, :-1]

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """User vectors · item vectors + biases: (B, N), or (B, K) for ``items``."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def _pool_history(self, history: CSR) -> tuple[Float32Array, Int32Array]:
        """(B, D) gated user vectors and (B,) history lengths; repeated interactions count once."""
        counts = np.diff(history.indptr)
        ones = type(history)((np.ones(history.nnz, np.float32), history.indices, history.indptr), shape=history.shape)
        sums = np.asarray(ones @ self.items[:, :-1], np.float32)
        sums /= (np.maximum(counts, 1) ** np.float32(self.settings.pooling_exponent))[:, None].astype(np.float32)
        return sums * self._gate(sums), counts

    def _gate(self, users: Float32Array) -> Float32Array:
        """(B, D) softmax attention over the intents; ones without intents."""
        if not len(self.intents):
            return np.ones_like(users)
        match = users @ self.intents.T / np.float32(np.sqrt(self.intents.shape[1]))
        match = np.exp(match - match.max(axis=1, keepdims=True))
        return np.asarray((match / match.sum(axis=1, keepdims=True)) @ self.intents, np.float32)

    def explain(self, queries: Queries, items: Int32Array, top_k: int | None = None) -> list[Explanation]:
        """Items of the history by their contribution to the score, and paths from them to each item.

        For a fixed gate the score is a sum over the history, so the contributions are exact. The weight of a path is
        (message that the history item receives over its link ⊙ gate) · (message that the item receives over its link).
        Paths begin at the 50 items of the history that contribute most.
        """
        history = queries.history.indices
        gate = self._scaled_gate(history)
        added = (self.items[items, :-1] * gate) @ self.items[history, :-1].T
        linked = functools.cache(lambda source: self._find_links(source, gate))
        explanations = []
        for item, ranked in zip(
            items.tolist(),
            rank_contributions(history, added, top_k=None if top_k is None else max(top_k, _MAX_SOURCES)),
            strict=True,
        ):
            paths = self._find_paths({source: linked(source) for source in ranked.items[:_MAX_SOURCES].tolist()}, item)
            features = tuple(dict.fromkeys(path.through for path in paths))
            explanations.append(Explanation("history", ranked.items[:top_k], ranked.weights[:top_k], features, paths))
        return explanations

    def _find_links(self, item: int, gate: Float32Array) -> tuple[list[int], list[int], Float32Array]:
        """Relations and nodes of the links of an item of the history, and the gated messages (links, D) over them."""
        relation, node = self.knowledge.items.neighbors(item)
        # A message is divided by all links of its item, also where only some of them lead to the other item.
        return relation.tolist(), node.tolist(), self._messages(relation, node) * gate

    def _scaled_gate(self, history: Int32Array) -> Float32Array:
        """(D,) weight of each dimension of a history item: the gate / L^pooling_exponent."""
        count = max(1, len(history)) ** self.settings.pooling_exponent
        sums = self.items[history, :-1].sum(axis=0, keepdims=True) / np.float32(count)
        return np.asarray(self._gate(sums)[0] / np.float32(count), np.float32)

    def _find_paths(
        self, sources: Mapping[int, tuple[list[int], list[int], Float32Array]], item: int
    ) -> tuple[ExplanationPath, ...]:
        """Paths from history items, given with their links, to an item, over a shared entity or a direct link."""
        relation, node = self.knowledge.items.neighbors(item)
        messages = self._messages(relation, node)
        links_to: dict[int, list[int]] = {}
        for link, neighbor in enumerate(node.tolist()):
            links_to.setdefault(neighbor, []).append(link)
        paths = []
        for source, (relations, nodes, source_messages) in sources.items():
            for first, via, message in zip(relations, nodes, source_messages, strict=True):
                if via == item:
                    weight = float(message @ self.items[item, :-1])
                    paths.append(ExplanationPath(source, self.knowledge.relation_name(first), weight))
                for link in links_to.get(via, ()):
                    last = int(relation[link])
                    through = self.knowledge.describe_link(last, via)
                    if first != last:
                        through = f"{self.knowledge.relation_name(first)}, {through}"
                    paths.append(ExplanationPath(source, through, float(message @ messages[link])))
        paths.sort(key=lambda path: -path.weight)
        return tuple(path for path in paths if path.weight > 0)[:_MAX_PATHS]

    def _messages(self, relation: Int32Array, node: Int32Array) -> Float32Array:
        """(links, D) message over each link of one item."""
        sent = np.zeros((len(node), self.relations.shape[1]), np.float32)
        is_item = node >= 0
        sent[is_item], sent[~is_item] = self.item_messages[node[is_item]], self.entity_messages[-1 - node[~is_item]]
        return sent * self.relations[relation] * np.float32(1 / max(1, len(node)))

    def extend(self, items: Table) -> "KGINModel":
        """The model with the M ``items`` added at the end.

        A new item gets the messages of the labels in columns that are named like a relation; unknown labels are ignored.
        """
        links = self.knowledge.link_rows(items)
        vectors = np.zeros((len(items), self.items.shape[1]), np.float32)
        vectors[:, -1] = self.unknown_bias[0]
        for row in range(len(items)):
            relation, node = links.neighbors(row)
            if len(node):
                vectors[row, :-1] = self._messages(relation, node).sum(axis=0)
        titles = self.knowledge.titles
        if len(titles):
            titles = np.concatenate([titles, np.full(len(items), "", STRINGS)])
        knowledge = dataclasses.replace(self.knowledge, items=self.knowledge.items.append(links), titles=titles)
        no_messages = np.zeros((len(items), self.item_messages.shape[1]), np.float32)
        return dataclasses.replace(
            self,
            knowledge=knowledge,
            items=np.concatenate([self.items, vectors]),
            item_messages=np.concatenate([self.item_messages, no_messages]),
        )
