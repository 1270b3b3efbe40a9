"""Ranking by features: the training that DeepFM and its kin share.

A model brings a network from field vectors to logits. From a data set, every positive event is an example with a few
items that its user has not touched; the asker's side holds who, when and the history before the event, the item's
side which item and its content. From a table, every row is an example.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

from leanrec.data.dataset import Dataset
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.errors import DataError
from leanrec.kernels.sparse import concat_ranges
from leanrec.models.ctr.core.examples import LabeledRows
from leanrec.models.ctr.core.models import FieldModel, FieldScorer, RowModel, field_logits
from leanrec.models.ctr.core.rows import ContentEncoder, FieldRows, QueryEncoder, encode_items, has_order
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.nn.arrays import to_arrays
from leanrec.nn.fields import FieldNetwork, FieldSizes, FieldVectors, concat_fields
from leanrec.run import Run
from leanrec.training.early_stopping import hold_out, mean_ndcg_of_scores
from leanrec.training.histories import PackedHistories
from leanrec.training.trainer import TrainingObjective, limit_torch_threads, train
from leanrec.types import Events, Float32Array, Int32Array, Int64Array

__all__ = ["fit_events", "fit_rows", "mean_auc"]

_ASKER, _ITEM = 0, 1
# Pairs judged at a time: their layers stay in the cache.
_PAIRS = 8_192
# Held-out askers that early stopping looks at: each is a pass over all items.
_JUDGED = 300
_HELD = 0.1


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

    def before(self, places: Int64Array, length: int) -> PackedHistories:
        """The latest items before each event, without the event's own: no negative is there, so it would give it away."""
        starts = np.maximum(self.bounds[self.user[places]], places - length)
        lengths = places - starts
        items = self.item[concat_ranges(starts, lengths)]
        kept = items != np.repeat(self.item[places], lengths)
        ends = np.concatenate([[0], np.cumsum(lengths)])
        return PackedHistories(items[kept], np.concatenate([[0], np.cumsum(kept)])[ends].astype(np.int64))


def _labels(events: Events, n_items: int, tasks: Sequence[str]) -> Float32Array:
    """(P, T): 1 for the first task, that there is an event, and for each kind of event that the pair ever had."""
    touched = np.ones((len(events), 1), np.float32)
    if len(tasks) == 1:
        return touched
    _, pair = np.unique(events.user.astype(np.int64) * n_items + events.item, return_inverse=True)
    had = np.zeros((int(pair.max(initial=-1)) + 1, len(events.event_types)), np.float32)
    had[pair, events.event_type] = 1
    return np.concatenate([touched, had[pair][:, [events.event_types.index(task) for task in tasks[1:]]]], axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class _EventObjective:
    """Positive events in random order, each with fresh negatives: items that somebody touched, but not this user."""

    settings: CTRSettings
    log: _Log
    ordered: bool
    askers: QueryEncoder
    items: FieldRows
    active: Int64Array
    touched: Int64Array

    @classmethod
    def of(
        cls, settings: CTRSettings, data: Dataset, tasks: Sequence[str], askers: QueryEncoder, items: FieldRows
    ) -> "_EventObjective":
        pairs = data.interactions.tocoo()
        touched = np.sort(pairs.coords[0].astype(np.int64) * len(items) + pairs.coords[1])
        active = np.flatnonzero(items.codes[:, 0])
        return cls(settings, _Log.of(data, tasks), has_order(data), askers, items, active, touched)

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        log = self.log if self.ordered else self.log.shuffled(rng)
        size = max(1, self.settings.batch_size // (1 + self.settings.n_negatives))
        order = rng.permutation(len(log.user))
        return [(log, order[start : start + size]) for start in range(0, len(order), size)]

    def loss(self, network: nn.Module, batch: Any, rng: np.random.Generator) -> Tensor:
        network = cast(FieldNetwork, network)
        log, places = batch
        device, forget = next(network.parameters()).device, self.settings.id_dropout
        items, which, labels, weight = self._examples(log, places, rng)
        asker = self.askers.rows(log.user[places], log.time[places], log.before(places, self.settings.max_length))
        askers = network.embed(_ASKER, asker.forgetting(forget, rng).batch().to(device))
        judged = network.embed(_ITEM, self.items.take(items).forgetting(forget, rng).batch().to(device))
        rows = concat_fields([askers.take(torch.from_numpy(which).to(device)), judged])
        return _loss(network, rows, labels, weight, self.settings.task_weights(labels.shape[1]), self.settings.l2)

    def _examples(
        self, log: _Log, places: Int64Array, rng: np.random.Generator
    ) -> tuple[Int64Array, Int64Array, Float32Array, Float32Array]:
        """Items, the place in the batch that each belongs to, labels and weights; draws that the user touched are left out."""
        n = len(places)
        drawn = self.active[rng.integers(0, len(self.active), (n, self.settings.n_negatives))]
        keys = log.user[places, None].astype(np.int64) * len(self.items) + drawn
        found = np.minimum(np.searchsorted(self.touched, keys), len(self.touched) - 1)
        row, column = np.nonzero(self.touched[found] != keys)
        # Of which kind an event would be is not asked where there is none.
        labels = np.full((n + len(row), log.labels.shape[1]), np.nan, np.float32)
        labels[:, 0] = 0
        weight = np.ones(n + len(row), np.float32)
        labels[:n], weight[:n] = log.labels[places], log.weight[places]
        items = np.concatenate([log.item[places], drawn[row, column]])
        return items, np.concatenate([np.arange(n), row]), labels, weight


@dataclasses.dataclass(frozen=True, eq=False)
class _RowObjective:
    """Rows in random order."""

    settings: CTRSettings
    examples: LabeledRows

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        order = rng.permutation(len(self.examples))
        return [order[start : start + self.settings.batch_size] for start in range(0, len(order), self.settings.batch_size)]

    def loss(self, network: nn.Module, batch: Any, rng: np.random.Generator) -> Tensor:
        network = cast(FieldNetwork, network)
        device = next(network.parameters()).device
        some = self.examples.take(batch)
        rows = network.embed(0, some.rows.forgetting(self.settings.id_dropout, rng).batch().to(device))
        return _loss(
            network, rows, some.labels, some.weights, np.ones(some.labels.shape[1], np.float32), self.settings.l2
        )


def _loss(
    network: FieldNetwork,
    rows: FieldVectors,
    labels: Float32Array,
    weights: Float32Array | None,
    tasks: Float32Array,
    l2: float,
) -> Tensor:
    """Binary cross-entropy of every task that is asked of a row (its label is a number), times its weight, and the squares of the tables."""
    logits = network.judge(rows).float()
    wanted = torch.from_numpy(labels).to(logits.device)
    asked = torch.from_numpy(tasks).to(logits.device) * ~wanted.isnan()
    each = (F.binary_cross_entropy_with_logits(logits, wanted.nan_to_num(), reduction="none") * asked).sum(1)
    loss = each.mean() if weights is None else (each * torch.from_numpy(weights).to(logits.device)).mean()
    return loss + l2 / 2 * network.squares() if l2 else loss


def _trained(
    settings: CTRSettings,
    sides: tuple[FieldSizes, ...],
    tasks: int,
    objective: TrainingObjective,
    run: Run,
    judge: Callable[[FieldNetwork], float] | None,
) -> dict[str, NDArray[Any]]:
    with torch.random.fork_rng(devices=[]), limit_torch_threads(run):
        torch.manual_seed(run.seed)
        network = settings.build_network(sides, tasks)
        score = None if judge is None else functools.partial(judge, network)
        train(network, objective, settings, run, score=score, name=type(settings).__name__)
    return to_arrays(network)


def fit_events(settings: CTRSettings, data: Dataset, run: Run, valid: EvaluationSet | None = None) -> FieldModel:
    """Train ``settings.build_network`` on the positive events of ``data`` against untouched items.

    With ``patience`` the score is NDCG@10 on 300 of the ``valid`` cases, or of the latest item of 5 % of the users, which
    is then left out of training, where that is None.
    """
    name = f"{type(settings).__name__} of width {settings.embedding_dim}"
    run.require_memory(settings.fit_bytes(data.shape), name, "Choose a smaller width or batch, or raise the limit.")
    if settings.patience and valid is None:
        data, valid = hold_out(data, run.rng())
    with run.limit_threads():
        content = ContentEncoder.of(data.item_table, settings.columns, settings.text, run)
        askers = QueryEncoder.of(data, ContentEncoder.of(data.user_table, (), settings.text, run), settings.max_length)
    items = encode_items(data, content)
    tasks, sides = settings.task_names(data), (askers.fields, items.fields)
    objective = _EventObjective.of(settings, data, tasks, askers, items)
    judge = None
    if valid is not None:
        few = valid.take(np.sort(run.rng().permutation(len(valid))[:_JUDGED]))
        judge = lambda network: mean_ndcg_of_scores(FieldScorer(network, settings, askers, items).score, few)  # noqa: E731
    weights = _trained(settings, sides, len(tasks), objective, run, judge)
    return FieldModel(settings, sides, len(tasks), weights, askers, items, content)


def fit_rows(settings: CTRSettings, examples: LabeledRows, run: Run, valid: LabeledRows | None = None) -> RowModel:
    """Train ``settings.build_network`` on rows and what came of them.

    With ``patience`` the score is the mean AUC of the tasks on ``valid``, or on a random tenth that is then left out of
    training, where that is None. Raises DataError where there is no row.
    """
    if not len(examples):
        raise DataError(f"{type(settings).__name__} must have examples to learn from. Got none.")
    fields, tasks = examples.rows.fields, examples.labels.shape[1]
    name = f"{type(settings).__name__} of {len(examples)} rows and {fields.values} values"
    run.require_memory(
        settings.estimate_bytes(fields.values) + 64 * len(examples),
        name,
        "Choose a smaller width or batch, or raise the limit.",
    )
    if settings.patience and valid is None:
        held = run.rng().random(len(examples)) < _HELD
        examples, valid = examples.take(np.flatnonzero(~held)), examples.take(np.flatnonzero(held))
    judge = None
    if valid is not None:
        judge = lambda network: mean_auc(valid.labels, field_logits(network, valid.rows))  # noqa: E731
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
