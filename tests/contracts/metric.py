"""What every metric of a ranked list must do. A metric's test subclasses ``MetricContract``."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leanrec.errors import SettingError
from leanrec.evaluation.metrics.ranking import Relevance, Metric, match_ground_truth

N_ITEMS = 12
# Each metric's test class runs these properties: that is what a contract is for.
INHERITED = [HealthCheck.differing_executors]

Case = tuple[list[int], dict[int, float]]


@st.composite
def cases(draw: Any) -> Case:
    """A list of distinct items, perhaps short, and a truth, perhaps empty."""
    items = draw(st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=N_ITEMS))
    truth = draw(st.dictionaries(st.integers(0, N_ITEMS - 1), st.sampled_from([0.5, 1.0, 3.0]), max_size=N_ITEMS))
    return items, truth


def relevance(*many: Case, depth: int = N_ITEMS + 3) -> Relevance:
    """Lists padded beyond the catalogue, judged."""
    items = np.full((len(many), depth), -1, np.int32)
    truth = np.zeros((len(many), N_ITEMS), np.float32)
    for b, (shown, n_relevant) in enumerate(many):
        items[b, : min(len(shown), depth)] = shown[:depth]
        truth[b, list(n_relevant)] = list(n_relevant.values())
    return match_ground_truth(items, sp.csr_array(truth))


class MetricContract:
    """Set ``metric`` and a slow ``twin(items, truth, k)`` of one query, from the definition."""

    metric: ClassVar[Metric]
    twin: ClassVar[Callable[[list[int], dict[int, float], int], float]]
    # Whether weights of truth count, and not only which items have one.
    graded: ClassVar[bool] = False
    # Whether a perfect list scores 1 at a k equal to, below and above the number of answers.
    perfect: ClassVar[tuple[bool, bool, bool]] = (True, True, True)

    def value(self, items: list[int], truth: dict[int, float], k: int) -> float:
        return float(type(self).metric(relevance((items, truth)), k)[0])

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
    def test_a_query_does_not_depend_on_its_neighbours(self, many: list[Case], k: int) -> None:
        together = type(self).metric(relevance(*many), k)
        alone = [self.value(*case, k) for case in many]
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-12)

    def test_a_perfect_list_scores_1(self) -> None:
        truth = {2: 3.0, 5: 1.0, 7: 0.5}
        for k, holds in zip((3, 2, 9), self.perfect, strict=True):
            assert (self.value([2, 5, 7, 0, 1], truth, k) == pytest.approx(1.0)) == holds, k

    def test_a_list_without_answers_scores_0(self) -> None:
        assert self.value([0, 1, 3], {2: 1.0, 5: 1.0}, 3) == 0
        assert self.value([], {2: 1.0}, 3) == 0

    def test_an_answer_past_k_does_not_count(self) -> None:
        assert self.value([0, 1, 2], {2: 1.0}, 2) == 0

    def test_an_earlier_answer_is_never_worse(self) -> None:
        values = [self.value(items, {4: 1.0}, 4) for items in ([0, 1, 2, 4], [0, 1, 4, 2], [0, 4, 1, 2], [4, 0, 1, 2])]
        assert values == sorted(values)
        assert values[0] > 0

    @given(case=cases(), k=st.integers(1, N_ITEMS), seed=st.integers(0, 99))
    @settings(max_examples=40, deadline=None, suppress_health_check=INHERITED)
    def test_the_names_of_items_do_not_matter(self, case: Case, k: int, seed: int) -> None:
        items, truth = case
        other = np.random.default_rng(seed).permutation(N_ITEMS).tolist()
        renamed = {other[item]: weight for item, weight in truth.items()}
        np.testing.assert_allclose(
            self.value([other[item] for item in items], renamed, k), self.value(items, truth, k), atol=1e-12
        )

    def test_weights_count_only_where_it_is_graded(self) -> None:
        one, three = self.value([0, 1, 2], {1: 1.0, 2: 3.0}, 3), self.value([0, 1, 2], {1: 3.0, 2: 1.0}, 3)
        assert (one != three) == self.graded

    def test_no_truth_gives_no_value(self) -> None:
        values = type(self).metric(relevance(([0, 1], {}), ([0, 1], {1: 1.0})), 2)
        assert np.isnan(values[0])
        assert values[1] > 0

    def test_k_may_pass_the_end_of_the_catalogue(self) -> None:
        assert 0 < self.value(list(range(N_ITEMS)), {11: 1.0}, N_ITEMS + 3) <= 1

    def test_refuses_a_k_that_the_lists_do_not_reach(self) -> None:
        for k in (0, -1, 4):
            with pytest.raises(SettingError, match=f"k must be from 1 to 3, the length of the lists. Got {k}"):
                type(self).metric(relevance(([0], {0: 1.0}), depth=3), k)
