"""XSimGCL: LightGCN whose layers are shaken a little, and told to agree all the same.

Yu, Xia, Chen, Cui, Hung & Yin, "XSimGCL: Towards Extremely Simple Graph Contrastive Learning for Recommendation",
IEEE Transactions on Knowledge and Data Engineering 2023.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import rich.progress

from leanrec.data.dataset import Dataset, Shape
from leanrec.kernels.contrast import agreement, contrast_bytes, softmax, to_unit, to_unit_back
from leanrec.kernels.descent import descend
from leanrec.kernels.folding import bridge, learnt_or_folded, reasons, spectral_start
from leanrec.kernels.propagate import Graph, Links, links_bytes
from leanrec.kernels.sparse import dot_scores
from leanrec.kernels.spectrum import degrees, inverse_power, scaled, singular_bytes
from leanrec.kernels.weighting import weigh
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between, check_one_of, check_positive
from leanrec.types import CSR, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["XSimGCL", "XSimGCLModel"]

_Pair = tuple[Float32Array, Float32Array]
_Step = Callable[[], tuple[float, Mapping[str, Float32Array]]]


@dataclasses.dataclass(frozen=True)
class XSimGCL:
    """Scores u · v, the mean of layers 1 to K of the graph over a learnt start, as in LightGCN without its layer 0.

    In training each layer gets noise of length ``noise`` with the signs of its vectors. One pass gives both views:
    the mean of all layers and layer ``contrast`` of the same node must be told from those of ``views`` other nodes.
    The noise is a constant for the gradient, which therefore is the same pass over the graph the other way.

    Cost: a step O(4 layers · E · D + batch · negatives · D + views² · D); memory ``fit_bytes``; a query O(L · D + N · D);
    the model 4 D (U + 2 N) bytes.

    Attributes:
        width: D, the length of the vectors.
        layers: times that vectors pass over the graph.
        noise: length of the noise added to each vector in each layer.
        contrast: the layer that is compared with the mean of all.
        agreement: weight of that comparison.
        agreement_temperature: cosines of views are divided by it.
        views: users, and items, that are compared in a step.
        epochs: passes over the users.
        batch: users in a step; 0 = all of them.
        learning_rate: of Adam, the highest; it rises over a twentieth of the steps and falls by a cosine.
        weight_decay: decoupled, per step and in units of the learning rate.
        negatives: items that all users of a step are compared with.
        temperature: cosines of users and items are divided by it.
        balance: power of the length of a history by which its user's part of the loss is divided.
        alpha: power of the users' degrees in the graph, ½ in the paper.
        popularity: power of the length of an item's vector that its score keeps: 1 the product, 0 the cosine.
        passes: rounds of the iteration that finds the strongest directions; 0 = start from random numbers.
        weighting: how much a repeated or stronger interaction counts in the graph: "binary", "log" or "none".
    """

    width: int = 64
    layers: int = 2
    noise: float = 0.1
    contrast: int = 1
    agreement: float = 0.1
    agreement_temperature: float = 0.2
    views: int = 1024
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
        check_at_least("layers", self.layers, 1)
        check_at_least("noise", self.noise, 0)
        check_between("contrast", self.contrast, 1, self.layers)
        check_at_least("agreement", self.agreement, 0)
        check_positive("agreement_temperature", self.agreement_temperature)
        check_at_least("views", self.views, 1)
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
        """The graph; the tables of vectors: learnt, their moments, layers, noise and gradients; the stretches of scores."""
        U, N, E, D = shape.users, shape.items, shape.events, self.width
        negatives, views = min(self.negatives, N), min(self.views, max(U, N))
        tables = 4 * D * (U + N) * 20
        start = singular_bytes(U, N, min(D, U, N)) + 32 * E if self.passes else 0
        stretches = contrast_bytes(U, N, E, negatives, D) + contrast_bytes(views, views, 0, views, D)
        return links_bytes(U, N, E) + 40 * E + tables + max(start, stretches) + 2**24

    def fit(self, data: Dataset, run: Run = Run()) -> "XSimGCLModel":
        """Learn the vectors. The result follows from ``run.seed``; an end of the time keeps what is there."""
        run.require(self.fit_bytes(data.shape), f"XSimGCL of width {self.width}", "Choose a smaller width.")
        with run.limits():
            X = weigh(data.interactions, self.weighting)
            of_users, of_items = degrees(X)
            graph = Graph.of(scaled(X, inverse_power(of_users, self.alpha), inverse_power(of_items, 0.5)))
            work = _Work(self, X, graph, self._start(X, run.rng()))
            if X.nnz:
                epochs = rich.progress.track(range(self.epochs), "XSimGCL", disable=not run.progress, transient=True)
                how = {
                    "of": self.epochs,
                    "learning_rate": self.learning_rate,
                    "warmup": 0.05,
                    "decay": self.weight_decay,
                }
                descend(work.arrays, epochs, work.batches, seed=run.seed, enough=run.out_of_time, **how)  # type: ignore[arg-type]
            return work.model(of_items)

    def _start(self, X: CSR, rng: np.random.Generator) -> dict[str, Float32Array]:
        if self.passes:
            users, items = spectral_start(X, self.width, self.passes, rng)
        else:
            users, items = (0.1 * rng.standard_normal((n, self.width), dtype=np.float32) for n in X.shape)
        return {"users": users.astype(np.float32), "items": items.astype(np.float32)}


@dataclasses.dataclass(frozen=True, eq=False)
class _Batch:
    """What is drawn for a step."""

    users: Int64Array
    negatives: Int64Array
    user_views: Int64Array
    item_views: Int64Array


@dataclasses.dataclass(frozen=True, eq=False)
class _Work:
    """What every step of a fit needs."""

    settings: XSimGCL
    X: CSR
    graph: Graph
    arrays: Mapping[str, Float32Array]

    def batches(self, rng: np.random.Generator) -> Iterator[_Step]:
        (U, N), settings = self.X.shape, self.settings
        order = rng.permutation(U)
        touched = np.unique(self.X.indices)
        for users in np.array_split(order, -(-U // (settings.batch or U))):
            batch = _Batch(
                users=np.sort(users),
                negatives=rng.choice(N, min(settings.negatives, N), replace=False),
                user_views=rng.choice(users, min(settings.views, len(users)), replace=False),
                item_views=rng.choice(touched, min(settings.views, len(touched)), replace=False),
            )
            seed = int(rng.integers(2**63))
            yield functools.partial(self.gradients, batch, np.random.default_rng(seed))

    def gradients(self, batch: _Batch, rng: np.random.Generator) -> tuple[float, Mapping[str, Float32Array]]:
        """The loss of the edges of some users and of the agreement of views, and the gradients by all that is learnt."""
        mean, view = self.forward(rng)
        loss, d_mean = self._edges(batch, mean)
        d_view = np.zeros_like(mean[0]), np.zeros_like(mean[1])
        if self.settings.agreement:
            for side, rows in enumerate((batch.user_views, batch.item_views)):
                loss += self._agree(rows, mean[side], view[side], d_mean[side], d_view[side])
        d_users, d_items = self.backward(d_mean, d_view)
        return loss, {"users": d_users, "items": d_items}

    def forward(self, rng: np.random.Generator | None) -> tuple[_Pair, _Pair]:
        """The mean of the layers and the layer of contrast, of users and of items; with noise from ``rng``."""
        settings = self.settings
        users, items = self.arrays["users"], self.arrays["items"]
        sums = np.zeros_like(users), np.zeros_like(items)
        view = users, items
        for layer in range(1, settings.layers + 1):
            users, items = self.graph.to_rows(items), self.graph.to_columns(users)
            if rng is not None and settings.noise:
                users, items = (_shaken(each, settings.noise, rng) for each in (users, items))
            sums = sums[0] + users, sums[1] + items
            view = (users, items) if layer == settings.contrast else view
        share = np.float32(1 / settings.layers)
        return (share * sums[0], share * sums[1]), view

    def backward(self, d_mean: _Pair, d_view: _Pair) -> _Pair:
        """The gradients by the start: Σ over layers k of Aᵏ times the gradient by layer k, from the last layer down."""
        share = np.float32(1 / self.settings.layers)
        users, items = np.zeros_like(d_mean[0]), np.zeros_like(d_mean[1])
        for layer in range(self.settings.layers, 0, -1):
            users, items = users + share * d_mean[0], items + share * d_mean[1]
            if layer == self.settings.contrast:
                users, items = users + d_view[0], items + d_view[1]
            users, items = self.graph.to_rows(items), self.graph.to_columns(users)
        return users, items

    def _edges(self, batch: _Batch, mean: _Pair) -> tuple[float, _Pair]:
        """The softmax of the batch's edges against shared negatives, and its gradients."""
        settings = self.settings
        all_of_them = len(batch.users) == self.X.shape[0]
        links = self.graph.links if all_of_them else Links.of(self.X[batch.users])
        rows, row_lengths = to_unit(mean[0][batch.users])
        columns, lengths = to_unit(mean[1])
        counts, sharp = links.counts, np.float32(1 / settings.temperature)
        weights = (np.maximum(counts, 1) ** -settings.balance).astype(np.float32)
        weights /= max(1.0, float(weights @ counts))
        log_q = np.full(len(batch.negatives), np.log(len(batch.negatives) / len(columns)), np.float32)
        found = softmax(links, sharp * rows, columns, batch.negatives, log_q, weights)
        d_users = np.zeros_like(mean[0])
        d_users[batch.users] = to_unit_back(sharp * found.rows, rows, row_lengths)
        return found.loss, (d_users, to_unit_back(found.columns, columns, lengths))

    def _agree(
        self, rows: Int64Array, mean: Float32Array, view: Float32Array, d_mean: Float32Array, d_view: Float32Array
    ) -> float:
        """Adds the gradients of the agreement of both views of ``rows``; its loss."""
        weight = np.float32(self.settings.agreement)
        one, one_lengths = to_unit(mean[rows])
        other, other_lengths = to_unit(view[rows])
        found = agreement(one, other, self.settings.agreement_temperature)
        d_mean[rows] += weight * to_unit_back(found.rows, one, one_lengths)
        d_view[rows] += weight * to_unit_back(found.columns, other, other_lengths)
        return float(weight) * found.loss

    def model(self, of_items: np.ndarray) -> "XSimGCLModel":
        """The vectors after their last pass, without noise, and what a history sums."""
        settings = self.settings
        (users, items), _ = self.forward(None)
        # A user's layers 1 … K are sums over the items' layers 0 … K − 1.
        shares = np.full(settings.layers, 1 / settings.layers, np.float32)
        passed = self.graph.layers(self.arrays["users"], self.arrays["items"], shares)[1]
        sources = passed * inverse_power(of_items, 0.5)[:, None].astype(np.float32)
        unit, lengths = to_unit(items)
        items = unit * lengths ** np.float32(settings.popularity)
        return XSimGCLModel(settings, users, items, sources @ bridge(self.graph.to_rows(passed), users))


def _shaken(vectors: Float32Array, size: float, rng: np.random.Generator) -> Float32Array:
    """The vectors with noise of length ``size`` in their own orthant."""
    noise, _ = to_unit(rng.random(vectors.shape, dtype=np.float32))
    return np.asarray(vectors + np.float32(size) * np.copysign(noise, vectors) * (vectors != 0), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class XSimGCLModel:
    """A fitted XSimGCL.

    Attributes:
        settings: what it was fitted with.
        users: (U, D) float32 the users of the fit.
        items: (N, D) float32.
        sources: (N, D) float32 what an item of a history adds to the vector of its asker, by the weights of the graph.
    """

    settings: XSimGCL
    users: Float32Array
    items: Float32Array
    sources: Float32Array

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D): the vectors of known users, sums over the history for others; zeros for an empty history."""
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
