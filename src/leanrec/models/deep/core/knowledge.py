"""Training over a knowledge graph: vectors of nodes, of relations and of the intents that mix them."""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import Cases
from leanrec.features.knowledge import Knowledge
from leanrec.models.deep.core.history_training import Asked, Items, Learnt, damped, fit_leave_one_out, popularity
from leanrec.models.deep.core.settings import ByHistory
from leanrec.nn.dropout import dropout
from leanrec.nn.knowledge import RelationLayers
from leanrec.protocols import Embedder
from leanrec.run import Run
from leanrec.types import Int64Array

__all__ = ["fit_knowledge"]


def fit_knowledge(
    settings: ByHistory,
    intents: int,
    data: Dataset,
    knowledge: Knowledge,
    run: Run,
    valid: Cases | None,
    model: Callable[[Knowledge, Learnt], Embedder],
) -> Learnt:
    """Train on the histories of ``data`` and the links of ``knowledge``; the arrays that answers are made of.

    ``model`` makes something that answers of them, to judge an epoch by; ``intents`` says how many mixes of relations a taste has to choose from.
    """

    def network(_: Dataset, counts: Int64Array) -> nn.Module:
        return _Network(settings, intents, knowledge, counts)

    return fit_leave_one_out(settings, data, network, run, valid, functools.partial(model, knowledge))


class _Network(nn.Module):
    """Nodes are items, then entities. An item that nobody touched has no vector of its own, and a bias that all such share."""

    def __init__(self, settings: ByHistory, intents: int, knowledge: Knowledge, counts: np.ndarray) -> None:
        super().__init__()
        self.settings = settings
        self.n_items = len(counts)
        items, entities = knowledge.items, knowledge.entities
        both = items.below(entities)
        node = np.where(both.node >= 0, both.node, self.n_items - 1 - both.node)
        self.layers = RelationLayers(both.indptr, both.relation, node.astype(np.int32), settings.layers)
        n_relations, width = 2 * knowledge.n_relations, settings.width
        self.nodes = nn.Embedding(len(both.indptr) - 1, width)
        nn.init.normal_(self.nodes.weight, std=0.1)
        self.relations = nn.Parameter(1 + 0.1 * torch.randn(n_relations, width))
        self.mix = nn.Parameter(0.1 * torch.randn(intents if n_relations and settings.layers else 0, n_relations))
        unknown = np.float32(np.log(0.5) - np.log(counts.mean() + 0.5))
        self.bias = nn.Parameter(torch.from_numpy(np.append(popularity(counts), unknown)))
        touched = counts > 0
        known = np.concatenate([touched, np.ones(len(both.indptr) - 1 - self.n_items, np.bool_)])
        which = np.where(touched, np.arange(self.n_items), self.n_items)
        self.register_buffer("known", torch.from_numpy(known.astype(np.float32)[:, None]), persistent=False)
        self.register_buffer("which", torch.from_numpy(which), persistent=False)
        self.known: Tensor
        self.which: Tensor

    def items(self) -> Items:
        vectors = self._reached()[0][: self.n_items]
        return Items(vectors, vectors, self.bias[self.which])

    def _reached(self) -> tuple[Tensor, Tensor]:
        own = self.nodes.weight * self.known
        if self.training and self.settings.hide:
            keep = torch.rand(len(own), 1, device=own.device) >= self.settings.hide
            own = own * keep / (1 - self.settings.hide)
        reached: tuple[Tensor, Tensor] = self.layers(own, self.relations, self.settings.dropout)
        return reached

    def ask(self, asked: Asked, items: Items) -> Tensor:  # noqa: ARG002 - tastes are made of the sums alone
        taste = dropout(damped(asked, self.settings.damping), self.settings.dropout, self.training)
        intents = self._intents()
        if not len(intents):
            return taste
        fit = torch.softmax(taste @ intents.T / self.settings.width**0.5, 1)
        return taste * (fit @ intents)

    def _intents(self) -> Tensor:
        """(K, D): each a mix of the relations."""
        return torch.softmax(self.mix, 1) @ self.relations if len(self.mix) else self.relations[:0]

    def answers(self) -> dict[str, Tensor]:
        vectors, handed_on = self._reached()
        bias = self.bias[self.which][:, None]
        n = self.n_items
        return {
            "items": torch.cat([vectors[:n], bias], 1),
            "item_reach": handed_on[:n],
            "entity_reach": handed_on[n:],
            "relations": self.relations,
            "intents": self._intents(),
            "unknown": self.bias[-1:],
        }
