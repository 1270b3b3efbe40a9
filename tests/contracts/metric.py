"""Properties of every ranking metric. The test of a metric subclasses ``MetricContract``."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leanrec.errors import SettingError
from leanrec.evaluation.metrics.ranking import Metric, Relevance, match_ground_truth

N_ITEMS = 12
# The test classes of all metrics inherit these properties.
INHERITED = [HealthCheck.differing_executors]

Case = tuple[list[int], dict[int, float]]


@st.composite
def cases(draw: Any) -> Case:
    """A list of distinct items, possibly short, and a ground truth, possibly empty."""
    items = draw(st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=N_ITEMS))
    truth = draw(st.dictionaries(st.integers(0, N_ITEMS - 1), st.sampled_from([0.5, 1.0, 3.0]), max_size=N_ITEMS))
    return items, truth


def make_relevance(*many: Case, depth: int = N_ITEMS + 3) -> Relevance:
    """The relevance of lists, padded beyond the size of the catalog."""
    items = np.full((len(many), depth), -1, np.int32)
    truth = np.zeros((len(many), N_ITEMS), np.float32)
    for b, (listed, relevant) in enumerate(many):
        items[b, : min(len(listed), depth)] = listed[:depth]
        truth[b, list(relevant)] = list(relevant.values())
    return match_ground_truth(items, sp.csr_array(truth))


class MetricContract:
    """Set ``metric``, and ``twin(items, truth, k)``, a slow implementation for one query by the definition."""

    metric: ClassVar[Metric]
    twin: ClassVar[Callable[[list[int], dict[int, float], int], float]]
    # Whether the weights of relevant items matter.
    graded: ClassVar[bool] = False
    # Whether a perfect list scores 1 at a k equal to, below and above the number of relevant items.
    perfect: ClassVar[tuple[bool, bool, bool]] = (True, True, True)

    def value(self, items: list[int], truth: dict[int, float], k: int) -> float:
        return float(type(self).metric(make_relevance((items, truth)), k)[0])

    @given(case=cases(), k=st.integers(1, N_ITEMS + 3))
    @settings(max_examples=150, deadline=None, suppress_health_check=INHERITED)
    def test_agrees_with_the_definition(self, case: Case, k: int) -> None:
        items, truth = case
        if truth:
            assert self.value(items, truth, k) == pytest.approx(type(self).twin(items, truth, k), abs=1e-12)

    @given(case=cases(), k=st.integers(1, N_ITEMS + 3))
    @settings(max_examples=80, deadline=None, suppress_health_check=INHERITED)
    def test_lies_between_0_and_1(self, case: Case, k: int) -> None:
        items, truth = case
        if truth:
            assert -1e-12 <= self.value(items, truth, k) <= 1 + 1e-12

    @given(many=st.lists(cases(), min_size=1, max_size=6), k=st.integers(1, N_ITEMS))
    @settings(max_examples=40, deadline=None, suppress_health_check=INHERITED)
    def test_a_query_does_not_depend_on_other_queries(self, many: list[Case], k: int) -> None:
        together = type(self).metric(make_relevance(*many), k)
        alone = [self.value(*case, k) for case in many]
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12)

    def test_a_perfect_list_scores_1(self) -> None:
        truth = {2: 3.0, 5: 1.0, 7: 0.5}
        for k, holds in zip((3, 2, 9), self.perfect, strict=True):
            assert (self.value([2, 5, 7, 0, 1], truth, k) == pytest.approx(1.0)) == holds, k

    def test_a_list_without_relevant_items_scores_0(self) -> None:
        assert self.value([0, 1, 3], {2: 1.0, 5: 1.0}, 3) == 0
        assert self.value([], {2: 1.0}, 3) == 0

    def test_a_relevant_item_past_k_is_ignored(self) -> None:
        assert self.value([0, 1, 2], {2: 1.0}, 2) == 0

    def test_an_earlier_relevant_item_is_never_worse(self) -> None:
        values = [self.value(items, {4: 1.0}, 4) for items in ([0, 1, 2, 4], [0, 1, 4, 2], [0, 4, 1, 2], [4, 0, 1, 2])]
        assert values == sorted(values)
        assert values[0] > 0

    @given(case=cases(), k=st.integers(1, N_ITEMS), seed=st.integers(0, 99))
    @settings(max_examples=40, deadline=None, suppress_health_check=INHERITED)
    def test_permuting_item_rows_changes_nothing(self, case: Case, k: int, seed: int) -> None:
        items, truth = case
        other = np.random.default_rng(seed).permutation(N_ITEMS).tolist()
        renamed = {other[item]: weight for item, weight in truth.items()}
        np.testing.assert_allclose(
            self.value([other[item] for item in items], renamed, k), self.value(items, truth, k), atol=1e-12
        )

    def test_weights_matter_only_for_graded_metrics(self) -> None:
        one, three = self.value([0, 1, 2], {1: 1.0, 2: 3.0}, 3), self.value([0, 1, 2], {1: 3.0, 2: 1.0}, 3)
        assert (one != three) == self.graded

    def test_without_ground_truth_the_value_is_nan(self) -> None:
        values = type(self).metric(make_relevance(([0, 1], {}), ([0, 1], {1: 1.0})), 2)
        assert np.isnan(values[0])
        assert values[1] > 0

    def test_k_may_exceed_the_size_of_the_catalog(self) -> None:
        assert 0 < self.value(list(range(N_ITEMS)), {11: 1.0}, N_ITEMS + 3) <= 1

    def test_a_k_above_the_length_of_the_lists_is_refused(self) -> None:
        for k in (0, -1, 4):
            with pytest.raises(SettingError, match=f"k must be from 1 to 3, the length of the lists. Got {k}"):
                type(self).metric(make_relevance(([0], {0: 1.0}), depth=3), k)
