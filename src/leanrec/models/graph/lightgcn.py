"""LightGCN: vectors that have passed over the graph of users and items, and nothing else.

He, Deng, Wang, Li, Zhang & Wang, "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation",
SIGIR 2020; with the sampled softmax of Wu et al., "On the Effectiveness of Sampled Softmax Loss for Item Recommendation",
TOIS 2024.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import rich.progress

from leanrec.data.dataset import Dataset, Shape
from leanrec.kernels.contrast import contrast_bytes, softmax, to_power, to_power_back, to_unit, to_unit_back
from leanrec.kernels.descent import descend
from leanrec.kernels.folding import bridge, learnt_or_folded, reasons, spectral_start
from leanrec.kernels.propagate import Graph, Links, hide_edges, links_bytes
from leanrec.kernels.sparse import dot_scores
from leanrec.kernels.spectrum import degrees, inverse_power, scaled, singular_bytes
from leanrec.kernels.weighting import weigh
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between, check_one_of, check_positive
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["LightGCN", "LightGCNModel"]

_Step = Callable[[], tuple[float, Mapping[str, Float32Array]]]


@dataclasses.dataclass(frozen=True)
class LightGCN:
    """Scores u · v with (u, v) = mean over layers k of Aᵏ (u₀, v₀); the start u₀, v₀ alone is learnt.

    A is the graph normalised by degrees. As the map is linear and symmetric, its gradient is the map itself, so that a
    step costs two passes over the graph and products of matrices. Training starts from the graph's strongest
    directions. In each step a part of the edges of its users is hidden from the graph and has to be found by a softmax
    against negatives that all users of the step share.

    By default u₀ = 0 and layer 0 does not count: an asker is what the history hands on, users of the fit and new users
    alike. The paper's model is ``learn_users=1, ego=1, hidden=0``.

    Cost: a step O(2 layers · E · D + batch · negatives · D), with ``learn_users`` twice the passes, an epoch U / batch of
    them; memory ``fit_bytes``; a query O(L · D + N · D); the model 8 N · D bytes, with ``learn_users`` 4 U · D more.

    Attributes:
        width: D, the length of the vectors.
        layers: times that vectors pass over the graph.
        learn_users: whether users have a vector of their own to start from.
        ego: whether layer 0 counts.
        hidden: share of the edges of a step's users that are hidden and have to be found; 0 = all are found in plain sight.
        epochs: passes over the users.
        batch: users in a step; 0 = all of them.
        learning_rate: of Adam, the highest; it rises over a twentieth of the steps and falls by a cosine.
        weight_decay: decoupled, per step and in units of the learning rate.
        negatives: items that all users of a step are compared with.
        temperature: scores are divided by it; less looks at the nearest rivals alone.
        balance: power of the length of a history by which its user's part of the loss is divided: 0 = interactions count
            alike, 1 = users do.
        alpha: power of the users' degrees in the graph, ½ in the paper.
        popularity: power of the length of an item's vector that its score keeps: 1 the product, 0 the cosine.
        passes: rounds of the iteration that finds the strongest directions; 0 = start from random numbers.
        weighting: how much a repeated or stronger interaction counts in the graph: "binary", "log" or "none".
    """

    width: int = 64
    layers: int = 3
    learn_users: bool = False
    ego: bool = False
    hidden: float = 0.6
    epochs: int = 24
    batch: int = 8192
    learning_rate: float = 0.02
    weight_decay: float = 0.0
    negatives: int = 512
    temperature: float = 0.1
    balance: float = 0.5
    alpha: float = 0.5
    popularity: float = 0.3
    passes: int = 4
    weighting: str = "log"

    def __post_init__(self) -> None:
        check_at_least("width", self.width, 1)
        # Items that only pass on to users, and users that only pass on to items, have no vector.
        check_at_least("layers", self.layers, 2 - self.learn_users - self.ego)
        check_between("hidden", self.hidden, 0, 0.95)
        check_at_least("epochs", self.epochs, 1)
        check_at_least("batch", self.batch, 0)
        check_positive("learning_rate", self.learning_rate)
        check_at_least("weight_decay", self.weight_decay, 0)
        check_at_least("negatives", self.negatives, 1)
        check_positive("temperature", self.temperature)
        check_between("balance", self.balance, 0, 1)
        check_between("alpha", self.alpha, 0, 1)
        check_between("popularity", self.popularity, 0, 1)
        check_at_least("passes", self.passes, 0)
        check_one_of("weighting", self.weighting, ("none", "binary", "log"))

    def fit_bytes(self, shape: Shape) -> int:
        """The graph; a dozen tables of vectors: learnt, their moments, layers and gradients; a stretch of scores."""
        U, N, E, D = shape.users, shape.items, shape.events, self.width
        negatives = min(self.negatives, N)
        tables = 4 * D * (U + N) * 14
        start = singular_bytes(U, N, min(D, U, N)) + 32 * E if self.passes else 0
        step = contrast_bytes(U, N, E, negatives, D) + 40 * E
        return links_bytes(U, N, E) + 40 * E + tables + max(start, step) + 2**24

    def fit(self, data: Dataset, run: Run = Run()) -> "LightGCNModel":
        """Learn the vectors. The result follows from ``run.seed``; an end of the time keeps what is there."""
        run.require(self.fit_bytes(data.shape), f"LightGCN of width {self.width}", "Choose a smaller width.")
        with run.limits():
            X = weigh(data.interactions, self.weighting)
            of_users, of_items = degrees(X)
            graph = Graph.of(scaled(X, inverse_power(of_users, self.alpha), inverse_power(of_items, 0.5)))
            work = _Work(self, X, graph, self._start(X, run.rng()))
            if X.nnz:
                epochs = rich.progress.track(range(self.epochs), "LightGCN", disable=not run.progress, transient=True)
                how = {
                    "of": self.epochs,
                    "learning_rate": self.learning_rate,
                    "warmup": 0.05,
                    "decay": self.weight_decay,
                }
                descend(work.arrays, epochs, work.batches, seed=run.seed, enough=run.out_of_time, **how)  # type: ignore[arg-type]
            return work.model(of_items)

    def shares(self) -> Float32Array:
        """(layers + 1,) what each layer adds."""
        shares = np.ones(self.layers + 1, np.float32)
        shares[0] = self.ego
        return np.asarray(shares / max(1, shares.sum()), dtype=np.float32)

    def _start(self, X: CSR, rng: np.random.Generator) -> dict[str, Float32Array]:
        if self.passes:
            users, items = spectral_start(X, self.width, self.passes, rng)
        else:
            users, items = (0.1 * rng.standard_normal((n, self.width), dtype=np.float32) for n in X.shape)
        start = {"items": items.astype(np.float32)}
        return start | {"users": users.astype(np.float32)} if self.learn_users else start


@dataclasses.dataclass(frozen=True, eq=False)
class _Work:
    """What every step of a fit needs."""

    settings: LightGCN
    X: CSR
    graph: Graph
    arrays: Mapping[str, Float32Array]

    def batches(self, rng: np.random.Generator) -> Iterator[_Step]:
        U, N = self.X.shape
        order = rng.permutation(U)
        for users in np.array_split(order, -(-U // (self.settings.batch or U))):
            negatives = rng.choice(N, min(self.settings.negatives, N), replace=False)
            targets, places = self.X[np.sort(users)], None
            if self.settings.hidden:
                targets, places = hide_edges(self.X, np.sort(users), self.settings.hidden, rng)
            yield functools.partial(self.gradients, np.sort(users), targets, places, negatives)

    def gradients(
        self, users: Int64Array, targets: CSR, hidden: Int64Array | None, negatives: Int64Array
    ) -> tuple[float, Mapping[str, Float32Array]]:
        """The mean loss of the targets of some users (b, N), and its gradients by all that is learnt."""
        settings, links = self.settings, Links.of(targets)
        graph = self.graph if hidden is None else self.graph.without(hidden)
        of_users, of_items = self._forward(graph)
        rows, row_lengths = to_unit(of_users[users])
        unit, lengths = to_unit(of_items)
        scale = float(1 / np.mean(lengths**settings.popularity))
        columns = to_power(unit, lengths, settings.popularity, scale)
        counts, sharp = links.counts, np.float32(1 / settings.temperature)
        weights = (np.maximum(counts, 1) ** -settings.balance).astype(np.float32)
        weights /= max(1.0, float(weights @ counts))
        log_q = np.full(len(negatives), np.log(len(negatives) / len(columns)), np.float32)
        found = softmax(links, sharp * rows, columns, negatives, log_q, weights)
        d_users = np.zeros_like(of_users)
        d_users[users] = to_unit_back(sharp * found.rows, rows, row_lengths)
        d_items = to_power_back(found.columns, unit, lengths, settings.popularity, scale)
        return found.loss, self._backward(graph, d_users, d_items)

    def _forward(self, graph: Graph, shares: Float32Array | None = None) -> tuple[Float32Array, Float32Array]:
        shares = self.settings.shares() if shares is None else shares
        if "users" in self.arrays:
            return graph.layers(self.arrays["users"], self.arrays["items"], shares)
        return graph.from_columns(self.arrays["items"], shares)

    def _backward(self, graph: Graph, d_users: Float32Array, d_items: Float32Array) -> Mapping[str, Float32Array]:
        shares = self.settings.shares()
        if "users" in self.arrays:
            d_users, d_items = graph.layers(d_users, d_items, shares)
            return {"users": d_users, "items": d_items}
        return {"items": graph.back_to_columns(d_users, d_items, shares)}

    def model(self, of_items: np.ndarray) -> "LightGCNModel":
        """The vectors after their last pass, and what a history sums."""
        settings, graph, shares = self.settings, self.graph, self.settings.shares()
        users, items = self._forward(graph)
        # A user's layers 1 … K are sums over the items' layers 0 … K − 1; without layers an item stands for its users.
        passed = self._forward(graph, shares[1:])[1] if settings.layers else graph.to_columns(users)
        sources = passed * inverse_power(of_items, 0.5)[:, None].astype(np.float32)
        if settings.learn_users:
            sources = sources @ bridge(graph.to_rows(passed), users)
        unit, lengths = to_unit(items)
        kept = users if settings.learn_users else users[:0]
        return LightGCNModel(settings, kept, to_power(unit, lengths, settings.popularity, 1.0), sources)


@dataclasses.dataclass(frozen=True, eq=False)
class LightGCNModel:
    """A fitted LightGCN.

    Attributes:
        settings: what it was fitted with.
        users: (U, D) float32 the users of the fit; (0, D) where they have no vector of their own.
        items: (N, D) float32.
        sources: (N, D) float32 what an item of a history adds to the vector of its asker, by the weights of the graph.
    """

    settings: LightGCN
    users: Float32Array
    items: Float32Array
    sources: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D): sums over the history, learnt vectors of known users where there are any; zeros for an empty history."""
        settings = self.settings
        return learnt_or_folded(queries, self.users, self.sources, settings.weighting, settings.alpha)

    def embed_items(self) -> Float32Array:
        """(N, D)."""
        return self.items

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """User vectors · item vectors."""
        return dot_scores(self.embed_queries(queries), self.items, items)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by what each adds to the score; for a new user these sum to the score."""
        settings = self.settings
        return reasons(queries, self.sources, self.items[item], settings.weighting, settings.alpha)
