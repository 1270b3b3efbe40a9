"""Distillation: a small student that is fitted on the events and on what a larger model, the teacher, says to histories.

Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", 2015; lists of a teacher for recommendation: Tang &
Wang, "Ranking Distillation", KDD 2018.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import numpy as np
import scipy.sparse as sp

from leanrec.compression.methods import CompressionMethod
from leanrec.compression.weights.compressed_weights import pack
from leanrec.data.dataset import Dataset
from leanrec.errors import DataError, SettingError
from leanrec.protocols import Estimator, Scorer, SparseScorer
from leanrec.run import Run
from leanrec.settings import check_settings, setting
from leanrec.training.histories import PackedHistories
from leanrec.types import CSR, Float32Array, Int32Array, Queries, compact_indices

__all__ = ["Distillation", "Student", "draw_prefixes", "soften_scores"]

_RUN = Run()
# Queries that the teacher scores at a time.
_BLOCK = 512
# Queries on which the temperature is found, and the temperatures, in standard deviations of the scores of a query.
_N_CALIBRATED = 1024
_TEMPERATURES = np.geomspace(0.05, 2, 16)


@runtime_checkable
class Student(Protocol):
    """An estimator that can learn from distributions over items beside the events."""

    def fit(self, data: Dataset, run: Run = ...) -> Scorer:
        """Fit on the events alone."""
        ...

    def fit_targets(
        self, data: Dataset, queries: Queries, targets: CSR, run: Run = ..., *, weight: float = ...
    ) -> Scorer:
        """Fit on the events, and on the ``targets`` (B, N) of some ``queries``, each as much as ``weight`` events."""
        ...


@dataclasses.dataclass(frozen=True)
class Distillation:
    """A method of compression: another, smaller model learns from the lists of the model, and from the events.

    The teacher scores histories of the fit, cut before some of their items. Its scores become a distribution, by the softmax
    whose temperature gives the items that came next the largest likelihood. Item-item weights of the student are packed.

    Cost: the scores of ``n_queries`` histories by the teacher, and a fit of the student.
    """

    student: Estimator = dataclasses.field()
    n_queries: int = setting(20_000, at_least=1, doc="Largest number of histories that the teacher scores.")
    top_k: int = setting(50, at_least=1, doc="Number of items of the teacher that the student learns of each.")
    weight: float = setting(10.0, above=0, doc="Number of events that one list of the teacher counts as.")
    value_bits: int = setting(6, between=(1, 8), doc="Bits of a packed weight of the student.")

    def __post_init__(self) -> None:
        check_settings(self)
        if not isinstance(self.student, Student):
            raise SettingError(
                "The student must be able to learn from lists, as next_item_regression is. "
                f"Got {type(self.student).__name__}."
            )

    def __str__(self) -> str:
        return f"student {type(self.student).__name__}"

    def estimate_bytes(self, model: Scorer) -> float:  # noqa: ARG002
        """Infinity: how large a student is turns out when it is fitted."""
        return float("inf")

    def refine(self, model: Scorer) -> tuple[CompressionMethod, ...]:  # noqa: ARG002
        """()."""
        return ()

    def compress(self, model: Scorer, data: Dataset, run: Run = _RUN) -> Scorer:
        """The student of ``model``. The same for the same seed.

        Raises DataError if no history has two items.
        """
        return self.fit_student(data, *self.ask_teacher(model, data, run), run)

    def ask_teacher(self, teacher: Scorer, data: Dataset, run: Run = _RUN) -> tuple[Queries, CSR]:
        """B histories of the data and the distributions (B, N) of the teacher. Raises DataError as ``compress`` does."""
        queries, following = draw_prefixes(data, self.n_queries, run)
        return queries, soften_scores(teacher, queries, following, self.top_k, run)

    def fit_student(self, data: Dataset, queries: Queries, targets: CSR, run: Run = _RUN) -> Scorer:
        """The student of the events and of what ``ask_teacher`` gave."""
        assert isinstance(self.student, Student)  # noqa: S101 - checked when it was made
        return self._pack(self.student.fit_targets(data, queries, targets, run, weight=self.weight))

    def fit_alone(self, data: Dataset, run: Run = _RUN) -> Scorer:
        """The same student without a teacher."""
        return self._pack(self.student.fit(data, run))

    def _pack(self, model: Scorer) -> Scorer:
        is_sparse = isinstance(model, SparseScorer) and model.item_weights() is not None
        return pack(model, value_bits=self.value_bits) if is_sparse else model


def draw_prefixes(data: Dataset, n_queries: int, run: Run = _RUN) -> tuple[Queries, Int32Array]:
    """Histories of a data set as they were before one of their items, and that item: B queries, (B,) items.

    At most ``n_queries`` of all the places, drawn by the seed. The users are unknown, so that a model answers from the history.

    Raises DataError if no history has two items.
    """
    histories = PackedHistories.from_dataset(data)
    has_before = np.ones(len(histories.items), np.bool_)
    has_before[histories.bounds[:-1][histories.lengths > 0]] = False
    cuts = np.flatnonzero(has_before)
    if not len(cuts):
        raise DataError("A student learns from histories of two items and more. There is none. Give more events.")
    cuts = np.sort(run.rng().permutation(cuts)[:n_queries])
    starts = histories.bounds[np.searchsorted(histories.bounds, cuts, side="right") - 1]
    rows = tuple(histories.items[first:cut] for first, cut in zip(starts.tolist(), cuts.tolist(), strict=True))
    bounds = np.concatenate([[0], np.cumsum(cuts - starts)])
    items = np.concatenate(rows)
    history = sp.csr_array((np.ones(len(items), np.float32), items, bounds), shape=(len(cuts), len(data.items)))
    history.sum_duplicates()
    unknown = np.full(len(cuts), -1, np.int32)
    return Queries(users=unknown, history=compact_indices(history), sequences=rows), histories.items[cuts]


def soften_scores(teacher: Scorer, queries: Queries, following: Int32Array, top_k: int, run: Run = _RUN) -> CSR:
    """(B, N) distributions over items: softmax of the teacher's scores, without the items of the history, ``top_k`` a row.

    Scores are divided by their standard deviation in each query, and by the temperature that gives the items ``following``
    (B,) the largest likelihood. A query whose scores are all equal gets an empty row.

    Memory: the scores of 512 queries.
    """
    n = len(queries)
    some = np.sort(run.rng().permutation(n)[:_N_CALIBRATED])
    likelihood = np.zeros(len(_TEMPERATURES))
    with run.limit_threads():
        for first in range(0, len(some), _BLOCK):
            rows = some[first : first + _BLOCK]
            logits = _standardize(teacher, queries.take(rows))
            true = logits[np.arange(len(rows)), following[rows]]
            kept = np.isfinite(true)  # not those that repeat
            for i, temperature in enumerate(_TEMPERATURES):
                scaled = logits[kept] / temperature
                likelihood[i] += float((true[kept] / temperature - np.log(np.exp(scaled).sum(axis=1))).sum())
        temperature = float(_TEMPERATURES[likelihood.argmax()])
        indices, values, counts = [], [], []
        starts = range(0, n, _BLOCK)
        for first in run.track(starts, "Lists of the teacher", total=len(starts)):
            logits = _standardize(teacher, queries.block(first, first + _BLOCK))
            weights = np.exp(logits / temperature)
            total = weights.sum(axis=1, keepdims=True)
            shares = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
            shares[np.ptp(np.where(np.isfinite(logits), logits, 0), axis=1) == 0] = 0
            k = min(top_k, shares.shape[1])
            best = np.sort(np.argpartition(-shares, k - 1, axis=1)[:, :k], axis=1)
            found = np.take_along_axis(shares, best, 1)
            indices.append(best[found > 0])
            values.append(found[found > 0])
            counts.append((found > 0).sum(axis=1))
    bounds = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    matrix = sp.csr_array(
        (np.concatenate(values).astype(np.float32), np.concatenate(indices), bounds), shape=(n, queries.n_items)
    )
    return compact_indices(matrix)


def _standardize(teacher: Scorer, queries: Queries) -> Float32Array:
    """(B, N) scores minus their maximum, over their standard deviation in the query; −inf for items of the history."""
    scores = np.array(teacher.score(queries), np.float32)
    deviation = scores.std(axis=1, keepdims=True)
    scores /= np.where(deviation > 0, deviation, 1)
    scores[np.repeat(np.arange(len(scores)), np.diff(queries.history.indptr)), queries.history.indices] = -np.inf
    best = scores.max(axis=1, keepdims=True, initial=-np.inf)
    return np.asarray(scores - np.where(np.isfinite(best), best, 0), np.float32)
