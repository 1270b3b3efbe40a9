"""Candidates of a frontier: from names and settings, and from the inputs of a data set."""

import dataclasses

import pytest

from conftest import make_dataset
from contracts.frontier_results import FailingEstimator
from leanrec.data.dataset import Dataset
from leanrec.evaluation.frontier.candidates import list_candidates, parse_candidates
from leanrec.models import list_models
from leanrec.models.ensembles.hybrid import Hybrid
from leanrec.models.linear.ease import EASE


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(n_users=120)


def test_names_contain_the_settings_that_differ_from_the_defaults() -> None:
    names = [each.name for each in parse_candidates(["ease", EASE(l2=50.0), EASE(l2=50.0), FailingEstimator()])]
    assert names == ["ease", "ease l2=50", "ease l2=50 #2", "FailingEstimator"]
    assert [each.name for each in parse_candidates(["hybrid", Hybrid(parts=("ease", "popularity"))])] == [
        "hybrid",
        "hybrid parts=EASE+Popularity",
    ]
    assert [each.name for each in parse_candidates({"mine": EASE(), "yours": "popularity"})] == ["mine", "yours"]
    assert [(each.model, each.family) for each in parse_candidates([EASE(l2=1.0), FailingEstimator()])] == [
        ("ease", "linear"),
        ("FailingEstimator", "plugin"),
    ]


def test_candidates_need_only_inputs_that_the_data_has(data: Dataset) -> None:
    everything = list_candidates(data)
    assert len({each.name for each in everything}) == len(everything)
    assert "linear" in {each.family for each in everything}
    bare = dataclasses.replace(data, item_table=None)
    assert "content" not in {each.family for each in list_candidates(bare)}
    unrated = dataclasses.replace(data, events=dataclasses.replace(data.events, rating=None), rating_range=None)
    models = {each.model for each in list_candidates(unrated)}
    assert {"popularity", "ease", "rp3", "cheby_cf"} <= models
    assert not {"bias", "rating_knn", "rating_mf"} & models
    assert {"bias", "rating_knn", "rating_mf"} <= {each.model for each in everything}


def test_similar_models_take_part_only_if_named(data: Dataset) -> None:
    assert not {"gf_cf", "turbo_cf"} & {each.model for each in list_candidates(data)}
    assert [each.model for each in parse_candidates(["gf_cf", "turbo_cf"], variants=True)] == ["gf_cf", "turbo_cf"]


def test_models_that_train_for_minutes_need_deep(data: Dataset) -> None:
    fast, everything = ({each.model for each in list_candidates(data, deep=deep)} for deep in (False, True))
    assert {"sasrec", "xsimgcl"} <= everything - fast
    assert fast <= everything
    assert "lightgcn" in fast
    assert not fast & {name for name, info in list_models().items() if info.extra}


def test_variants_follow_their_model(data: Dataset) -> None:
    with_variants = {each.model for each in list_candidates(data) if each.name != each.model}
    assert with_variants == {info.name for info in list_models().values() if info.cost == "seconds" and info.variants}
