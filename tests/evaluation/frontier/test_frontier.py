"""The frontier as a whole: results, summary and JSON."""

import dataclasses
import json
from pathlib import Path

import pytest

from conftest import make_dataset
from contracts.frontier_results import (
    EstimatesTooMuch,
    FailingEstimator,
    RequiresTooMuch,
    ScoresWrongShape,
    make_result,
    run_frontier,
)
from leanrec import artifacts
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.data.splits.split import split
from leanrec.errors import DataError, SettingError
from leanrec.evaluation.evaluate import evaluate
from leanrec.evaluation.frontier.frontier import Frontier
from leanrec.evaluation.frontier.selection import Equivalent, ModelSelection, annotate_results
from leanrec.models.baselines.bias import Bias
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.linear.ease import EASE
from leanrec.run import Run


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(n_users=120)


@pytest.fixture(scope="module")
def mixed(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Frontier, Path]:
    """A frontier of two models that fit and four that do not, and the folder of its saved models."""
    folder = tmp_path_factory.mktemp("models")
    models = [
        Popularity(),
        FailingEstimator(),
        EASE(l2=20.0),
        EstimatesTooMuch(),
        RequiresTooMuch(),
        ScoresWrongShape(),
    ]
    return run_frontier(data, models, save=folder), folder


def test_a_model_that_fails_does_not_end_the_frontier(mixed: tuple[Frontier, Path]) -> None:
    found = mixed[0]
    assert [each.status for each in found.results] == ["fitted", "failed", "fitted", "skipped", "skipped", "failed"]
    assert found.results[1].reason == "RuntimeError: singular matrix"
    assert "needs about 1e+03 TB" in found.results[3].reason
    assert "RequiresTooMuch needs about" in found.results[4].reason
    assert found.results[5].reason
    assert found.best is found.results[2]
    names = "FailingEstimator, EstimatesTooMuch, RequiresTooMuch, ScoresWrongShape"
    assert f"Not compared: {names}." in found.summary()


def test_a_fitted_result_is_complete(mixed: tuple[Frontier, Path], data: Dataset) -> None:
    result = mixed[0].result("ease l2=20")
    assert (result.model, result.family) == ("ease", "linear")
    assert result.settings["l2"] == 20.0
    assert result.estimated_memory == EASE(l2=20.0).fit_bytes(split(data, "leave-one-out").train.shape)
    assert result.cost is not None
    assert not result.cost.isolated
    for part in (result.valid, result.test):
        assert part is not None
        assert part.low <= part.value <= part.high
        assert 0 < part.n_queries <= 120
    assert result.valid is not None
    assert result.metrics["valid"]["ndcg@10"] == result.valid.value
    assert {"recall@10", "coverage@10", "fallback_share"} <= set(result.metrics["test"])


def test_quality_is_that_of_a_model_fitted_on_the_training_part(mixed: tuple[Frontier, Path], data: Dataset) -> None:
    parts = split(data, "leave-one-out")
    model = EASE(l2=20.0).fit(parts.train)
    result = mixed[0].result("ease l2=20")
    for part, found in ((parts.valid, result.valid), (parts.test, result.test)):
        assert found is not None
        expected = evaluate(model, part, k=(10,), fallback=Popularity().fit(parts.train)).interval("ndcg@10")
        assert (found.value, found.low, found.high) == pytest.approx(tuple(expected))


def test_the_best_estimator_can_be_fitted_on_all_data(mixed: tuple[Frontier, Path], data: Dataset) -> None:
    best = mixed[0].best
    assert best is not None
    assert best.estimator == EASE(l2=20.0)
    assert best.estimator.fit(data).n_items == len(data.items)


def test_fitted_models_are_saved_on_request(mixed: tuple[Frontier, Path]) -> None:
    folder = mixed[1]
    assert sorted(path.name for path in folder.iterdir()) == ["ease_l2=20", "popularity"]
    assert artifacts.load(folder / "ease_l2=20").settings == EASE(l2=20.0)
    assert artifacts.read_manifest(folder / "popularity")["provenance"]["split"] == "leave-one-out"


def test_the_dictionary_survives_json(mixed: tuple[Frontier, Path]) -> None:
    found = mixed[0]
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["best"] == "ease l2=20"
    assert plain["summary"] == list(found.summary())
    assert plain["results"][2]["costs"]["p99"] == plain["results"][2]["cost"]["p99"]
    assert plain["results"][1]["reason"] == "RuntimeError: singular matrix"
    assert plain["results"][1]["valid"] is None


def test_the_description_counts_the_queries_that_the_quality_is_of(data: Dataset) -> None:
    parts = split(data, "leave-one-out")
    truth = parts.valid.ground_truth.copy()
    truth.data[truth.indptr[0] : truth.indptr[3]] = 0
    truth.eliminate_zeros()
    valid = dataclasses.replace(parts.valid, ground_truth=truth)
    found = run_frontier(data, [Popularity()], split=dataclasses.replace(parts, valid=valid))
    assert found.results[0].valid is not None
    assert found.results[0].valid.n_queries == 117
    assert "117 validation and 120 test queries" in found.description


def test_a_small_sample_gets_a_warning() -> None:
    few = make_dataset(n_users=8)
    assert any("are not reliable" in note for note in run_frontier(few, [Popularity()]).notes)


def test_the_summary_names_the_closest_model_and_its_excess(data: Dataset) -> None:
    found = run_frontier(data, [Popularity(), EASE()], budget=Budget(size=100))
    assert found.best is None
    assert found.closest is not None
    assert found.closest.name == "popularity"
    assert "No model fits within size on disk ≤ 100 B. The closest is popularity" in found.summary()[0]
    assert "times)" in found.summary()[0]


def test_the_summary_describes_equivalents_and_noise() -> None:
    best, small = annotate_results([make_result("big", 0.4), make_result("small", 0.39)], Budget())
    ratios = {"p99": 0.5, "memory": 1.0, "fit_time": 0.1, "size": 1.0}
    selection = ModelSelection("big", None, (Equivalent("small", 0.01, -0.002, 0.02, 0.4, ratios),))
    found = Frontier((best, small), Budget(), selection, "ndcg@10", "films", "a description")
    assert found.summary()[1] == (
        "small is cheaper (0.5 × the p99 of one request, 0.1 × the time to fit), with no significant difference from the "
        "best on validation: its ndcg@10 is lower by 0.0100 (95 % interval -0.0020 to 0.0200)."
    )
    assert best.cost is not None
    noisy = dataclasses.replace(best, cost=dataclasses.replace(best.cost, n_interruptions=50))
    assert "during the requests of big" in dataclasses.replace(found, results=(noisy, small)).summary()[-1]
    with pytest.raises(SettingError, match=r"There is no result 'tiny'\. Results: big, small"):
        found.result("tiny")


def test_wrong_arguments_are_refused_before_any_fit(data: Dataset) -> None:
    with pytest.raises(SettingError, match=r"There is no model 'eaze'\. Did you mean 'ease'"):
        run_frontier(data, ["eaze"])
    with pytest.raises(SettingError, match="by name or as settings"):
        run_frontier(data, [EASE])
    with pytest.raises(DataError, match="valid part of the split .* must hold at least one relevant item"):
        run_frontier(data, [FailingEstimator()], split=split(data, "leave-one-out", valid=0))


@pytest.mark.system
def test_isolated_models_give_the_same_quality(data: Dataset) -> None:
    models = [EASE(l2=20.0), Bias(), FailingEstimator()]
    isolated = run_frontier(data, models, isolate=True, run=Run(seed=2))
    shared = run_frontier(data, models, run=Run(seed=2))
    for one, other in zip(isolated.results[:2], shared.results[:2], strict=True):
        assert one.cost is not None
        assert one.cost.isolated
        assert (one.valid, one.test) == (other.valid, other.test)
    assert isolated.results[2].reason == "RuntimeError: singular matrix"
