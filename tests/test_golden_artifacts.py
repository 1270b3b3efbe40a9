"""Artifacts of earlier code load with the code of today and give the same scores; migrations, and formats that are refused."""

import dataclasses
import json
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.generate import ARTIFACTS, PIPELINE, RECOMMENDATIONS, SCORES, golden_dataset, recommend_to_users
from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.errors import ArtifactError
from leanrec.models import list_models
from leanrec.pipeline.pipeline import Pipeline

MAX_BYTES = 3_000_000


@pytest.fixture(scope="module")
def data() -> Dataset:
    return golden_dataset()


def type_ids(value: Any) -> Iterator[str]:
    """Every type id in a manifest."""
    if isinstance(value, dict):
        if "$type" in value:
            yield value["$type"]
        for each in value.values():
            yield from type_ids(each)
    elif isinstance(value, list):
        for each in value:
            yield from type_ids(each)


def test_every_model_has_a_golden_artifact() -> None:
    models = {name for name, info in list_models().items() if not info.attribute}
    assert {folder.name for folder in ARTIFACTS.iterdir()} == models, "Run python tests/golden/generate.py MODEL."


def test_golden_artifacts_are_small() -> None:
    assert sum(file.stat().st_size for file in ARTIFACTS.rglob("*") if file.is_file()) < MAX_BYTES


@pytest.mark.parametrize("name", [name for name, info in list_models().items() if not info.attribute])
def test_a_golden_artifact_loads_and_scores_as_it_did(name: str, data: Dataset) -> None:
    model = artifacts.load(ARTIFACTS / name)
    np.testing.assert_allclose(model.score(data.queries()), np.load(ARTIFACTS / name / SCORES), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, info in list_models().items() if not info.attribute])
def test_every_type_id_resolves_to_a_class_of_this_id(name: str) -> None:
    ids = set(type_ids(artifacts.read_manifest(ARTIFACTS / name)["value"]))
    assert ids
    for identifier in ids:
        found, _ = artifacts._migrate(identifier, {})
        assert artifacts.type_id(found) == identifier


def test_the_golden_pipeline_recommends_as_it_did() -> None:
    found = recommend_to_users(Pipeline.load(PIPELINE))
    expected = json.loads((PIPELINE / RECOMMENDATIONS).read_text(encoding="utf-8"))
    assert [(each["id"], each["title"]) for each in found] == [(each["id"], each["title"]) for each in expected]
    assert [each["score"] for each in found] == pytest.approx([each["score"] for each in expected], rel=1e-4)


@dataclasses.dataclass(frozen=True)
class Ridge:
    """A made-up model; its first version called the field ``strength`` and had no ``bias``."""

    ARTIFACT_VERSION = 3

    l2: float
    bias: float


def from_first_version(fields: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    return "ridge.Ridge/2", {"l2": fields["strength"]}


def from_second_version(fields: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    return "ridge.Ridge/3", {**fields, "bias": 0.0}


@pytest.fixture
def ridge_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the class one of a module of leanrec that has moved on by two versions."""
    module = types.ModuleType("leanrec.made_up_ridge")
    vars(module).update(
        Ridge=Ridge, MIGRATIONS={"ridge.Ridge/1": from_first_version, "ridge.Ridge/2": from_second_version}
    )
    monkeypatch.setattr(Ridge, "__module__", module.__name__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(artifacts._HOMES, "ridge", module.__name__)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> Path:
    """A sealed manifest without arrays."""
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": artifacts._manifest_digest(manifest)}))
    return folder


@pytest.mark.parametrize(
    ("identifier", "fields", "expected"),
    [
        ("ridge.Ridge/1", {"strength": 5.0}, Ridge(5.0, 0.0)),
        ("ridge.Ridge/2", {"l2": 6.0}, Ridge(6.0, 0.0)),
        ("ridge.Ridge/3", {"l2": 7.0, "bias": 1.0}, Ridge(7.0, 1.0)),
    ],
)
def test_older_versions_of_a_class_are_migrated_step_by_step(
    ridge_module: None, tmp_path: Path, identifier: str, fields: dict[str, float], expected: Ridge
) -> None:
    value = {"$type": identifier, "fields": fields}
    manifest = {"format": artifacts.FORMAT, "leanrec": "0.1.0", "value": value, "arrays": {}, "provenance": {}}
    assert artifacts.load(write_manifest(tmp_path / "ridge", manifest), Ridge) == expected


def test_a_version_without_a_migration_is_refused(ridge_module: None, tmp_path: Path) -> None:
    value = {"$type": "ridge.Ridge/4", "fields": {"l2": 1.0}}
    manifest = {"format": artifacts.FORMAT, "leanrec": "9.0", "value": value, "arrays": {}, "provenance": {}}
    with pytest.raises(ArtifactError, match="ridge.Ridge/4"):
        artifacts.load(write_manifest(tmp_path / "ridge", manifest))


@pytest.mark.parametrize(
    ("provenance", "command"),
    [
        (
            {"model": "ease", "data": {"source": "films.csv"}},
            "Pipeline.fit(get_model('ease')(), ingest('films.csv')[0]).save",
        ),
        ({"report": {}}, "save(ingest('LOG')[0], "),
        ({}, "Pipeline.fit(get_model('MODEL')(), ingest('LOG')[0]).save"),
    ],
)
def test_format_2_is_refused_with_the_call_that_makes_the_artifact_again(
    tmp_path: Path, provenance: dict[str, Any], command: str
) -> None:
    manifest = {"format": 2, "leanrec": "0.1.0", "value": None, "arrays": {}, "provenance": provenance}
    folder = write_manifest(tmp_path / "old", manifest)
    with pytest.raises(ArtifactError, match="format 3. It has 2") as caught:
        artifacts.load(folder)
    assert command in str(caught.value)
    assert repr(str(folder)) in str(caught.value)
