"""Leave-one-out training on histories: inputs, batches and loss."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from leanrec.models.deep.core.history_training import (
    HistoryObjective,
    HistoryQueries,
    ItemTables,
    init_bias,
    pool_histories,
)
from leanrec.training.negative_sampling import NegativeSampler

HISTORIES = sp.csr_array(np.array([[1, 1, 1, 0], [0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0]], np.float32))


class RecordingNetwork(nn.Module):
    """Sums of item vectors as query vectors; keeps the queries."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.eye(4))
        self.queries: list[HistoryQueries] = []

    def item_tables(self) -> ItemTables:
        return ItemTables(self.vectors, self.vectors, torch.zeros(4))

    def encode_queries(self, queries: HistoryQueries, items: ItemTables) -> Tensor:
        self.queries.append(queries)
        return queries.sums


def make_objective(batch_size: int) -> HistoryObjective:
    sampler = NegativeSampler.from_counts("uniform", np.ones(4, np.int64))
    return HistoryObjective(HISTORIES, sampler, n_negatives=4, batch_size=batch_size)


def test_batches_contain_every_user_with_items_once() -> None:
    batches: list[Any] = list(make_objective(2).batches(np.random.default_rng(0)))
    assert len(batches) > 1
    assert sorted(np.concatenate(batches).tolist()) == [0, 2, 3]


def test_histories_do_not_contain_the_target() -> None:
    network = RecordingNetwork()
    loss = make_objective(9).loss(network, np.array([0, 2, 3]), np.random.default_rng(0))
    assert torch.isfinite(loss)
    queries = network.queries[0]
    assert queries.users.tolist() == [0, 0, 0, 2, 2, 3]
    assert queries.counts.tolist() == [2, 2, 2, 1, 1, 0]
    assert queries.sums.tolist() == [[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_pooling_divides_by_a_power_of_the_length() -> None:
    queries = HistoryQueries(torch.tensor([0, 1]), torch.ones(2, 3), torch.tensor([4, 0]))
    assert pool_histories(queries, 0.5).tolist() == [[0.5] * 3, [1.0] * 3]


def test_initial_bias_grows_with_popularity() -> None:
    bias = init_bias(np.array([0, 1, 10, 100]))
    assert (np.diff(bias) > 0).all()
