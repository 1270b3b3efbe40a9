"""Every settings text of the benchmark scripts builds an estimator."""

import argparse
import dataclasses
import functools

import distributed
import frappe
import gowalla
import ials
import knowledge
import large
import lightgcn
import multitask
import ncf
import new_items
import pytest
import sasrec
import scaling
import sequences

from leanrec.models import get_model, list_models, parse_model
from leanrec.protocols import Estimator
from leanrec.settings import parse_settings

TEXTS = {
    "frappe": list(frappe.TUNED.values()),
    "gowalla": [*gowalla.TUNED.values(), *sorted(gowalla.EXCLUDED - {"hybrid"}), *sorted(gowalla.TRAINED)],
    "knowledge": [text for models in knowledge.MODELS.values() for text in models.values()],
    "large": [
        large.settings_text(name, size) for sizes in large.SIZES.values() for size in sizes for name in large.MODELS
    ],
    "lightgcn": [lightgcn.OURS, *lightgcn.OTHERS.values()],
    "multitask": [text for text, _ in multitask.MODELS.values()],
    "ncf": [ncf.TUNED.get(name, name) for name in ncf.MODELS],
    "new_items": list(new_items.MODELS),
    "sasrec": [f"sasrec,{sasrec.PATIENCE}", sasrec.WARM_UP],
    "sequences": [*sequences.TUNED.values(), *(name for name in sequences.MODELS if name != "blend")],
}


@pytest.mark.parametrize(("script", "text"), [(script, text) for script, texts in TEXTS.items() for text in texts])
def test_the_text_builds_an_estimator(script: str, text: str) -> None:
    estimator = parse_model(text)
    assert isinstance(estimator, Estimator)
    assert dataclasses.is_dataclass(estimator)


def test_names_of_scripts_are_names_of_models() -> None:
    names = set(list_models())
    assert names >= gowalla.EXCLUDED | gowalla.TRAINED
    assert gowalla.RANDOM - {"blend", "graph_blend"} <= names
    assert names >= knowledge.RANDOM | ncf.RANDOM | new_items.RANDOM
    assert sequences.FIT_ONCE - {"blend"} | set(sequences.LATENCY_GOAL) <= names


@pytest.mark.parametrize("name", scaling.MODELS)
def test_models_of_the_scaling_curves_are_built(name: str) -> None:
    assert isinstance(parse_settings(get_model(name), scaling.MODELS[name]), Estimator)


@pytest.mark.parametrize("quick", [False, True])
def test_jobs_of_the_workers_are_built(quick: bool) -> None:
    claim = distributed.make_claim(argparse.Namespace(quick=quick, workers=2, items=1000))
    works = [contestant.work for contestant in claim.contestants.values()]
    assert len(works) == 4
    for work in works:
        assert isinstance(work, functools.partial)
        assert isinstance(distributed.make_estimator(work.keywords["job"]), Estimator)


def test_ials_of_the_peers_is_built() -> None:
    assert ials.make_settings(64).epochs == ials.PEER_PASSES


def test_the_validation_that_is_not_timed_is_where_sasrec_finds_it() -> None:
    from leanrec.models.sequential.core import training

    assert callable(getattr(training, sasrec.VALIDATE))
