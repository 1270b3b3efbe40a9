"""The choice of a compression by measurement."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from leanrec.compression.weights.compressed_weights import pack
from leanrec.data.dataset import Dataset
from leanrec.data.splits.split import Split, split
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.compression.compress import compress
from leanrec.evaluation.compression.result import CompressionResult
from leanrec.evaluation.compression.target import CompressionTarget
from leanrec.models.factorization.ials import IALS
from leanrec.models.linear.ease import EASE, EASEModel
from leanrec.protocols import Scorer
from leanrec.run import Run

RUN = Run(seed=1, threads=1)


@dataclasses.dataclass(frozen=True)
class KeepLargest:
    """Keeps the largest weights of EASE, at 8 bytes each."""

    per_item: int

    def __str__(self) -> str:
        return f"{self.per_item} weights an item"

    def estimate_bytes(self, model: Scorer) -> float:
        return (8.0 * self.per_item + 4) * model.n_items + 4

    def refine(self, model: Scorer) -> tuple["KeepLargest", ...]:
        return ()

    def compress(self, model: Any, data: Dataset, run: Run = RUN) -> Scorer:
        weights = np.zeros_like(model.weights)
        rows = np.argsort(-np.abs(model.weights), axis=1)[:, : self.per_item]
        np.put_along_axis(weights, rows, np.take_along_axis(model.weights, rows, 1), 1)
        return EASEModel(model.settings, sp.csr_array(weights))


METHODS = tuple(KeepLargest(n) for n in (1, 2, 4, 8, 16))


@pytest.fixture(scope="module")
def parts(dataset: Dataset) -> Split:
    return split(dataset, "random", valid=0.2, test=0.2, seed=1)


@pytest.fixture(scope="module")
def model(parts: Split) -> EASEModel:
    return EASE(l2=5).fit(parts.train, RUN)


def choose(model: EASEModel, parts: Split, **limits: Any) -> CompressionResult:
    target = CompressionTarget(**limits)
    return compress(model, parts.train, parts.valid, target, report=parts.test, methods=METHODS, k=5, run=RUN)


def test_the_best_within_the_bytes_is_chosen(model: EASEModel, parts: Split) -> None:
    result = choose(model, parts, bytes_per_item=80)
    assert {name for name, _, _ in result.tried} == {f"{n} weights an item" for n in (1, 2, 4, 8)}
    best = min(result.tried, key=lambda each: each[2].value)
    assert result.chosen.name == best[0]
    assert result.chosen.bytes_per_item <= 80
    assert not result.violation
    assert result.halved is not None
    assert result.halved.n_bytes <= result.chosen.n_bytes / 2
    assert result.base.parts == {"weights": 4 * model.n_items**2}


def test_the_smallest_within_the_loss_is_chosen(model: EASEModel, parts: Split) -> None:
    result = choose(model, parts, loss=0.3)
    within = [size for _, size, loss in result.tried if loss.high <= 0.3]
    assert result.chosen.n_bytes == min(within)
    assert result.chosen.chosen_loss.high <= 0.3


def test_a_target_out_of_reach_gives_the_closest(model: EASEModel, parts: Split) -> None:
    result = choose(model, parts, loss=0.0)
    assert result.violation.startswith("its loss may be")
    assert "out of reach" in result.summary()[0]
    slow = choose(model, parts, p99=1e-9)
    assert slow.violation.startswith("p99 ")
    small = choose(model, parts, bytes_per_item=3)
    assert small.chosen.name == "1 weights an item"
    assert " instead of " in small.violation


def test_the_same_seed_gives_the_same_result(model: EASEModel, parts: Split) -> None:
    one, two = (choose(model, parts, bytes_per_item=80) for _ in range(2))
    assert one.tried == two.tried
    assert one.chosen.losses == two.chosen.losses


def test_a_result_is_plain_and_tells_itself(model: EASEModel, parts: Split) -> None:
    result = choose(model, parts, bytes_per_item=80)
    plain = result.to_dict()
    assert plain["chosen"]["bytes_per_item"] == result.chosen.bytes_per_item
    assert "model" not in plain["chosen"]
    names, rows = result.table()
    assert all(len(row) == len(names) for row in rows)
    assert "One more halving" in " ".join(result.summary())


def test_a_proposed_method_is_the_closest_where_none_fits(parts: Split) -> None:
    model = IALS(embedding_dim=8, epochs=2).fit(parts.train, RUN)
    result = compress(model, parts.train, parts.valid, CompressionTarget(bytes=1), report=parts.test, run=RUN)
    assert result.violation.endswith(" instead of 1 B")
    assert result.chosen.n_bytes == min(size for _, size, _ in result.tried)
    assert result.halved is None


def test_exact_lists_lose_nothing(parts: Split) -> None:
    model = IALS(embedding_dim=32, epochs=2).fit(parts.train, RUN)
    results = [
        compress(model, parts.train, parts.valid, CompressionTarget(**limit), exact=True, report=parts.test, run=RUN)
        for limit in ({"bytes": 10**6}, {"loss": 0.0})
    ]
    assert [each.chosen.name for each in results] == [f"exact, {bits} bits in memory" for bits in (8, 4)]
    for each in results:
        assert each.chosen.identical == each.chosen.certified == 1
        assert each.chosen.losses["ndcg"].high == 0
        assert each.chosen.mapped == 4 * 32 * model.n_items
        assert each.base.mapped == 0
        assert "left on disk" in " ".join(row[0] for row in each.table()[1])
    out_of_reach = compress(
        model, parts.train, parts.valid, CompressionTarget(bytes=1), exact=True, report=parts.test, run=RUN
    )
    assert out_of_reach.chosen.name == "exact, 4 bits in memory"
    assert out_of_reach.violation


def test_exact_lists_need_item_embeddings(model: EASEModel, parts: Split) -> None:
    with pytest.raises(SettingError, match="Leave out exact"):
        compress(model, parts.train, parts.valid, CompressionTarget(bytes=1000), exact=True, run=RUN)


def test_a_compressed_model_is_refused(model: EASEModel, parts: Split) -> None:
    smaller = pack(EASEModel(model.settings, sp.csr_array(model.weights)))
    with pytest.raises(SettingError, match="must not be compressed already"):
        compress(smaller, parts.train, parts.valid, CompressionTarget(bytes=1000), run=RUN)


def test_a_model_without_a_hit_is_refused(model: EASEModel, parts: Split) -> None:
    unlearned = EASEModel(model.settings, np.zeros_like(model.weights))
    truth = parts.valid.ground_truth.copy()
    truth.indices[:] = len(parts.train.items) - 1
    truth.sum_duplicates()
    valid = dataclasses.replace(parts.valid, ground_truth=truth)
    with pytest.raises(DataError, match="must list some held-out items"):
        compress(unlearned, parts.train, valid, CompressionTarget(bytes=1000), k=1, run=RUN)


def test_the_table_fits_a_terminal_of_80_columns(model: EASEModel, parts: Split) -> None:
    names, rows = choose(model, parts, bytes_per_item=80).table()
    widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
    assert sum(widths) + len(widths) <= 80
    assert not any(cell.startswith("-0.00") for row in rows for cell in row)


def test_a_model_without_a_method_is_refused(dataset: Dataset, parts: Split) -> None:
    @dataclasses.dataclass(frozen=True, eq=False)
    class Constant:
        n_items: int

        def score(self, queries: Any, items: Any = None) -> Any:
            return np.ones((len(queries), self.n_items), np.float32)

    with pytest.raises(SettingError, match="Got Constant, for which no method"):
        compress(Constant(len(dataset.items)), parts.train, parts.valid, CompressionTarget(bytes=10), run=RUN)
