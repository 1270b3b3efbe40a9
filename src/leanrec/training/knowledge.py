"""Training over a knowledge graph: vectors of nodes, of relations and of the intents that mix them."""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from leanrec.data.cases import Cases
from leanrec.data.dataset import Dataset
from leanrec.features.knowledge import Knowledge
from leanrec.nn.dropout import dropout
from leanrec.nn.knowledge import RelationLayers
from leanrec.protocols import Embedder
from leanrec.run import Run
from leanrec.training.by_history import ByHistory
from leanrec.training.held_out import hold_out, mean_ndcg
from leanrec.training.leave_one_out import Asked, Items, LeaveOneOut
from leanrec.training.loop import torch_threads, train
from leanrec.training.negatives import Draw
from leanrec.types import Float32Array

__all__ = ["fit_knowledge"]

Learnt = dict[str, Float32Array]


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
    if settings.patience and valid is None:
        data, valid = hold_out(data, run.rng())
    counts = np.bincount(data.interactions.indices, minlength=len(data.items)).astype(np.int64)
    objective = LeaveOneOut(
        data.interactions, Draw.by(settings.draw, counts), min(settings.negatives, 4 * len(data.items)), settings.batch
    )
    with torch.random.fork_rng(devices=[]), torch_threads(run):
        torch.manual_seed(run.seed)
        network = _Network(settings, intents, knowledge, counts)
        judge = None if valid is None else functools.partial(_judge, network, knowledge, model, valid)
        train(network, objective, settings, run, score=judge, name=type(settings).__name__, of=(data, valid))
        return network.learnt()


def _judge(
    network: "_Network", knowledge: Knowledge, model: Callable[[Knowledge, Learnt], Embedder], valid: Cases
) -> float:
    fitted = model(knowledge, network.learnt())
    return mean_ndcg(fitted.embed_queries(valid.queries), fitted.embed_items(), valid)


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
        # Where a step begins matters much for so few epochs: at the logarithm of how often an item was touched.
        usual = np.log(counts + 0.5) - np.log(counts.mean() + 0.5)
        unknown = np.log(0.5) - np.log(counts.mean() + 0.5)
        self.bias = nn.Parameter(torch.from_numpy(np.append(usual, unknown).astype(np.float32)))
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
        taste = asked.sums / asked.counts.clamp(min=1)[:, None] ** self.settings.damping
        taste = dropout(taste, self.settings.dropout, self.training)
        intents = self._intents()
        if not len(intents):
            return taste
        fit = torch.softmax(taste @ intents.T / self.settings.width**0.5, 1)
        return taste * (fit @ intents)

    def _intents(self) -> Tensor:
        """(K, D): each a mix of the relations."""
        return torch.softmax(self.mix, 1) @ self.relations if len(self.mix) else self.relations[:0]

    @torch.no_grad()
    def learnt(self) -> Learnt:
        """The arrays that answers are made of."""
        training = self.training
        self.eval()
        vectors, handed_on = self._reached()
        bias = self.bias[self.which][:, None]
        n = self.n_items
        arrays = {
            "items": torch.cat([vectors[:n], bias], 1),
            "item_reach": handed_on[:n],
            "entity_reach": handed_on[n:],
            "relations": self.relations,
            "intents": self._intents(),
            "unknown": self.bias[-1:],
        }
        self.train(training)
        return {name: value.detach().to("cpu", copy=True).numpy() for name, value in arrays.items()}
