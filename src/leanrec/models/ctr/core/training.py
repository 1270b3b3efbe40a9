"""Training of CTR models, on events of a data set or on labeled rows.

A model brings a network from field vectors to logits. From a data set, each positive event is an example with a few
sampled items that the user did not interact with. The query side holds the user, the time and the history before the
event, the item side the item and its content. From labeled rows, each row is an example.
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
from leanrec.kernels.csr import concat_ranges
from leanrec.kernels.layers.field_layers import FieldSizes
from leanrec.kernels.layers.named_layers import NamedLayers
from leanrec.models.ctr.core.examples import LabeledRows
from leanrec.models.ctr.core.models import ITEM_SIDE, QUERY_SIDE, FieldModel, FieldScorer, RowModel, predict_logits
from leanrec.models.ctr.core.rows import ContentEncoder, FieldRows, QueryEncoder, encode_items, has_order
from leanrec.models.ctr.core.settings import CTRSettings
from leanrec.nn.arrays import to_arrays
from leanrec.nn.fields import FieldBag, FieldBatch, FieldNetwork, FieldVectors, concat_fields
from leanrec.run import Run
from leanrec.training.early_stopping import hold_out, mean_ndcg_of_scores
from leanrec.training.histories import PackedHistories
from leanrec.training.trainer import TrainingObjective, limit_torch_threads, train
from leanrec.types import Events, Float32Array, Int32Array, Int64Array

__all__ = ["fit_events", "fit_rows", "mean_auc", "to_batch"]

# Validation queries: each is a pass over all items.
_VALIDATION_QUERIES = 300
# Share of labeled rows held out for validation.
_VALIDATION_SHARE = 0.1


def to_batch(rows: FieldRows, device: torch.device) -> FieldBatch:
    """Rows as tensors."""
    bags = tuple(
        FieldBag(
            torch.from_numpy(bag.indices.astype(np.int64)),
            torch.from_numpy(bag.indptr.astype(np.int64)),
            torch.from_numpy(bag.data),
        )
        for bag in rows.bags
    )
    numbers = np.ascontiguousarray(rows.numbers, np.float32)
    return FieldBatch(torch.from_numpy(rows.codes.astype(np.int64)), bags, torch.from_numpy(numbers)).to(device)


@dataclasses.dataclass(frozen=True, eq=False)
class _PositiveEvents:
    """P positive events by user and time, with their labels.

    Attributes:
        user: (P,).
        item: (P,).
        time: (P,).
        bounds: (U + 1,) where the events of each user begin.
        labels: (P, T).
        weight: (P,).
    """

    user: Int32Array
    item: Int32Array
    time: Int64Array
    bounds: Int64Array
    labels: Float32Array
    weight: Float32Array

    @classmethod
    def from_dataset(cls, data: Dataset, task_names: Sequence[str]) -> "_PositiveEvents":
        events = data.events.take(data.is_positive)
        bounds = np.concatenate([[0], np.cumsum(np.bincount(events.user, minlength=len(data.users)))])
        labels = _make_labels(events, len(data.items), task_names)
        weight = np.ones(len(events), np.float32)
        if len(task_names) == 1 and len(events):
            weight = events.weight / np.float32(events.weight.mean())
        return cls(events.user, events.item, events.time, bounds.astype(np.int64), labels, weight)

    def shuffle(self, rng: np.random.Generator) -> "_PositiveEvents":
        """The events of each user in random order, for logs without an order."""
        order = np.lexsort((rng.random(len(self.user)), self.user))
        return _PositiveEvents(
            self.user[order],
            self.item[order],
            self.time[order],
            self.bounds,
            self.labels[order],
            self.weight[order],
        )

    def histories_before(self, positions: Int64Array, max_length: int) -> PackedHistories:
        """The latest items before each event. The event's own item is left out, because it would reveal the label."""
        starts = np.maximum(self.bounds[self.user[positions]], positions - max_length)
        lengths = positions - starts
        items = self.item[concat_ranges(starts, lengths)]
        kept = items != np.repeat(self.item[positions], lengths)
        ends = np.concatenate([[0], np.cumsum(lengths)])
        return PackedHistories(items[kept], np.concatenate([[0], np.cumsum(kept)])[ends].astype(np.int64))


def _make_labels(events: Events, n_items: int, task_names: Sequence[str]) -> Float32Array:
    """(P, T): 1 for the first task, any event, and for each event type that the pair ever had."""
    any_event = np.ones((len(events), 1), np.float32)
    if len(task_names) == 1:
        return any_event
    _, pair = np.unique(events.user.astype(np.int64) * n_items + events.item, return_inverse=True)
    had_type = np.zeros((int(pair.max(initial=-1)) + 1, len(events.event_types)), np.float32)
    had_type[pair, events.event_type] = 1
    columns = [events.event_types.index(name) for name in task_names[1:]]
    return np.concatenate([any_event, had_type[pair][:, columns]], axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class _EventObjective:
    """Positive events in random order, each with newly sampled negatives: active items the user did not interact with."""

    settings: CTRSettings
    events: _PositiveEvents
    is_ordered: bool
    query_encoder: QueryEncoder
    items: FieldRows
    active_items: Int64Array
    interactions: Int64Array

    @classmethod
    def from_dataset(
        cls,
        settings: CTRSettings,
        data: Dataset,
        task_names: Sequence[str],
        query_encoder: QueryEncoder,
        items: FieldRows,
    ) -> "_EventObjective":
        pairs = data.interactions.tocoo()
        return cls(
            settings,
            _PositiveEvents.from_dataset(data, task_names),
            has_order(data),
            query_encoder,
            items,
            active_items=np.flatnonzero(items.codes[:, 0]),
            interactions=np.sort(pairs.coords[0].astype(np.int64) * len(items) + pairs.coords[1]),
        )

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        events = self.events if self.is_ordered else self.events.shuffle(rng)
        size = max(1, self.settings.batch_size // (1 + self.settings.n_negatives))
        order = rng.permutation(len(events.user))
        return [(events, order[start : start + size]) for start in range(0, len(order), size)]

    def loss(self, network: nn.Module, batch: Any, rng: np.random.Generator) -> Tensor:
        network = cast(FieldNetwork, network)
        events, positions = batch
        device, id_dropout = next(network.parameters()).device, self.settings.id_dropout
        items, query_of, labels, weight = self._sample_examples(events, positions, rng)
        histories = events.histories_before(positions, self.settings.max_length)
        queries = self.query_encoder.encode(events.user[positions], events.time[positions], histories)
        query_vectors = network.embed(QUERY_SIDE, to_batch(queries.drop_codes(id_dropout, rng), device))
        item_vectors = network.embed(ITEM_SIDE, to_batch(self.items.take(items).drop_codes(id_dropout, rng), device))
        rows = concat_fields([query_vectors.take(torch.from_numpy(query_of).to(device)), item_vectors])
        task_weights = self.settings.task_weights(labels.shape[1])
        return _compute_loss(network, rows, labels, weight, task_weights, self.settings.l2)

    def _sample_examples(
        self, events: _PositiveEvents, positions: Int64Array, rng: np.random.Generator
    ) -> tuple[Int64Array, Int64Array, Float32Array, Float32Array]:
        """(X,) items of the positives and their negatives, the query of each, labels (X, T) and weights (X,).

        Samples that the user interacted with are left out.
        """
        n = len(positions)
        sampled = self.active_items[rng.integers(0, len(self.active_items), (n, self.settings.n_negatives))]
        keys = events.user[positions, None].astype(np.int64) * len(self.items) + sampled
        nearest = np.minimum(np.searchsorted(self.interactions, keys), len(self.interactions) - 1)
        row, column = np.nonzero(self.interactions[nearest] != keys)
        # Without an event the event types have no label.
        labels = np.full((n + len(row), events.labels.shape[1]), np.nan, np.float32)
        labels[:, 0] = 0
        weight = np.ones(n + len(row), np.float32)
        labels[:n], weight[:n] = events.labels[positions], events.weight[positions]
        items = np.concatenate([events.item[positions], sampled[row, column]])
        return items, np.concatenate([np.arange(n), row]), labels, weight


@dataclasses.dataclass(frozen=True, eq=False)
class _RowObjective:
    """Labeled rows in random order."""

    settings: CTRSettings
    examples: LabeledRows

    def batches(self, rng: np.random.Generator) -> Sequence[Any]:
        order, size = rng.permutation(len(self.examples)), self.settings.batch_size
        return [order[start : start + size] for start in range(0, len(order), size)]

    def loss(self, network: nn.Module, batch: Any, rng: np.random.Generator) -> Tensor:
        network = cast(FieldNetwork, network)
        device = next(network.parameters()).device
        examples = self.examples.take(batch)
        rows = network.embed(0, to_batch(examples.rows.drop_codes(self.settings.id_dropout, rng), device))
        task_weights = np.ones(examples.labels.shape[1], np.float32)
        return _compute_loss(network, rows, examples.labels, examples.weights, task_weights, self.settings.l2)


def _compute_loss(
    network: FieldNetwork,
    rows: FieldVectors,
    labels: Float32Array,
    weights: Float32Array | None,
    task_weights: Float32Array,
    l2: float,
) -> Tensor:
    """Weighted binary cross-entropy over the tasks with a label (not NaN), plus the L2 penalty of the tables."""
    logits = network.predict_logits(rows).float()
    targets = torch.from_numpy(labels).to(logits.device)
    mask = torch.from_numpy(task_weights).to(logits.device) * ~targets.isnan()
    each = (F.binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none") * mask).sum(1)
    loss = each.mean() if weights is None else (each * torch.from_numpy(weights).to(logits.device)).mean()
    return loss + l2 / 2 * network.squared_norm() if l2 else loss


def _train_network(
    settings: CTRSettings,
    sides: tuple[FieldSizes, ...],
    n_tasks: int,
    objective: TrainingObjective,
    run: Run,
    score_network: Callable[[FieldNetwork], float] | None,
) -> dict[str, NDArray[Any]]:
    with torch.random.fork_rng(devices=[]), limit_torch_threads(run):
        torch.manual_seed(run.seed)
        network = settings.build_network(sides, n_tasks)
        score = None if score_network is None else functools.partial(score_network, network)
        train(network, objective, settings, run, score=score, name=type(settings).__name__)
    return to_arrays(network)


def fit_events(settings: CTRSettings, data: Dataset, run: Run, valid: EvaluationSet | None = None) -> FieldModel:
    """Train the network of ``settings`` on the positive events of ``data`` against sampled items without interaction.

    With ``patience`` the validation score is NDCG@10 on 300 queries of ``valid``; if that is None, of the latest item of
    5 % of the users, which is then left out of training.
    """
    run.require_memory(
        settings.fit_bytes(data.shape),
        f"{type(settings).__name__} with embedding_dim={settings.embedding_dim}",
        "Lower embedding_dim or batch_size, or raise the limit.",
    )
    if settings.patience and valid is None:
        data, valid = hold_out(data, run.rng())
    with run.limit_threads():
        content = ContentEncoder.fit(data.item_table, settings.columns, settings.text, run)
        user_content = ContentEncoder.fit(data.active_user_table, (), settings.text, run)
        query_encoder = QueryEncoder.from_dataset(data, user_content, settings.max_length)
    items = encode_items(data, content)
    task_names, sides = settings.task_names(data), (query_encoder.fields, items.fields)
    objective = _EventObjective.from_dataset(settings, data, task_names, query_encoder, items)
    score_network = None
    if valid is not None:
        sample = valid.take(np.sort(run.rng().permutation(len(valid))[:_VALIDATION_QUERIES]))
        score_network = lambda network: mean_ndcg_of_scores(  # noqa: E731
            FieldScorer(NamedLayers(to_arrays(network)), settings, query_encoder, items).score, sample
        )
    weights = _train_network(settings, sides, len(task_names), objective, run, score_network)
    return FieldModel(settings, sides, len(task_names), weights, query_encoder, items, content)


def fit_rows(settings: CTRSettings, examples: LabeledRows, run: Run, valid: LabeledRows | None = None) -> RowModel:
    """Train the network of ``settings`` on labeled rows.

    With ``patience`` the validation score is the mean AUC of the tasks on ``valid``; if that is None, on a random tenth
    of the rows, which is then left out of training. Raises DataError if there are no rows.
    """
    if not len(examples):
        raise DataError(f"{type(settings).__name__} must have labeled rows to train on. Got none.")
    fields, n_tasks = examples.rows.fields, examples.labels.shape[1]
    run.require_memory(
        settings.estimate_bytes(fields.n_values) + 64 * len(examples),
        f"{type(settings).__name__} of {len(examples)} rows and {fields.n_values} values",
        "Lower embedding_dim or batch_size, or raise the limit.",
    )
    if settings.patience and valid is None:
        is_valid = run.rng().random(len(examples)) < _VALIDATION_SHARE
        examples, valid = examples.take(np.flatnonzero(~is_valid)), examples.take(np.flatnonzero(is_valid))
    score_network = None
    if valid is not None:
        score_network = lambda network: mean_auc(  # noqa: E731
            valid.labels, predict_logits(settings, NamedLayers(to_arrays(network)), valid.rows)
        )
    objective = _RowObjective(settings, examples)
    weights = _train_network(settings, (fields,), n_tasks, objective, run, score_network)
    return RowModel(settings, (fields,), n_tasks, weights)


def mean_auc(labels: Float32Array, scores: Float32Array) -> float:
    """Mean area under the ROC curve over the T columns that have both labels; 0.5 if none has.

    Ties count half. Labels and scores are (E, T). O(E log E).
    """
    found = []
    for label, score in zip(labels.T > 0, scores.T, strict=True):
        positive, n = int(label.sum()), len(label)
        if 0 < positive < n:
            ranks = float(rankdata(score)[label].sum())
            found.append((ranks - positive * (positive + 1) / 2) / (positive * (n - positive)))
    return float(np.mean(found)) if found else 0.5
