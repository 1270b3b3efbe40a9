"""Served cost: both sides are measured by the same clock, and indices that are built meanwhile are counted."""

import time

import numpy as np
import served_cost

from leanrec.data import Dataset, Simulation
from leanrec.evaluation.frontier.candidates import parse_candidates
from leanrec.evaluation.frontier.cost import LatencyProtocol, measure_latency
from leanrec.kernels.topk.inner_product import ItemIndex
from leanrec.models import PureSVD
from leanrec.types import Float32Array, Int32Array, Queries


def test_a_request_and_the_lists_of_a_model_are_measured() -> None:
    data = Simulation(users=40, items=50, events=800).dataset()
    [candidate] = parse_candidates([PureSVD(embedding_dim=4)])
    found = served_cost.measure_model(candidate, data, 30, is_cpu=True)
    for p50, p99 in (found.frontier, found.served):
        assert 0 < p50 <= p99
    assert found.n_builds == 0


def test_the_processor_time_of_requests_leaves_out_what_they_wait_for(dataset: Dataset) -> None:
    took = {}
    for is_cpu in (False, True):
        with served_cost.use_clock(is_cpu=is_cpu):
            few = LatencyProtocol(n_requests=3, batch_size=1)
            took[is_cpu] = measure_latency(_Sleeping(), dataset, np.arange(3, dtype=np.int32), latency=few).p50
    assert took[True] < took[False]


class _Sleeping:
    n_items = 40

    def score(self, queries: Queries, items: Int32Array | None = None) -> Float32Array:
        time.sleep(0.005)
        return np.arange(len(queries) * 40, dtype=np.float32).reshape(-1, 40)


def test_indices_that_are_built_are_counted() -> None:
    vectors = np.eye(8, dtype=np.float32)
    with served_cost.count_builds() as builds:
        assert ItemIndex.build(vectors).top_k(vectors[:1], 1)[0].tolist() == [[0]]
    ItemIndex.build(vectors)
    assert len(builds) == 1
