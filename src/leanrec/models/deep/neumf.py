"""NeuMF: a product of vectors and a small network look at user and item together.

He, Liao, Zhang, Nie, Hu & Chua, "Neural Collaborative Filtering", WWW 2017. The user is what they are known by and what
they touched (Koren, "Factorization Meets the Neighborhood", KDD 2008), so that somebody new is answered as well.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.cases import Cases
from leanrec.data.dataset import Dataset, Shape
from leanrec.errors import SettingError
from leanrec.nn.arrays import to_arrays
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between, check_one_of
from leanrec.training.held_out import hold_out, mean_ndcg_of
from leanrec.training.hiding import Hidden, Hiding, Touched, hidden_softmax, weights_of
from leanrec.training.loop import device_of, torch_threads, train
from leanrec.training.settings import Training
from leanrec.training.starts import spectral_start, spectral_start_bytes
from leanrec.types import CSR, Float32Array, Int32Array, Queries

__all__ = ["NeuMF", "NeuMFModel"]

# Items of one stretch of an answer: its cells stay in the cache from layer to layer.
_STRETCH = 1024
# Where the spectrum begins, an item's bias is so much of the logarithm of its users.
_POPULAR = 0.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeuMF(Training):
    """score(u, i) = g · (p_u ∘ q_i) + out · MLP([p'_u, q'_i]) + b_i, with the first D numbers of a vector for the product
    and the last D for the network.

    A user's vector is the sum of one of their own and of (L + 1)^−power Σ h_j over the L items they touched. In training a
    random part of the items is hidden and has to be found from the rest, and the own vector is left out for a random half of
    the groups, so that the items alone come to say the same: they are all there is of a new user.

    The first layer is a sum of a part of the user and one of the item. Those of the items are computed once, so an answer
    costs the upper layers only, and needs no torch.

    Cost: an epoch O((E + U · parts · negatives) · (D + Σ sizes of neighbouring layers)); a query O(L · D + N · (D + the same
    sum without the first)); the model 8 D (U + 2 N) bytes.

    Attributes:
        width: D, numbers for the product and again as many for the network.
        layers: widths of the network's layers, the first at the bottom; () = the product alone (GMF).
        loss: "softmax", each hidden item against ``negatives`` random ones that stand for all others, or "bce", yes or no for
            each pair as in the paper, with ``negatives`` weighing as four for each hidden item.
        negatives: random items that all users of a step are compared with, without those they touched.
        parts: the items of a user are hidden in so many parts, one after the other.
        drop_user: share of the groups that train without the user's own vector; 1 = there is none.
        power: of the number of items, by which the sum over them is divided.
        balance: a hidden item counts L^−balance: 0 = all alike, 1 = all users alike.
        dropout: share of cells of a user's vector and of the layers that are set to zero in training.
        start: "spectrum", the strongest directions of the log, so that training begins where a singular value decomposition
            ends (the paper trains GMF and MLP first, to the same purpose), or "random".
    """

    epochs: int = 20
    batch: int = 8192
    learning_rate: float = 3e-3
    width: int = 64
    layers: tuple[int, ...] = (64, 32, 16)
    loss: str = "softmax"
    negatives: int = 128
    parts: int = 5
    drop_user: float = 0.5
    power: float = 0.5
    balance: float = 0.0
    dropout: float = 0.0
    start: str = "spectrum"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("width", self.width, 1)
        if min(self.layers, default=1) < 1:
            raise SettingError(f"layers must be positive widths, such as [64,32,16]. Got {self.layers!r}.")
        check_one_of("loss", self.loss, ("softmax", "bce"))
        check_at_least("negatives", self.negatives, 1)
        check_at_least("parts", self.parts, 2)
        check_between("drop_user", self.drop_user, 0, 1)
        check_between("power", self.power, 0, 1)
        check_between("balance", self.balance, 0, 1)
        check_between("dropout", self.dropout, 0, 0.99)
        check_one_of("start", self.start, ("spectrum", "random"))

    def fit_bytes(self, shape: Shape) -> int:
        """Weights with gradients, two moments and two copies; cells of a step and what the way back needs; the pairs."""
        tables = 8 * self.width * (shape.users + 2 * shape.items)
        inside = 4 * sum(a * b for a, b in zip((2 * self.width, *self.layers), (*self.layers, 1), strict=True))
        groups = min(self.batch, self.parts * max(1, shape.users))
        pairs = self.batch + groups * self.negatives // max(1, self.batch // max(1, groups))
        cells = 16 * (pairs + self.batch) * (sum(self.layers) + 2 * self.width)
        start = spectral_start_bytes(shape.users, shape.items, shape.events, self.width)
        return 7 * (tables + inside) + cells + start + 80 * shape.events + 40 * 2**20

    def fit(self, data: Dataset, run: Run = Run(), valid: Cases | None = None) -> "NeuMFModel":
        """Learn from which items go together with which users.

        With ``patience`` the score is NDCG@10 on ``valid``, or on the latest items of 5 % of the users, who are then left
        out of training, where that is None.
        """
        run.require(self.fit_bytes(data.shape), f"NeuMF of width {self.width}", "Choose a smaller width or raise the limit.")
        device_of(run)
        if self.patience and valid is None:
            data, valid = hold_out(data, run.rng())
        X = data.interactions
        with torch.random.fork_rng(devices=[]), torch_threads(run):
            torch.manual_seed(run.seed)
            network = _Network(self, *X.shape)
            if self.start == "spectrum" and X.nnz:
                with run.limits():
                    network.begin(X, run.rng())
            judge = None if valid is None else lambda: mean_ndcg_of(_model(self, network).score, valid)
            train(network, _Objective(self, Touched(X)), self, run, score=judge, name="NeuMF")
        return _model(self, network)


class _Network(nn.Module):
    def __init__(self, settings: NeuMF, n_users: int, n_items: int) -> None:
        super().__init__()
        self.settings, D = settings, settings.width
        self.users = nn.Embedding(n_users, 2 * D)
        self.history = nn.Embedding(n_items, 2 * D)
        self.items = nn.Embedding(n_items, 2 * D)
        self.bias = nn.Embedding(n_items, 1)
        for table in (self.users, self.history, self.items):
            nn.init.normal_(table.weight, std=0.1 / D**0.5 if table is self.users else D**-0.5)
        nn.init.zeros_(self.bias.weight)
        self.product = nn.Parameter(torch.ones(D))
        widths = settings.layers
        if widths:
            self.from_user = nn.Linear(D, widths[0])
            self.from_item = nn.Linear(D, widths[0], bias=False)
            self.upper = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))
            self.out = nn.Linear(widths[-1], 1, bias=False)

    @torch.no_grad()
    def begin(self, X: CSR, rng: np.random.Generator) -> None:
        """Begin with the strongest directions of X and with popularity, and let the network add nothing at first."""
        D = self.settings.width
        starts = spectral_start(X, D, self.settings.power, rng)
        for table, vectors in zip((self.history, self.items), starts, strict=True):
            table.weight[:, :D] = table.weight[:, D:] = torch.from_numpy(vectors)
        popular = np.log1p(np.bincount(X.indices, minlength=X.shape[1])).astype(np.float32)
        self.bias.weight[:, 0] = torch.from_numpy(_POPULAR * (popular - popular.mean()))
        nn.init.normal_(self.users.weight, std=0.01)
        if self.settings.layers:
            nn.init.zeros_(self.out.weight)

    def represent(self, batch: Hidden) -> Tensor:
        """(G, 2 D) each group's user, by own vector and by the items that are not hidden."""
        settings = self.settings
        touched = F.embedding_bag(batch.seen, self.history.weight, batch.offsets, mode="sum")
        touched = touched * (batch.lengths[:, None] + 1.0) ** -settings.power
        kept = torch.rand(len(touched), 1, device=touched.device) >= settings.drop_user
        return F.dropout(touched + self.users(batch.users) * kept, settings.dropout, self.training)

    def forward(self, users: Tensor, items: Tensor, groups: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of vectors of users (G, 2 D): of all of them with ``items`` (S,), and (P,) of ``groups`` with ``targets``.

        What is one part of a pair only is computed once for it, and the upper layers see all pairs at once.
        """
        D, S = self.settings.width, len(items)
        rows, place = torch.unique(torch.cat([items, targets]), return_inverse=True)
        vectors, bias = self.items(rows), self.bias(rows)[:, 0]
        product = vectors[:, :D] * self.product
        of_all = users[:, :D] @ product[place[:S]].T + bias[place[:S]]
        of_targets = (users[groups, :D] * product[place[S:]]).sum(1) + bias[place[S:]]
        if not self.settings.layers:
            return of_all, of_targets
        a, b = self.from_user(users[:, D:]), self.from_item(vectors[:, D:])
        pairs = (a[:, None] + b[place[:S]]).flatten(0, 1), a[groups] + b[place[S:]]
        x = F.relu(torch.cat(pairs), inplace=True)
        for layer in self.upper:
            x = F.relu(layer(F.dropout(x, self.settings.dropout, self.training)), inplace=True)
        added = self.out(x)[:, 0]
        cells = of_all.numel()
        return of_all + added[:cells].view_as(of_all), of_targets + added[cells:]


@dataclasses.dataclass(frozen=True, eq=False)
class _Objective:
    """Hidden items against random ones."""

    settings: NeuMF
    touched: Touched

    def batches(self, rng: np.random.Generator) -> Sequence[Hidden]:
        return Hiding.of(self.touched.X, self.settings.parts, self.settings.batch, rng)

    def loss(self, network: nn.Module, batch: Hidden, rng: np.random.Generator) -> Tensor:
        net, settings, n_items = cast(_Network, network), self.settings, self.touched.X.shape[1]
        device = net.product.device
        drawn = torch.from_numpy(rng.integers(0, n_items, settings.negatives))
        known = self.touched.among(batch.users, drawn).to(device)
        batch = batch.to(device)
        negative, positive = net(net.represent(batch), drawn.to(device), batch.groups, batch.targets)
        negative = negative.masked_fill(known, -torch.inf)
        if settings.loss == "softmax":
            return hidden_softmax(positive, negative - np.log(settings.negatives / n_items), batch, settings.balance)
        weight = weights_of(batch, settings.balance)
        others = F.softplus(negative).sum(1)[batch.groups] * 4 / settings.negatives
        return ((F.softplus(-positive) + others) * weight).sum() / weight.sum()


def _model(settings: NeuMF, network: _Network) -> "NeuMFModel":
    return NeuMFModel(settings, to_arrays(network))


@dataclasses.dataclass(frozen=True, eq=False)
class NeuMFModel:
    """A fitted NeuMF.

    Attributes:
        settings: what it was fitted with.
        weights: by name: "users.weight" (U, 2 D), "history.weight" and "items.weight" (N, 2 D), "bias.weight" (N, 1),
            "product" (D,), and those of the network.
    """

    settings: NeuMF
    weights: Mapping[str, NDArray[Any]]

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.weights["items.weight"])

    @functools.cached_property
    def _items(self) -> tuple[Float32Array, Float32Array, Float32Array]:
        """(N, D) and (N,) for the product, (N, first layer) for the network."""
        D, vectors = self.settings.width, self.weights["items.weight"]
        first = vectors[:, D:] @ self.weights["from_item.weight"].T if self.settings.layers else vectors[:, :0]
        return vectors[:, :D] * self.weights["product"], self.weights["bias.weight"][:, 0], first

    def represent(self, queries: Queries) -> Float32Array:
        """(B, 2 D) users by their histories, and by their own vectors where they were in the fit."""
        lengths = np.diff(queries.history.indptr)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        touched = np.zeros((len(lengths), 2 * self.settings.width), np.float32)
        np.add.at(touched, owner, self.weights["history.weight"][queries.history.indices])
        touched *= ((lengths + np.float32(1)) ** np.float32(-self.settings.power))[:, None]
        known = np.flatnonzero(queries.users >= 0)
        if self.settings.drop_user < 1:
            touched[known] += self.weights["users.weight"][queries.users[known]]
        return touched

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Product and network; zeros where the history is empty."""
        users = self.represent(queries)
        rows = np.arange(self.n_items) if items is None else np.asarray(items)
        scores = np.empty((len(users), rows.shape[-1]), np.float32)
        for b, vector in enumerate(users):
            self._score_one(vector, rows if rows.ndim == 1 else rows[b], scores[b], whole=items is None)
        scores[np.diff(queries.history.indptr) == 0] = 0
        return scores

    def _score_one(self, vector: Float32Array, rows: NDArray[Any], out: Float32Array, *, whole: bool) -> None:
        D, weights = self.settings.width, self.weights
        product, bias, first = self._items
        at = vector[D:] @ weights["from_user.weight"].T + weights["from_user.bias"] if self.settings.layers else None
        for start in range(0, len(rows), _STRETCH):
            cut = slice(start, start + _STRETCH)
            take = cut if whole else rows[cut]
            out[cut] = product[take] @ vector[:D] + bias[take]
            if at is not None:
                x = np.maximum(first[take] + at, 0)
                for i in range(len(self.settings.layers) - 1):
                    x = x @ weights[f"upper.{i}.weight"].T
                    x += weights[f"upper.{i}.bias"]
                    np.maximum(x, 0, out=x)
                out[cut] += x @ weights["out.weight"][0]

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by how far the score of ``item`` falls without each. O(L · (D + layers))."""
        one = queries.block(0, 1)
        history, D = one.history.indices, 2 * self.settings.width
        whole = self.represent(one)[0]
        L, power = len(history), np.float32(self.settings.power)
        parts = self.weights["history.weight"][history].reshape(L, D)
        touched = parts.sum(0)
        own = whole - touched * (L + np.float32(1)) ** -power
        without = own + (touched - parts) * np.float32(max(1, L)) ** -power
        row, score = np.array([item]), np.empty((L + 1, 1), np.float32)
        for b, vector in enumerate([whole, *without]):
            self._score_one(vector, row, score[b], whole=False)
        added = score[0, 0] - score[1:, 0]
        order = np.argsort(-added, kind="stable")
        return Explanation("history", history[order].astype(np.int32), added[order])
