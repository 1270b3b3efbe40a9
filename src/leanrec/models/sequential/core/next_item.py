"""What comes next: the training and the answers that all sequence models share.

A model brings a network from items (B, L) to states (B, L, D). The state after a history is compared with the
vectors of all items; the highest product is the best next item.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from leanrec.data.dataset import Dataset, Shape
from leanrec.data.splits.evaluation_set import Cases
from leanrec.data.table import Table
from leanrec.errors import SettingError
from leanrec.features.pipeline import TEXT_FEATURES
from leanrec.kernels.sparse import dot_scores
from leanrec.models.sequential.core.item_content import (
    CONTENT_DIMENSIONS,
    ItemContent,
    add_content,
    fit_features,
    take_content,
)
from leanrec.models.sequential.core.spectral_init import start_bytes, start_vectors
from leanrec.nn.activation_checkpointing import recompute_blocks
from leanrec.nn.arrays import with_arrays
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between, check_one_of
from leanrec.training import losses
from leanrec.training.config import Training
from leanrec.training.early_stopping import hold_out, mean_ndcg
from leanrec.training.histories import Histories, Padded, by_length, padded
from leanrec.training.negative_sampling import Draw, hardest
from leanrec.training.sharded_embedding import (
    ShardedTable,
    mean_ndcg_sharded,
    part_of,
    rows_of_step,
    sharded,
    whole_arrays,
)
from leanrec.training.trainer import torch_threads, train
from leanrec.types import Float32Array, Int32Array, Int64Array, Queries

__all__ = ["Lesson", "NextItem", "NextItemContentModel", "NextItemModel", "NextItemNetwork", "fit_next_item"]

_LOSSES = ("cross_entropy", "sampled_softmax", "bce", "gbce", "bpr")
# Losses with negatives of each target's own.
_OWN_NEGATIVES = frozenset({"bce", "gbce", "bpr"})
# Numbers that a block of a Transformer keeps for each place and each number of its width, with slack for what torch holds on to.
_BLOCK = 24
# What torch takes with its first step: its own code, and the work space of products.
_TORCH_BYTES = 240 * 2**20
_ANSWER_CELLS = 16_384


class NextItemNetwork(Protocol):
    """A network over histories, an ``nn.Module``."""

    items: nn.Embedding

    def __call__(self, items: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) the state after each item, of it and those before; items (B, L), −1 past the ``lengths`` (B,)."""
        ...


class Lesson(NamedTuple):
    """One step's inputs and what they have to tell.

    Attributes:
        items: (B, L) what the network sees, −1 past the end.
        lengths: (B,)
        targets: (B, L) the item to tell at each place, −1 for none.
    """

    items: Tensor
    lengths: Tensor
    targets: Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class NextItem(Training):
    """The settings of a model of what comes next. ``batch`` counts items.

    Attributes:
        width: D, the length of an item's vector.
        length: the latest items of a history that are looked at.
        dropout: share of cells that are set to zero in training.
        loss: "cross_entropy" over all items, "sampled_softmax" over ``negatives`` that a batch shares, with logQ
            correction, or "bce", "gbce" or "bpr" against ``negatives`` for each item.
        negatives: how many.
        draw: where negatives come from: "uniform" ("gbce" knows no other), "popularity", or "batch" (sampled_softmax alone).
        harder: so many are drawn for each negative of "bce" or "bpr", and those of highest score are kept.
        start: item vectors before the first step: "spectral", by which items stand near each other in histories, or "random".
        content: "none", or what a column of text in the item table gives ("tfidf", "hashing", "nmf", "lda" or
            "embedding"): then an item's vector is its own plus a projection of its content, and the model takes in
            new items.
        recompute: keep only what comes into each block of a step and compute the rest again on the way back: a third more
            time, for longer histories, larger batches or deeper models in the same memory.
    """

    shardable: ClassVar[bool] = True

    batch: int = 2048
    learning_rate: float = 2e-3
    width: int = 64
    length: int = 200
    dropout: float = 0.2
    loss: str = "cross_entropy"
    negatives: int = 256
    draw: str = "uniform"
    harder: int = 1
    start: str = "spectral"
    content: str = "none"
    recompute: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("width", self.width, 1)
        check_at_least("length", self.length, 1)
        check_between("dropout", self.dropout, 0, 0.99)
        check_one_of("loss", self.loss, _LOSSES)
        check_at_least("negatives", self.negatives, 1)
        check_at_least("harder", self.harder, 1)
        if self.harder > 1 and self.loss not in _OWN_NEGATIVES:
            raise SettingError(
                f"harder must be 1 unless the loss is bce or bpr. Got harder={self.harder}, loss={self.loss!r}."
            )
        check_one_of("start", self.start, ("spectral", "random"))
        check_one_of("content", self.content, ("none", *TEXT_FEATURES))
        check_one_of(
            "draw",
            self.draw,
            ("uniform", "popularity", "batch") if self.loss == "sampled_softmax" else ("uniform", "popularity"),
        )

        if self.loss == "gbce" and (self.draw != "uniform" or self.harder > 1):
            raise SettingError(
                "gbce corrects for even draws, so draw must be 'uniform' and harder must be 1. "
                f"Got draw={self.draw!r}, harder={self.harder}."
            )

    def network(self, n_items: int) -> nn.Module:
        """A ``NextItemNetwork`` with fresh weights. Every model brings its own."""
        raise NotImplementedError

    def lesson(self, items: Tensor, lengths: Tensor, rng: np.random.Generator) -> Lesson:  # noqa: ARG002 - for those that draw
        """What is asked of the network about stretches of histories (B, L + 1): at each item, the next one."""
        return Lesson(items[:, :-1], lengths - 1, items[:, 1:])

    def question(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the network sees of whole histories (B, L) when it answers, by its state at the last place: all as it is."""
        return items, lengths

    def fit_bytes(self, shape: Shape) -> int:
        """Weights with gradients, two moments and two copies; the cells of a batch with what a step back needs; the histories."""
        table = 4 * shape.items * self.width
        layers = getattr(self, "layers", 2)
        # A block that is computed again keeps what comes into it, and one block at a time is whole.
        kept = layers + _BLOCK if self.recompute else layers * _BLOCK
        cells = 4 * max(self.batch, self.length) * self.width * (_BLOCK + kept)
        drawn = max(self.batch, self.length) if self.draw == "batch" else self.negatives * self.harder
        scores = 4 * max(self.batch, self.length) * drawn * (1 if self.loss != "cross_entropy" else 0)
        logits = losses.stretch_bytes(shape.items, self.width) if self.loss == "cross_entropy" else 0
        content = 0 if self.content == "none" else 3 * table + 16 * shape.items * CONTENT_DIMENSIONS
        per_negative = 2 * self.width if self.loss in _OWN_NEGATIVES else 4
        start = start_bytes(shape.items, shape.events, self.width) if self.start == "spectral" else 0
        return (
            start
            + 10 * table
            + content
            + 300 * (layers + 1) * self.width**2
            + cells
            + scores * per_negative
            + logits
            + 64 * shape.events
            + _TORCH_BYTES
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Objective:
    """Batches of like lengths, and the loss of the next item at every place of them."""

    settings: NextItem
    histories: Histories
    draw: Draw

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        length = self.settings.length + 1
        shift = rng.integers(0, length - 1, len(self.histories)) if length > 2 else 0
        starts, ends = self.histories.windows(length, shift)
        # One item has nothing after it.
        starts, ends = starts[ends - starts > 1], ends[ends - starts > 1]
        return _Cut(self.histories, starts, ends, by_length(ends - starts - 1, self.settings.batch, rng))

    def loss(self, network: nn.Module, batch: Padded, rng: np.random.Generator) -> Tensor:
        items, lengths = batch.items.to(_device(network)), batch.lengths.to(_device(network))
        items, lengths, targets = self.settings.lesson(items, lengths, rng)
        inside = targets >= 0
        with parametrize.cached():  # vectors with content are put together once a step
            states = network(items, lengths)
            table = _table(network)
        return self._compare(states[inside], table, targets[inside], rng)

    def _compare(
        self, states: Tensor, table: Tensor | ShardedTable, targets: Tensor, rng: np.random.Generator
    ) -> Tensor:
        settings = self.settings
        if settings.loss == "cross_entropy" and isinstance(table, Tensor):
            return losses.cross_entropy(states, table, targets)
        if settings.loss == "sampled_softmax":
            if settings.draw == "batch":
                negatives, log_q = targets, self.draw.log_p + np.log(len(targets))
            else:
                negatives, log_q = (
                    self.draw.items((settings.negatives,), rng),
                    self.draw.log_p + np.log(settings.negatives),
                )
            negatives, log_q = negatives.to(targets.device), log_q.to(targets.device)
            table, log_q, targets, negatives = rows_of_step(table, log_q, targets, negatives)
            return losses.sampled_softmax(states, table, targets, negatives, log_q)
        negatives = self.draw.items((len(targets), settings.negatives * settings.harder), rng).to(targets.device)
        table, _, targets, negatives = rows_of_step(table, self.draw.log_p, targets, negatives)
        if settings.harder > 1:
            negatives = hardest(states, table, targets, negatives, settings.negatives)
        if settings.loss == "gbce":
            return losses.gbce(
                states, table, targets, negatives, share=min(1.0, settings.negatives / max(1, len(self.draw.log_p) - 1))
            )
        return (losses.bce if settings.loss == "bce" else losses.bpr)(states, table, targets, negatives)


@dataclasses.dataclass(frozen=True, eq=False)
class _Cut(Sequence[Padded]):
    """Batches that are put together when they are asked for."""

    histories: Histories
    starts: Int64Array
    ends: Int64Array
    groups: list[Int64Array]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, i: int) -> Padded:  # type: ignore[override]  # nobody asks for a slice
        return padded(self.histories, self.starts[self.groups[i]], self.ends[self.groups[i]])


def fit_next_item(settings: NextItem, data: Dataset, run: Run, valid: Cases | None = None) -> "NextItemModel":
    """Train ``settings.network`` on the histories of ``data``.

    With ``patience`` the score is NDCG@10 on ``valid``, or on the latest item of 5 % of the users, which is then left
    out of training, where that is None.
    """
    name = type(settings).__name__
    if run.shard:
        _check_shard(settings)
    run.require(
        settings.fit_bytes(part_of(data.shape, run)),
        f"{name} of width {settings.width}",
        "Choose a smaller width or batch, or raise the limit.",
    )
    if settings.patience and valid is None:
        data, valid = hold_out(data, run.rng())
    features = None if settings.content == "none" else fit_features(data, settings.content, run)
    histories = Histories.of(data)
    counts = np.bincount(histories.items, minlength=len(data.items))
    how = "popularity" if settings.draw == "popularity" else "uniform"
    draw = Draw.by(how, counts) if settings.draw != "batch" else Draw.by("popularity", counts, power=1.0)
    with torch.random.fork_rng(devices=[]), torch_threads(run):
        torch.manual_seed(run.seed)
        network = sharded(settings.network, len(data.items), run)
        table = cast(nn.Embedding, network.items)
        if settings.start == "spectral":
            vectors = start_vectors(histories, len(data.items), settings.width, run.rng())
            with torch.no_grad():
                table.weight.copy_(torch.from_numpy(vectors))
        if features is not None and data.item_table is not None:
            add_content(table, features, data.item_table)
        if settings.recompute:
            recompute_blocks(network)
        judge = None if valid is None else functools.partial(_judge, network, settings, valid)
        train(network, _Objective(settings, histories, draw), settings, run, score=judge, name=name, of=(data, valid))
        content = None if features is None else take_content(table, features)
    weights = whole_arrays(network)
    return NextItemModel(settings, weights) if content is None else NextItemContentModel(settings, weights, content)


def _check_shard(settings: NextItem) -> None:
    """Whatever needs the vectors of all items at once cannot be done by workers that hold a part of them."""
    allowed = {
        "loss": tuple(loss for loss in _LOSSES if loss != "cross_entropy"),
        "start": ("random",),
        "content": ("none",),
    }
    for name, values in allowed.items():
        if getattr(settings, name) not in values:
            raise SettingError(
                f"With shard=True {name} must be {' or '.join(map(repr, values))}. Got {name}={getattr(settings, name)!r}."
            )


def _judge(network: nn.Module, settings: NextItem, valid: Cases) -> float:
    states = _states(network, settings, Histories.from_queries(valid.queries, settings.length))
    table = _table(network)
    if isinstance(table, ShardedTable):
        return mean_ndcg_sharded(states, table, valid)
    return mean_ndcg(states, table.detach().cpu().numpy(), valid)


def _table(network: nn.Module) -> Tensor | ShardedTable:
    """The vectors of the items, or who has them."""
    return network.items if isinstance(network.items, ShardedTable) else cast(nn.Embedding, network.items).weight


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _states(network: nn.Module, settings: NextItem, histories: Histories) -> Float32Array:
    """(B, D) the state after each whole history; zeros after an empty one."""
    table = cast(nn.Embedding, network.items)
    out = np.zeros((len(histories), table.embedding_dim), np.float32)
    lengths = histories.lengths
    some = np.flatnonzero(lengths)
    order = some[np.argsort(lengths[some], kind="stable")]
    while len(order):
        # The longest decide how many fit.
        block = order[-max(1, _ANSWER_CELLS // int(lengths[order[-1]])) :]
        order = order[: -len(block)]
        batch = padded(histories, histories.bounds[block], histories.bounds[block + 1])
        with torch.inference_mode():
            items, seen = settings.question(batch.items.to(_device(network)), batch.lengths.to(_device(network)))
            out[block] = network(items, seen)[torch.arange(len(block)), seen - 1].float().cpu().numpy()
    return out


@dataclasses.dataclass(frozen=True, eq=False)
class NextItemModel:
    """A fitted model of what comes next.

    Attributes:
        settings: what it was fitted with; they know the network.
        weights: its weights by name; "items.weight" is (N, D).
    """

    settings: NextItem
    weights: Mapping[str, NDArray[Any]]

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.weights["items.weight"])

    @functools.cached_property
    def _network(self) -> nn.Module:
        return with_arrays(self.settings.network(self.n_items), self.weights)

    def embed_queries(self, queries: Queries) -> Float32Array:
        """(B, D) the state after each history; zeros for an empty one."""
        return _states(self._network, self.settings, Histories.from_queries(queries, self.settings.length))

    def embed_items(self) -> Float32Array:
        """(N, D)."""
        return self.weights["items.weight"]

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """States · item vectors."""
        return dot_scores(self.embed_queries(queries), self.embed_items(), items)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by how far the score of ``item`` falls without each. L passes through the network."""
        history = Histories.from_queries(queries.block(0, 1), self.settings.length).items
        without = [np.delete(history, i) for i in range(len(history))]
        states = _states(self._network, self.settings, Histories.from_rows([history, *without]))
        scores = states @ self.embed_items()[item]
        added: dict[int, float] = {}
        for touched, less in zip(history.tolist(), scores[1:].tolist(), strict=True):
            added[touched] = added.get(touched, 0.0) + float(scores[0]) - less
        order = sorted(added, key=lambda row: -added[row])
        weights = np.array([added[row] for row in order], np.float32)
        return Explanation("history", np.array(order, np.int32), weights)


@dataclasses.dataclass(frozen=True, eq=False)
class NextItemContentModel(NextItemModel):
    """A model of what comes next that takes in new items by their content.

    Attributes:
        content: what gave each item a part of its vector, and gives a new one all of it.
    """

    content: ItemContent

    def extend(self, items: Table) -> "NextItemContentModel":
        """The model of N + M items: the M rows follow. Raises ColumnError where no known column is there."""
        vectors = np.concatenate([self.embed_items(), self.content.vectors(items)])
        return dataclasses.replace(self, weights={**self.weights, "items.weight": vectors})
