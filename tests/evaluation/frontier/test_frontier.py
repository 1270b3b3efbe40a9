"""Pareto sets, the choice within a budget, and tables that survive their models."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_dataset
from leanrec import artifacts
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset, DatasetShape
from leanrec.data.splits.split import split
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.bootstrap import PerQueryMetrics
from leanrec.evaluation.frontier.candidates import parse_candidates, list_candidates
from leanrec.evaluation.frontier.cost import ModelCost, LatencyProtocol
from leanrec.evaluation.frontier.frontier import Frontier, frontier
from leanrec.evaluation.frontier.pareto import is_pareto_optimal
from leanrec.evaluation.frontier.results import QualityEstimate, ModelResult
from leanrec.evaluation.frontier.selection import ModelSelection, Equivalent, find_cheaper, select_model, annotate_results, ties
from leanrec.models import list_models
from leanrec.models.baselines.bias import Bias
from leanrec.models.baselines.popularity import Popularity, PopularityModel
from leanrec.models.ensembles.hybrid import Hybrid
from leanrec.models.linear.ease import EASE
from leanrec.run import Run

FEW = LatencyProtocol(count=20, least=5, batch=8)
NUMBERS = st.floats(0.001, 100) | st.sampled_from([0.0, 1.0, 2.0])


def make_row(
    name: str,
    quality: float,
    p99: float = 0.001,
    memory: int = 10**6,
    fit: float = 1.0,
    artifact: int = 10**6,
) -> ModelResult:
    cost = ModelCost(
        first_request=0.1, p50=p99 / 2, p99=p99, requests_per_second=1 / p99, batch_users_per_second=1 / p99, latency=100,
        n_users=50, n_interruptions=0, fit_seconds=fit, fit_cpu_seconds=fit, peak_memory=memory, warm_up_seconds=0.1, compile=0.0,
        model_bytes=artifact, artifact_bytes=artifact,
    )  # fmt: skip
    measured = QualityEstimate(quality, quality - 0.01, quality + 0.01, 100)
    return ModelResult(name, name, "collaborative", {}, "fitted", cost=cost, valid=measured, test=measured)


def dominated(point: tuple[float, float], others: Sequence[tuple[float, float]]) -> bool:
    """The definition, slowly: somebody is at least as cheap and as good, and better in one."""
    cost, quality = point
    return any(c <= cost and q >= quality and (c < cost or q > quality) for c, q in others)


def test_a_known_front() -> None:
    cost = [1.0, 2.0, 3.0, 2.5, 4.0, 1.0]
    quality = [0.1, 0.3, 0.3, 0.2, 0.4, 0.05]
    assert is_pareto_optimal(cost, quality).tolist() == [True, True, False, False, True, False]


def test_twins_are_optimal_together_and_what_is_not_a_number_never_is() -> None:
    assert is_pareto_optimal([1.0, 1.0, np.nan, 0.5], [0.2, 0.2, 0.9, np.nan]).tolist() == [True, True, False, False]
    assert is_pareto_optimal([], []).tolist() == []


@given(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=30))
def test_the_front_is_exactly_what_nobody_dominates(points: list[tuple[float, float]]) -> None:
    optimal = is_pareto_optimal([c for c, _ in points], [q for _, q in points])
    assert optimal.tolist() == [not dominated(point, points) for point in points]


def test_rows_are_marked_for_each_cost() -> None:
    rows = annotate_results(
        [make_row("small", 0.2, p99=0.001, memory=10), make_row("large", 0.3, p99=0.001, memory=100)],
        Budget(memory=50),
    )
    assert [row.pareto_axes for row in rows] == [("memory",), ("p99", "memory", "fit_time", "size")]
    assert [row.violations[0].axis if row.violations else None for row in rows] == [None, "memory"]


def test_the_best_within_the_budget_is_chosen() -> None:
    rows = [
        make_row("good", 0.3, p99=0.004),
        make_row("better", 0.4, p99=0.006),
        make_row("bad", 0.1, p99=0.001),
    ]
    assert select_model(annotate_results(rows, Budget(p99="5ms"))) == ModelSelection("good", None)
    assert select_model(annotate_results(rows, Budget())) == ModelSelection("better", None)


def test_of_equals_the_faster_is_chosen() -> None:
    rows = [make_row("slow", 0.3, p99=0.004), make_row("fast", 0.3, p99=0.002)]
    assert select_model(annotate_results(rows, Budget())).best == "fast"


def test_validation_decides_and_test_is_only_reported() -> None:
    honest, lucky = make_row("honest", 0.4), make_row("lucky", 0.3)
    rows = [
        dataclasses.replace(honest, test=QualityEstimate(0.1, 0.0, 0.2, 100)),
        dataclasses.replace(lucky, test=QualityEstimate(0.9, 0.8, 1.0, 100)),
    ]
    assert select_model(annotate_results(rows, Budget())).best == "honest"
    assert select_model(annotate_results(rows, Budget(p99="1us"))).closest == "honest"


def test_if_none_fits_the_one_that_goes_over_least_is_named() -> None:
    rows = [
        make_row("slow", 0.4, p99=0.010, memory=10),  # 100 % over on p99
        make_row("heavy", 0.2, p99=0.006, memory=1300),  # 20 % and 30 % over
        make_row("both", 0.3, p99=0.0061, memory=1310),
    ]
    marked = annotate_results(rows, Budget(p99="5ms", memory=1000))
    assert select_model(marked) == ModelSelection(None, "heavy")
    assert [each.axis for each in marked[1].violations] == ["memory", "p99"]


def test_nothing_fitted_is_nothing_chosen() -> None:
    rows = [ModelResult("a", "a", "content", {}, "failed", reason="broken")]
    assert select_model(annotate_results(rows, Budget())) == ModelSelection(None, None)
    assert select_model([]) == ModelSelection(None, None)


@given(
    st.lists(st.tuples(NUMBERS, st.floats(0.001, 10), st.integers(1, 1000)), min_size=1, max_size=12),
    st.floats(0.01, 5),
    st.integers(1, 900),
)
def test_the_choice_keeps_the_budget_and_nothing_that_does_is_better(
    costs: list[tuple[float, float, int]], max_p99: float, max_memory: int
) -> None:
    rows = annotate_results(
        [make_row(str(i), q, p99=p, memory=m) for i, (q, p, m) in enumerate(costs)],
        Budget(p99=max_p99, memory=max_memory),
    )
    choice = select_model(rows)
    fitting = [q for q, p, m in costs if p <= max_p99 and m <= max_memory]
    if fitting:
        assert choice.best is not None
        best = rows[int(choice.best)]
        assert best.valid is not None
        assert best.valid.value == max(fitting)
        assert not best.violations
    else:
        assert choice.best is None
        assert choice.closest is not None
        worst = [max(p / max_p99, m / max_memory) for _, p, m in costs]
        assert worst[int(choice.closest)] == min(worst)


def test_cheaper_is_much_less_somewhere_and_no_more_elsewhere() -> None:
    best = make_row("best", 0.4, p99=0.01, memory=1000, fit=10.0, artifact=1000)
    less = make_row("less", 0.3, p99=0.0105, memory=1000, fit=5.0, artifact=1000)
    same = make_row("same", 0.3, p99=0.0095, memory=950, fit=9.5, artifact=990)
    dear = make_row("dear", 0.3, p99=0.02, memory=10, fit=0.1, artifact=10)
    assert [row.name for row in find_cheaper(annotate_results([best, less, same, dear], Budget()), best)] == ["less"]
    assert find_cheaper(annotate_results([best, less], Budget(fit_time=1)), best) == ()


def test_more_of_what_the_budget_has_plenty_of_is_no_objection() -> None:
    best = make_row("best", 0.4, fit=0.5, artifact=10**7)
    small = make_row("small", 0.4, fit=2.0, artifact=10**5)
    assert find_cheaper([best, small], best, Budget()) == ()
    assert find_cheaper([best, small], best, Budget(fit_time="10s")) == ()
    assert find_cheaper([best, small], best, Budget(fit_time="60s")) == (small,)


def test_a_cheaper_model_that_is_as_good_is_named_and_one_that_is_worse_is_not() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(200)
    values = {"best": base + 0.001, "tied": base + rng.normal(0, 0.3, 200), "worse": base - 0.2, "dear": base}
    rows = annotate_results(
        [
            make_row("best", 0.501, fit=10.0),
            make_row("tied", 0.5, fit=1.0),
            make_row("worse", 0.3, fit=1.0),
            make_row("dear", 0.5, fit=99.0),
        ],
        Budget(),
    )
    evaluations = {name: PerQueryMetrics(per_query={"ndcg@10": each}, cases="same") for name, each in values.items()}
    found = ties(rows, "best", evaluations, "ndcg@10")
    assert [tie.name for tie in found] == ["tied"]
    assert found[0].low <= found[0].difference <= found[0].high
    assert found[0].difference == pytest.approx(float(np.mean(values["best"] - values["tied"])))
    assert found[0].cost_ratios == pytest.approx({"p99": 1.0, "memory": 1.0, "fit_time": 0.1, "size": 1.0})


def test_an_exact_twin_that_is_cheaper_is_a_tie() -> None:
    rows = annotate_results(
        [make_row("z-best", 0.5, p99=0.001, fit=10.0), make_row("a-twin", 0.5, p99=0.001001, fit=1.0)],
        Budget(),
    )
    same = PerQueryMetrics(per_query={"ndcg@10": np.full(50, 0.5)}, cases="same")
    found = ties(rows, "z-best", {"z-best": same, "a-twin": same}, "ndcg@10")
    assert [(tie.name, tie.difference) for tie in found] == [("a-twin", 0.0)]


# Models that go wrong in every way a model can.
@dataclasses.dataclass(frozen=True)
class Fails:
    def fit_bytes(self, shape: DatasetShape) -> int:
        return 1

    def fit(self, data: Dataset, run: Run = Run()) -> PopularityModel:
        raise RuntimeError("singular matrix")


@dataclasses.dataclass(frozen=True)
class Huge(Fails):
    def fit_bytes(self, shape: DatasetShape) -> int:
        return 10**15


@dataclasses.dataclass(frozen=True)
class Refuses(Fails):
    def fit(self, data: Dataset, run: Run = Run()) -> PopularityModel:
        run.require_memory(10**15, "Refuses")
        raise AssertionError


@dataclasses.dataclass(frozen=True)
class Wrong(Fails):
    """Fits, and its scores have the wrong shape."""

    def fit(self, data: Dataset, run: Run = Run()) -> PopularityModel:
        return PopularityModel(Popularity(), np.zeros(3, np.float32))


@dataclasses.dataclass(frozen=True)
class Waits(Fails):
    """Iterates until it is out of time."""

    def fit(self, data: Dataset, run: Run = Run()) -> PopularityModel:
        while run.budget.fit_time is not None and not run.out_of_time():
            time.sleep(0.01)
        return Popularity().fit(data)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(n_users=120)


def run_frontier(data: Dataset, models: Sequence[object], **kwargs: object) -> Frontier:
    given = {"split": "leave-one-out", "requests": FEW, "apart": False, **kwargs}
    return frontier(data, models=models, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def mixed(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Frontier, Path]:
    folder = tmp_path_factory.mktemp("models")
    models = [Popularity(), Fails(), EASE(l2=20.0), Huge(), Refuses(), Wrong()]
    return run_frontier(data, models, save=folder), folder


def test_one_model_that_fails_is_one_line(mixed: tuple[Frontier, Path]) -> None:
    found = mixed[0]
    assert [row.status for row in found.results] == [
        "fitted",
        "failed",
        "fitted",
        "skipped",
        "skipped",
        "failed",
    ]
    assert found.results[1].reason == "RuntimeError: singular matrix"
    assert "needs about 1e+03 TB" in found.results[3].reason
    assert "Refuses needs about" in found.results[4].reason
    assert found.results[5].reason
    assert found.best is found.results[2]
    assert any("Not in the comparison: Fails, Huge, Refuses, Wrong." in line for line in found.summary())


def test_a_fitted_row_says_everything(mixed: tuple[Frontier, Path], data: Dataset) -> None:
    row = mixed[0].result("ease l2=20")
    assert (row.model, row.family) == ("ease", "collaborative")
    assert row.settings["l2"] == 20.0
    assert row.estimated_memory == EASE(l2=20.0).fit_bytes(split(data, "leave-one-out").train.shape)
    assert row.cost is not None
    assert not row.cost.isolate
    for part in (row.valid, row.test):
        assert part is not None
        assert part.low <= part.value <= part.high
        assert 0 < part.queries <= 120
    assert row.valid is not None
    assert row.metrics["valid"]["ndcg@10"] == row.valid.value
    assert {"recall@10", "coverage@10", "fallback_share"} <= set(row.metrics["test"])


def test_quality_is_that_of_a_model_fitted_on_the_training_part(mixed: tuple[Frontier, Path], data: Dataset) -> None:
    from leanrec.evaluation.evaluate import evaluate

    parts = split(data, "leave-one-out")
    model = EASE(l2=20.0).fit(parts.train)
    row = mixed[0].result("ease l2=20")
    for cases, found in ((parts.valid, row.valid), (parts.test, row.test)):
        assert found is not None
        expected = evaluate(model, cases, k=(10,), fallback=Popularity().fit(parts.train)).interval("ndcg@10")
        assert (found.value, found.low, found.high) == pytest.approx(tuple(expected))


def test_a_row_can_be_fitted_again_on_all_the_data(mixed: tuple[Frontier, Path], data: Dataset) -> None:
    best = mixed[0].best
    assert best is not None
    assert best.estimator == EASE(l2=20.0)
    assert "estimator" not in best.to_dict()
    assert best.estimator.fit(data).n_items == len(data.items)


def test_fitted_models_are_kept_if_wanted(mixed: tuple[Frontier, Path]) -> None:
    found, folder = mixed
    assert sorted(path.name for path in folder.iterdir()) == ["ease_l2=20", "popularity"]
    assert artifacts.load(folder / "ease_l2=20").settings == EASE(l2=20.0)
    assert artifacts.read_manifest(folder / "popularity")["provenance"]["split"] == "leave-one-out"
    assert found.results[0].cost is not None


def test_goes_to_json_and_says_the_same_again(mixed: tuple[Frontier, Path]) -> None:
    found = mixed[0]
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["best"] == "ease l2=20"
    assert plain["summary"] == list(found.summary())
    assert plain["rows"][2]["costs"]["p99"] == plain["rows"][2]["cost"]["p99"]
    assert plain["rows"][1]["reason"] == "RuntimeError: singular matrix"
    assert plain["rows"][1]["valid"] is None


def test_over_the_estimate_a_model_is_not_fitted(data: Dataset) -> None:
    found = run_frontier(data, [Popularity(), EASE()], budget=Budget(memory="1kB"))
    assert [row.status for row in found.results] == ["skipped", "skipped"]
    assert all("the limit is 1 kB" in row.reason for row in found.results)
    assert (found.best, found.closest) == (None, None)
    assert "The smallest fit is popularity: about" in found.summary()[0]


@dataclasses.dataclass(frozen=True)
class Cautious:
    """Needs a megabyte and says that it needs three times the limit."""

    limit: int = 50_000_000

    def fit_bytes(self, shape: object) -> int:
        return 3 * self.limit

    def fit(self, data: Dataset, run: Run = Run()) -> PopularityModel:
        run.require_memory(self.fit_bytes(data.shape), "Cautious")
        return Popularity().fit(data)


def test_an_estimate_is_an_upper_bound_and_what_was_taken_decides(data: Dataset) -> None:
    found = run_frontier(data, [Cautious()], budget=Budget(memory=50_000_000))
    assert [row.status for row in found.results] == ["fitted"]
    assert found.best is not None
    assert found.results[0].estimated_memory == 150_000_000


def test_few_queries_are_said_to_be_few() -> None:
    few = make_dataset(n_users=8)
    assert any("say little" in note for note in run_frontier(few, [Popularity()]).notes)


def test_says_what_comes_closest_and_by_how_much(data: Dataset) -> None:
    found = run_frontier(data, [Popularity(), EASE()], budget=Budget(size=100))
    assert found.best is None
    assert found.closest is not None
    assert found.closest.name == "popularity"
    assert "No model fits within size on disk ≤ 100 B. The closest is popularity" in found.summary()[0]
    assert "times)" in found.summary()[0]


def test_a_model_stops_within_the_time_for_a_fit(data: Dataset) -> None:
    row = run_frontier(data, [Waits()], budget=Budget(fit_time=0.3)).results[0]
    assert row.cost is not None
    assert row.cost.fit_seconds >= 0.27


def test_nothing_is_started_once_the_time_is_over(data: Dataset) -> None:
    found = run_frontier(data, [Popularity()], run=Run(started=time.monotonic() - 5, budget=Budget(fit_time=1)))
    assert found.results[0].status == "skipped"
    assert found.results[0].reason == "The 1 s for everything were over."


@pytest.mark.system
def test_each_model_in_a_process_of_its_own_gives_the_same(data: Dataset) -> None:
    models = [EASE(l2=20.0), Bias(), Fails()]
    there = run_frontier(data, models, isolate=True, run=Run(seed=2))
    here = run_frontier(data, models, run=Run(seed=2))
    for ours, theirs in zip(there.results[:2], here.results[:2], strict=True):
        assert ours.cost is not None
        assert ours.cost.isolate
        assert (ours.valid, ours.test) == (theirs.valid, theirs.test)
    assert there.results[2].reason == "RuntimeError: singular matrix"


HANG = """
from leanrec.evaluation.frontier.isolation import _Deadline

class Hang:
    def fit(self, data, run):
        sum(range(10**15))  # in C, so no signal and no other thread of Python gets a turn

_Deadline(Hang(), 0.2).fit(None)
"""


@pytest.mark.system
def test_a_fit_that_ignores_its_time_is_ended(data: Dataset) -> None:
    from leanrec.evaluation.frontier import isolation as apart

    assert apart._Deadline(Waits(), 60.0).fit(data).n_items == 40
    done = subprocess.run([sys.executable, "-c", HANG], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert (
        apart._why(done, Run(budget=Budget(fit_time=2)))
        == "It was still fitting long after the limit of 2 s, so it was ended."
    )
    killed = subprocess.CompletedProcess([], -9, "", "")
    assert "memory of the machine ran out" in apart._why(killed, Run())


def test_wrong_arguments_are_refused_before_anything_is_fitted(data: Dataset) -> None:
    with pytest.raises(SettingError, match=r"metric must be one of .*ndcg@10.*Got 'ndgc@10'"):
        run_frontier(data, [Fails()], metric="ndgc@10")
    with pytest.raises(SettingError, match=r"There is no model 'eaze'\. Did you mean 'ease'"):
        run_frontier(data, ["eaze"])
    with pytest.raises(SettingError, match="by name or as settings"):
        run_frontier(data, [EASE])
    with pytest.raises(DataError, match="validation part must hold at least one answer"):
        run_frontier(data, [Fails()], split=split(data, "leave-one-out", valid=0))


def test_names_tell_settings_apart() -> None:
    names = [each.name for each in parse_candidates(["ease", EASE(l2=50.0), EASE(l2=50.0), Fails()])]
    assert names == ["ease", "ease l2=50", "ease l2=50 #2", "Fails"]
    assert [each.name for each in parse_candidates(["hybrid", Hybrid(parts=("ease", "popularity"))])] == [
        "hybrid",
        "hybrid parts=EASE+Popularity",
    ]
    assert [each.name for each in parse_candidates({"mine": EASE(), "yours": "popularity"})] == ["mine", "yours"]
    assert [(each.model, each.family) for each in parse_candidates([EASE(l2=1.0), Fails()])] == [
        ("ease", "collaborative"),
        ("Fails", "plugin"),
    ]


def test_the_portfolio_follows_the_data(data: Dataset) -> None:
    everything = list_candidates(data)
    assert len({each.name for each in everything}) == len(everything)
    families = {each.family for each in everything}
    bare = dataclasses.replace(data, item_table=None)
    assert "content" not in {each.family for each in list_candidates(bare)}
    assert {"collaborative"} <= families
    unrated = dataclasses.replace(data, events=dataclasses.replace(data.events, value=None), rating_range=None)
    models = {each.model for each in list_candidates(unrated)}
    assert {"popularity", "ease", "rp3", "cheby_cf"} <= models
    assert not {"gf_cf", "turbo_cf"} & models
    assert [each.model for each in parse_candidates(["gf_cf", "turbo_cf"], sizes=True)] == ["gf_cf", "turbo_cf"]
    assert not {"bias", "rating_knn", "rating_mf"} & models
    assert {"bias", "rating_knn", "rating_mf"} <= {each.model for each in everything}


def test_models_that_train_for_long_take_part_when_asked(data: Dataset) -> None:
    usual, all_of_them = ({each.model for each in list_candidates(data, deep=deep)} for deep in (False, True))
    assert {"sasrec", "xsimgcl"} <= all_of_them - usual
    assert usual <= all_of_them
    assert "lightgcn" in usual
    assert not usual & {name for name, info in list_models().items() if info.extra}


def test_every_size_in_the_portfolio_is_a_setting_that_exists(data: Dataset) -> None:
    sized = {each.model for each in list_candidates(data) if each.name != each.model}
    assert sized == {info.name for info in list_models().values() if not info.extra and info.variants}


def test_a_tie_is_told_in_words() -> None:
    best, other = annotate_results([make_row("big", 0.4), make_row("small", 0.39)], Budget())
    tie = Equivalent("small", 0.01, -0.002, 0.02, 0.4, {"p99": 0.5, "memory": 1.0, "fit_time": 0.1, "size": 1.0})
    found = Frontier((best, other), Budget(), ModelSelection("big", None, (tie,)), "ndcg@10", "films", "about")
    assert found.summary()[1] == (
        "small is cheaper (0.5 × the p99 of one request, 0.1 × the time to fit), and validation cannot "
        "tell it from the best: its ndcg@10 is lower by 0.0100 (95 % interval -0.0020 to 0.0200)."
    )
    with pytest.raises(SettingError, match=r"There is no row 'tiny'\. Rows: big, small"):
        found.result("tiny")
