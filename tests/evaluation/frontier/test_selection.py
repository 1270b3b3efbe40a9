"""Selection of the best model within a budget, and of its cheaper equivalents."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.frontier_results import make_result
from leanrec.budget import Budget
from leanrec.evaluation.bootstrap import PerQueryMetrics
from leanrec.evaluation.frontier.results import ModelResult, QualityEstimate
from leanrec.evaluation.frontier.selection import (
    ModelSelection,
    annotate_results,
    find_cheaper,
    find_equivalents,
    select_model,
)

NUMBERS = st.floats(0.001, 100) | st.sampled_from([0.0, 1.0, 2.0])


def test_results_are_annotated_with_pareto_axes_and_violations() -> None:
    results = annotate_results(
        [make_result("small", 0.2, p99=0.001, memory=10), make_result("large", 0.3, p99=0.001, memory=100)],
        Budget(memory=50),
    )
    assert [each.pareto_axes for each in results] == [("memory",), ("p99", "memory", "fit_time", "size")]
    assert [each.violations[0].axis if each.violations else None for each in results] == [None, "memory"]


def test_the_best_within_the_budget_is_selected() -> None:
    results = [
        make_result("good", 0.3, p99=0.004),
        make_result("better", 0.4, p99=0.006),
        make_result("bad", 0.1, p99=0.001),
    ]
    assert select_model(annotate_results(results, Budget(p99="5ms"))) == ModelSelection("good", None)
    assert select_model(annotate_results(results, Budget())) == ModelSelection("better", None)


def test_among_equals_the_faster_is_selected() -> None:
    results = [make_result("slow", 0.3, p99=0.004), make_result("fast", 0.3, p99=0.002)]
    assert select_model(annotate_results(results, Budget())).best == "fast"


def test_selection_uses_validation_and_ignores_test() -> None:
    results = [
        dataclasses.replace(make_result("by-validation", 0.4), test=QualityEstimate(0.1, 0.0, 0.2, 100)),
        dataclasses.replace(make_result("by-test", 0.3), test=QualityEstimate(0.9, 0.8, 1.0, 100)),
    ]
    assert select_model(annotate_results(results, Budget())).best == "by-validation"
    assert select_model(annotate_results(results, Budget(p99="1us"))).closest == "by-validation"


def test_if_none_fits_the_one_with_the_smallest_excess_is_closest() -> None:
    results = [
        make_result("slow", 0.4, p99=0.010, memory=10),  # 100 % over on p99
        make_result("heavy", 0.2, p99=0.006, memory=1300),  # 20 % and 30 % over
        make_result("both", 0.3, p99=0.0061, memory=1310),
    ]
    annotated = annotate_results(results, Budget(p99="5ms", memory=1000))
    assert select_model(annotated) == ModelSelection(None, "heavy")
    assert [each.axis for each in annotated[1].violations] == ["memory", "p99"]


def test_without_a_fitted_model_none_is_selected() -> None:
    results = [ModelResult("a", "a", "content", {}, "failed", reason="broken")]
    assert select_model(annotate_results(results, Budget())) == ModelSelection(None, None)
    assert select_model([]) == ModelSelection(None, None)


@given(
    st.lists(st.tuples(NUMBERS, st.floats(0.001, 10), st.integers(1, 1000)), min_size=1, max_size=12),
    st.floats(0.01, 5),
    st.integers(1, 900),
)
def test_the_selected_model_is_the_best_that_keeps_the_budget(
    costs: list[tuple[float, float, int]], max_p99: float, max_memory: int
) -> None:
    results = annotate_results(
        [make_result(str(i), q, p99=p, memory=m) for i, (q, p, m) in enumerate(costs)],
        Budget(p99=max_p99, memory=max_memory),
    )
    selection = select_model(results)
    within = [q for q, p, m in costs if p <= max_p99 and m <= max_memory]
    if within:
        assert selection.best is not None
        best = results[int(selection.best)]
        assert best.valid is not None
        assert best.valid.value == max(within)
        assert not best.violations
    else:
        assert selection.best is None
        assert selection.closest is not None
        worst = [max(p / max_p99, m / max_memory) for _, p, m in costs]
        assert worst[int(selection.closest)] == min(worst)


def test_cheaper_means_much_less_on_one_axis_and_no_more_on_others() -> None:
    best = make_result("best", 0.4, p99=0.01, memory=1000, fit=10.0, size=1000)
    less = make_result("less", 0.3, p99=0.0105, memory=1000, fit=5.0, size=1000)
    same = make_result("same", 0.3, p99=0.0095, memory=950, fit=9.5, size=990)
    expensive = make_result("expensive", 0.3, p99=0.02, memory=10, fit=0.1, size=10)
    annotated = annotate_results([best, less, same, expensive], Budget())
    assert [each.name for each in find_cheaper(annotated, best)] == ["less"]
    assert find_cheaper(annotate_results([best, less], Budget(fit_time=1)), best) == ()


def test_a_higher_cost_is_ignored_where_the_budget_leaves_plenty() -> None:
    best = make_result("best", 0.4, fit=0.5, size=10**7)
    small = make_result("small", 0.4, fit=2.0, size=10**5)
    assert find_cheaper([best, small], best, Budget()) == ()
    assert find_cheaper([best, small], best, Budget(fit_time="10s")) == ()
    assert find_cheaper([best, small], best, Budget(fit_time="60s")) == (small,)


def test_equivalents_are_cheaper_and_not_significantly_worse() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(200)
    values = {"best": base + 0.001, "tied": base + rng.normal(0, 0.3, 200), "worse": base - 0.2, "expensive": base}
    results = annotate_results(
        [
            make_result("best", 0.501, fit=10.0),
            make_result("tied", 0.5, fit=1.0),
            make_result("worse", 0.3, fit=1.0),
            make_result("expensive", 0.5, fit=99.0),
        ],
        Budget(),
    )
    evaluations = {
        name: PerQueryMetrics(per_query={"ndcg@10": each}, fingerprint="same") for name, each in values.items()
    }
    (found,) = find_equivalents(results, "best", evaluations, "ndcg@10")
    assert found.name == "tied"
    assert found.low <= found.difference <= found.high
    assert found.difference == pytest.approx(float(np.mean(values["best"] - values["tied"])))
    assert found.cost_ratios == pytest.approx({"p99": 1.0, "memory": 1.0, "fit_time": 0.1, "size": 1.0})


def test_a_cheaper_model_with_equal_values_is_an_equivalent() -> None:
    results = annotate_results(
        [make_result("z-best", 0.5, p99=0.001, fit=10.0), make_result("a-twin", 0.5, p99=0.001001, fit=1.0)],
        Budget(),
    )
    same = PerQueryMetrics(per_query={"ndcg@10": np.full(50, 0.5)}, fingerprint="same")
    found = find_equivalents(results, "z-best", {"z-best": same, "a-twin": same}, "ndcg@10")
    assert [(each.name, each.difference) for each in found] == [("a-twin", 0.0)]
