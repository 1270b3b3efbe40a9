"""Provenance of a fit."""

import dataclasses
from typing import Any

import pytest

from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.provenance import build_provenance, check_estimator, get_data_origin, get_model_name
from leanrec.run import Run


@pytest.mark.parametrize(
    ("value", "advice"),
    [("ease", r"leanrec.models.get_model\('ease'\)\(\)"), (EASE, r"EASE\(\)"), (3, "such as leanrec.models.get_model")],
)
def test_other_values_than_estimators_raise(value: Any, advice: str) -> None:
    with pytest.raises(SettingError, match=f"estimator must be the settings of a model. Got .*; write {advice}"):
        check_estimator(value)


def test_an_estimator_is_accepted_and_named_by_its_module() -> None:
    check_estimator(EASE())
    assert get_model_name(EASE()) == "ease"


def test_provenance_names_settings_data_seed_and_cost(dataset: Dataset) -> None:
    provenance = build_provenance(EASE(l2=5.0), dataset, Run(seed=9), {"wall": 1.5}, None)
    assert provenance["settings"].startswith("EASE(l2=5.0")
    assert provenance["data"]["fingerprint"] == dataset.fingerprint
    assert (provenance["seed"], provenance["fit"]) == (9, {"wall": 1.5})
    assert "log" not in provenance


def test_the_origin_is_that_of_the_fit_or_else_of_the_data(dataset: Dataset) -> None:
    data = dataclasses.replace(dataset, source="shop.csv")
    provenance = build_provenance(EASE(), data, Run(), {}, None) | {"log": "id"}
    origin = get_data_origin(provenance, dataset)
    assert origin.description == "shop.csv: 720 events of 60 users and 40 items"
    assert (origin.fingerprint, origin.log_id) == (dataset.fingerprint, "id")
    assert get_data_origin({}, data) == dataclasses.replace(origin, log_id=None)
