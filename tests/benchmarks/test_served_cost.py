"""Served cost: both sides are measured by the same clock, and indices that are built meanwhile are counted."""

import time

import numpy as np
import served_cost

from leanrec.data import Simulation
from leanrec.evaluation.frontier.candidates import parse_candidates
from leanrec.kernels.topk.inner_product import ItemIndex
from leanrec.models import PureSVD
from leanrec.pipeline.lists.stages import StageTimer


def test_a_request_and_the_lists_of_a_model_are_measured() -> None:
    data = Simulation(users=40, items=50, events=800).dataset()
    [candidate] = parse_candidates([PureSVD(embedding_dim=4)])
    found = served_cost.measure_model(candidate, data, 30, is_cpu=True)
    for p50, p99 in (found.frontier, found.stage, found.whole):
        assert 0 < p50 <= p99
    assert found.stage[0] < found.whole[0]
    assert found.n_builds == 0


def test_the_processor_time_of_stages_leaves_out_what_they_wait_for() -> None:
    took = {}
    for is_cpu in (False, True):
        with served_cost.use_clock(is_cpu=is_cpu):
            timer = StageTimer()
            time.sleep(0.05)
            timer.end_stage("retrieve")
        took[is_cpu] = timer.milliseconds["retrieve"]
    assert took[True] < took[False]


def test_indices_that_are_built_are_counted() -> None:
    vectors = np.eye(8, dtype=np.float32)
    with served_cost.count_builds() as builds:
        assert ItemIndex.build(vectors).top_k(vectors[:1], 1)[0].tolist() == [[0]]
    ItemIndex.build(vectors)
    assert len(builds) == 1
