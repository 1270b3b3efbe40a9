"""Ranking by features: the training and the answers that DeepFM and its kin share.

A model brings a network from field vectors to logits. From a data set, every positive event is an example with a few
items that its user has not touched; the asker's side holds who, when and the history before the event, the item's
side which item and its content. From a table, every row is an example.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.cases import Cases
from leanrec.data.dataset import Dataset, Shape
from leanrec.data.table import Table
from leanrec.errors import DataError, SettingError
from leanrec.features.pipeline import TEXT_FEATURES
from leanrec.nn.arrays import to_arrays, with_arrays
from leanrec.nn.fields import FieldNetwork, Fields, FieldVectors, side_by_side
from leanrec.protocols import Explanation
from leanrec.run import Run
from leanrec.settings import check_at_least, check_between, check_one_of
from leanrec.training.held_out import hold_out, mean_ndcg_of
from leanrec.training.histories import Histories
from leanrec.training.loop import Objective, torch_threads, train
from leanrec.training.rows import Askers, Content, Examples, Rows, has_order, item_rows, spans
from leanrec.training.settings import Training
from leanrec.types import Candidates, Events, Float32Array, Int32Array, Int64Array, Queries

__all__ = ["ByFields", "FieldModel", "RowModel", "fit_events", "fit_rows", "mean_auc"]

_ASKER, _ITEM = 0, 1
# Pairs judged at a time: their layers stay in the cache.
_PAIRS = 8_192
# Held-out askers that early stopping looks at: each is a pass over all items.
_JUDGED = 300
_HELD = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByFields(Training):
    """Settings of every model that ranks by features.

    Attributes:
        width: of the vector of each field.
        hidden: widths of the layers of the perceptron.
        dropout: share of its units that a step leaves out.
        batch_norm: scale each of its layers by the batch.
        negatives: untouched items for each positive event.
        length: so many of the latest items of a history are pooled.
        forget: share of the codes (user, item, hour …) that training makes unknown, so that new ones have an answer.
        l2: half the factor on the sum of the squares of all embedding tables, in the loss; tables with sparse gradients
            (200,000 rows and more) are left out.
        columns: of the item table that are used; () = all that can be.
        text: what a column of text gives: "tfidf", "hashing", "nmf", "lda" or "embedding".
    """

    epochs: int = 10
    batch: int = 4096
    width: int = 16
    hidden: tuple[int, ...] = (128, 64)
    dropout: float = 0.0
    batch_norm: bool = True
    negatives: int = 4
    length: int = 50
    forget: float = 0.1
    l2: float = 0.0
    columns: tuple[str, ...] = ()
    text: str = "tfidf"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("width", self.width, 1)
        if not self.hidden:
            raise SettingError("hidden must name at least one width, such as (128, 64). Got none.")
        for wide in self.hidden:
            check_at_least("hidden", wide, 1)
        check_between("dropout", self.dropout, 0, 0.99)
        check_at_least("negatives", self.negatives, 1)
        check_at_least("length", self.length, 1)
        check_between("forget", self.forget, 0, 0.99)
        check_at_least("l2", self.l2, 0)
        check_one_of("text", self.text, TEXT_FEATURES)

    def network(self, sides: tuple[Fields, ...], tasks: int) -> FieldNetwork:
        """Fresh weights for rows of these fields. Every model brings its own."""
        raise NotImplementedError

    def tasks(self, data: Dataset) -> tuple[str, ...]:
        """What is foretold of a pair; one thing, unless the model says more: that a user touches an item."""
        del data
        return ("positive",)

    def combined(self, logits: Tensor) -> Tensor:
        """(R, T) logits to (R,) scores."""
        return logits[:, 0]

    def fit_bytes(self, shape: Shape) -> int:
        """Tables of users, items and histories, 4 kB of content an item and a user, and what a step needs."""
        return self.bytes_for(shape.users + 2 * shape.items) + 4096 * (shape.items + shape.users) + 96 * shape.events

    def bytes_for(self, values: int) -> int:
        """Tables of so many rows with gradients, two moments and three copies; the layers of a batch, forth and back."""
        cells = 24 * (self.width + 1) + 4 * sum(self.hidden)
        return 32 * values * (self.width + 1) + 4 * self.batch * 4 * cells + 2**26


@dataclasses.dataclass(frozen=True, eq=False)
class _Log:
    """P positive events by user and time, and what they are examples of.

    ``user``, ``item`` (P,); ``time`` (P,); ``bounds`` (U + 1,); ``labels`` (P, T); ``weight`` (P,).
    """

    user: Int32Array
    item: Int32Array
    time: Int64Array
    bounds: Int64Array
    labels: Float32Array
    weight: Float32Array

    @classmethod
    def of(cls, data: Dataset, tasks: Sequence[str]) -> "_Log":
        events = data.events.take(data.events.weight > 0)
        bounds = np.concatenate([[0], np.cumsum(np.bincount(events.user, minlength=len(data.users)))])
        weight = np.ones(len(events), np.float32)
        if len(tasks) == 1 and len(events):
            weight = events.weight / np.float32(events.weight.mean())
        return cls(
            events.user,
            events.item,
            events.time,
            bounds.astype(np.int64),
            _labels(events, len(data.items), tasks),
            weight,
        )

    def shuffled(self, rng: np.random.Generator) -> "_Log":
        """The events of each user in a random order, for logs that know none."""
        order = np.lexsort((rng.random(len(self.user)), self.user))
        cut = (self.user[order], self.item[order], self.time[order])
        return _Log(*cut, self.bounds, self.labels[order], self.weight[order])

    def before(self, places: Int64Array, length: int) -> Histories:
        """The latest items before each event, without the event's own: no negative is there, so it would give it away."""
        starts = np.maximum(self.bounds[self.user[places]], places - length)
        lengths = places - starts
        items = self.item[spans(starts, lengths)]
        kept = items != np.repeat(self.item[places], lengths)
        ends = np.concatenate([[0], np.cumsum(lengths)])
        return Histories(items[kept], np.concatenate([[0], np.cumsum(kept)])[ends].astype(np.int64))


def _labels(events: Events, n_items: int, tasks: Sequence[str]) -> Float32Array:
    """(P, T): 1 for each kind of event that the pair of an event ever had; 1 for a single task."""
    if len(tasks) == 1:
        return np.ones((len(events), 1), np.float32)
    _, pair = np.unique(events.user.astype(np.int64) * n_items + events.item, return_inverse=True)
    had = np.zeros((int(pair.max(initial=-1)) + 1, len(events.kinds)), np.float32)
    had[pair, events.kind] = 1
    return had[pair][:, [events.kinds.index(task) for task in tasks]]


@dataclasses.dataclass(frozen=True, eq=False)
class _EventObjective:
    """Positive events in random order, each with fresh negatives: items that somebody touched, but not this user."""

    settings: ByFields
    log: _Log
    ordered: bool
    askers: Askers
    items: Rows
    active: Int64Array
    touched: Int64Array

    @classmethod
    def of(
        cls, settings: ByFields, data: Dataset, tasks: Sequence[str], askers: Askers, items: Rows
    ) -> "_EventObjective":
        pairs = data.interactions.tocoo()
        touched = np.sort(pairs.coords[0].astype(np.int64) * len(items) + pairs.coords[1])
        active = np.flatnonzero(items.codes[:, 0])
        return cls(settings, _Log.of(data, tasks), has_order(data), askers, items, active, touched)

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        log = self.log if self.ordered else self.log.shuffled(rng)
        size = max(1, self.settings.batch // (1 + self.settings.negatives))
        order = rng.permutation(len(log.user))
        return [(log, order[start : start + size]) for start in range(0, len(order), size)]

    def loss(self, network: nn.Module, batch: Any, rng: np.random.Generator) -> Tensor:
        network = cast(FieldNetwork, network)
        log, places = batch
        device, forget = next(network.parameters()).device, self.settings.forget
        items, which, labels, weight = self._examples(log, places, rng)
        asker = self.askers.rows(log.user[places], log.time[places], log.before(places, self.settings.length))
        askers = network.embed(_ASKER, asker.forgetting(forget, rng).batch().to(device))
        judged = network.embed(_ITEM, self.items.take(items).forgetting(forget, rng).batch().to(device))
        rows = side_by_side([askers.take(torch.from_numpy(which).to(device)), judged])
        return _loss(network, rows, labels, weight, self.settings.l2)

    def _examples(
        self, log: _Log, places: Int64Array, rng: np.random.Generator
    ) -> tuple[Int64Array, Int64Array, Float32Array, Float32Array]:
        """Items, the place in the batch that each belongs to, labels and weights; draws that the user touched are left out."""
        n = len(places)
        drawn = self.active[rng.integers(0, len(self.active), (n, self.settings.negatives))]
        keys = log.user[places, None].astype(np.int64) * len(self.items) + drawn
        found = np.minimum(np.searchsorted(self.touched, keys), len(self.touched) - 1)
        row, column = np.nonzero(self.touched[found] != keys)
        labels = np.zeros((n + len(row), log.labels.shape[1]), np.float32)
        weight = np.ones(n + len(row), np.float32)
        labels[:n], weight[:n] = log.labels[places], log.weight[places]
        items = np.concatenate([log.item[places], drawn[row, column]])
        return items, np.concatenate([np.arange(n), row]), labels, weight


@dataclasses.dataclass(frozen=True, eq=False)
class _RowObjective:
    """Rows in random order."""

    settings: ByFields
    examples: Examples

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        order = rng.permutation(len(self.examples))
        return [order[start : start + self.settings.batch] for start in range(0, len(order), self.settings.batch)]

    def loss(self, network: nn.Module, batch: Any, rng: np.random.Generator) -> Tensor:
        network = cast(FieldNetwork, network)
        device = next(network.parameters()).device
        some = self.examples.take(batch)
        rows = network.embed(0, some.rows.forgetting(self.settings.forget, rng).batch().to(device))
        return _loss(network, rows, some.labels, some.weights, self.settings.l2)


def _loss(
    network: FieldNetwork, rows: FieldVectors, labels: Float32Array, weights: Float32Array | None, l2: float
) -> Tensor:
    """Binary cross-entropy of every task, and the squares of the tables."""
    logits = network.judge(rows).float()
    each = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels).to(logits.device), reduction="none").sum(
        1
    )
    loss = each.mean() if weights is None else (each * torch.from_numpy(weights).to(logits.device)).mean()
    return loss + l2 / 2 * network.squares() if l2 else loss


def _trained(
    settings: ByFields,
    sides: tuple[Fields, ...],
    tasks: int,
    objective: Objective,
    run: Run,
    judge: Callable[[FieldNetwork], float] | None,
) -> dict[str, NDArray[Any]]:
    with torch.random.fork_rng(devices=[]), torch_threads(run):
        torch.manual_seed(run.seed)
        network = settings.network(sides, tasks)
        score = None if judge is None else functools.partial(judge, network)
        train(network, objective, settings, run, score=score, name=type(settings).__name__)
    return to_arrays(network)


def fit_events(settings: ByFields, data: Dataset, run: Run, valid: Cases | None = None) -> "FieldModel":
    """Train ``settings.network`` on the positive events of ``data`` against untouched items.

    With ``patience`` the score is NDCG@10 on 300 of the ``valid`` cases, or of the latest item of 5 % of the users, which
    is then left out of training, where that is None.
    """
    name = f"{type(settings).__name__} of width {settings.width}"
    run.require(settings.fit_bytes(data.shape), name, "Choose a smaller width or batch, or raise the limit.")
    if settings.patience and valid is None:
        data, valid = hold_out(data, run.rng())
    with run.limits():
        content = Content.of(data.item_table, settings.columns, settings.text, run)
        askers = Askers.of(data, Content.of(data.user_table, (), settings.text, run), settings.length)
    items = item_rows(data, content)
    tasks, sides = settings.tasks(data), (askers.fields, items.fields)
    objective = _EventObjective.of(settings, data, tasks, askers, items)
    judge = None
    if valid is not None:
        few = valid.take(np.sort(run.rng().permutation(len(valid))[:_JUDGED]))
        judge = lambda network: mean_ndcg_of(_Answers(network, settings, askers, items).score, few)  # noqa: E731
    weights = _trained(settings, sides, len(tasks), objective, run, judge)
    return FieldModel(settings, sides, len(tasks), weights, askers, items, content)


def fit_rows(settings: ByFields, examples: Examples, run: Run, valid: Examples | None = None) -> "RowModel":
    """Train ``settings.network`` on rows and what came of them.

    With ``patience`` the score is the mean AUC of the tasks on ``valid``, or on a random tenth that is then left out of
    training, where that is None. Raises DataError where there is no row.
    """
    if not len(examples):
        raise DataError(f"{type(settings).__name__} must have examples to learn from. Got none.")
    fields, tasks = examples.rows.fields, examples.labels.shape[1]
    name = f"{type(settings).__name__} of {len(examples)} rows and {fields.values} values"
    run.require(
        settings.bytes_for(fields.values) + 64 * len(examples),
        name,
        "Choose a smaller width or batch, or raise the limit.",
    )
    if settings.patience and valid is None:
        held = run.rng().random(len(examples)) < _HELD
        examples, valid = examples.take(np.flatnonzero(~held)), examples.take(np.flatnonzero(held))
    judge = None
    if valid is not None:
        judge = lambda network: mean_auc(valid.labels, _logits(network, valid.rows))  # noqa: E731
    weights = _trained(settings, (fields,), tasks, _RowObjective(settings, examples), run, judge)
    return RowModel(settings, (fields,), tasks, weights)


def mean_auc(labels: Float32Array, scores: Float32Array) -> float:
    """The probability that a row with label 1 is above one with label 0, mean over the T columns that have both.

    Ties count half. Labels and scores are (E, T). O(E log E).
    """
    found = []
    for label, score in zip(labels.T > 0, scores.T, strict=True):
        positive, n = int(label.sum()), len(label)
        if 0 < positive < n:
            ranks = float(rankdata(score)[label].sum())
            found.append((ranks - positive * (positive + 1) / 2) / (positive * (n - positive)))
    return float(np.mean(found)) if found else 0.5


def _logits(network: FieldNetwork, rows: Rows) -> Float32Array:
    """(E, T)."""
    device = next(network.parameters()).device
    out = []
    with torch.inference_mode():
        for start in range(0, len(rows), _PAIRS):
            some = rows.take(np.arange(start, min(start + _PAIRS, len(rows))))
            out.append(network.judge(network.embed(0, some.batch().to(device))).float().cpu().numpy())
    return np.concatenate(out) if out else np.zeros((0, 1), np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class _Fitted:
    """Weights of a network.

    Attributes:
        settings: what it was fitted with; they know the network.
        sides: the fields of each side.
        tasks: T.
        weights: by name.
    """

    settings: ByFields
    sides: tuple[Fields, ...]
    tasks: int
    weights: Mapping[str, NDArray[Any]]

    @functools.cached_property
    def _network(self) -> FieldNetwork:
        return cast(FieldNetwork, with_arrays(self.settings.network(self.sides, self.tasks), self.weights))


@dataclasses.dataclass(frozen=True, eq=False)
class RowModel(_Fitted):
    """A model fitted on rows, which judges rows."""

    def predict(self, rows: Rows) -> Float32Array:
        """(E, T) the probability of each task. Raises DataError for rows of other fields."""
        if rows.fields != self.sides[0]:
            raise DataError(
                f"The rows must have the fields that the model was fitted on, {self.sides[0]}. Got {rows.fields}."
            )
        return np.asarray(1 / (1 + np.exp(-_logits(self._network, rows))), np.float32)


class _Answers:
    """Scores by a network that judges pairs of askers and items."""

    def __init__(self, network: FieldNetwork, settings: ByFields, askers: Askers, items: Rows) -> None:
        self.network, self.settings, self.askers, self.items = network, settings, askers, items
        self.device = next(network.parameters()).device

    @functools.cached_property
    def vectors(self) -> FieldVectors:
        """Of all items: they wait for every asker."""
        with torch.inference_mode():
            return self.network.embed(_ITEM, self.items.batch().to(self.device))

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """(B, N), or (B, K) for the given items; zeros for askers of whom nothing is known."""
        rows, known = self.askers.of_queries(queries)
        chosen = np.arange(len(self.items)) if items is None else items
        return self.judged(rows, known, np.broadcast_to(chosen, (len(queries), chosen.shape[-1])))

    def judged(self, rows: Rows, known: NDArray[np.bool_], chosen: NDArray[Any]) -> Float32Array:
        """(B, K) for askers as rows."""
        out = np.zeros(chosen.shape, np.float32)
        some, k = np.flatnonzero(known), chosen.shape[1]
        if not out.size or not len(some):
            return out
        with torch.inference_mode():
            askers = self.network.embed(_ASKER, rows.take(some).batch().to(self.device))
            flat = torch.empty(len(some) * k)
            for start in range(0, len(flat), _PAIRS):
                pairs = np.arange(start, min(start + _PAIRS, len(flat)))
                item = chosen[some[pairs // k], pairs % k].astype(np.int64)
                of, which = (torch.from_numpy(each).to(self.device) for each in (pairs // k, item))
                both = side_by_side([askers.take(of), self.vectors.take(which)])
                flat[start : start + len(pairs)] = self.settings.combined(self.network.judge(both).float()).cpu()
        out[some] = flat.numpy().reshape(len(some), k)
        return out


@dataclasses.dataclass(frozen=True, eq=False)
class FieldModel(_Fitted):
    """A model fitted on a data set, which scores items for askers, all of them or a short list.

    Attributes:
        askers: makes rows of who asks, when and with what history.
        items: N rows; those of new items have the unknown code and their content.
        content: makes rows of new items; None where there was no content.
    """

    askers: Askers
    items: Rows
    content: Content | None

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.items)

    @functools.cached_property
    def _answers(self) -> _Answers:
        return _Answers(self._network, self.settings, self.askers, self.items)

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        """Logits of a pair, or what the model combines them to; zeros where neither user nor history is known."""
        return self._answers.score(queries, items)

    def rank(self, queries: Queries, candidates: Candidates) -> Candidates:
        """The same candidates, best first by this model. Lists of askers of whom it knows nothing stay as they are."""
        there = candidates.items >= 0
        rows, known = self.askers.of_queries(queries)
        scores = self._answers.judged(rows, known, np.where(there, candidates.items, 0))
        scores = np.where(known[:, None] & there, scores, np.where(there, candidates.scores, -np.inf)).astype(
            np.float32
        )
        order = np.argsort(-scores, axis=1, kind="stable")
        items = np.take_along_axis(candidates.items, order, 1)
        return Candidates(items, np.take_along_axis(scores, order, 1), candidates.fallback)

    def explain(self, queries: Queries, item: int) -> Explanation:
        """The items of the history, by how far the score of ``item`` falls without each. L pairs are judged."""
        one = queries.block(0, 1)
        history = self.askers.histories(one).items
        pasts = Histories.from_rows([history, *(np.delete(history, place) for place in range(len(history)))])
        times = None if one.time is None else np.repeat(one.time, len(pasts))
        rows = self.askers.rows(np.repeat(self.askers.own(one.users), len(pasts)), times, pasts)
        scores = self._answers.judged(rows, np.ones(len(pasts), np.bool_), np.full((len(pasts), 1), item))[:, 0]
        added: dict[int, float] = {}
        for touched, less in zip(history.tolist(), scores[1:].tolist(), strict=True):
            added[touched] = added.get(touched, 0.0) + float(scores[0]) - less
        order = sorted(added, key=lambda row: -added[row])
        return Explanation("history", np.array(order, np.int32), np.array([added[row] for row in order], np.float32))

    def extend(self, items: Table) -> "FieldModel":
        """The model of N + M items: the M rows follow, judged by their content.

        Raises SettingError where the model was fitted without content, and ColumnError where no known column is there.
        """
        if self.content is None:
            name = type(self.settings).__name__
            raise SettingError(
                f"{name} was fitted without content of items, so new ones need a refit. Give it an item table."
            )
        new = Rows.of(len(items), codes=((np.zeros(len(items), np.int32), self.items.sizes[0]),)).beside(
            self.content.rows(items)
        )
        return dataclasses.replace(self, items=self.items.below(new))
