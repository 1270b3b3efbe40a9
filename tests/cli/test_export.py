"""``leanrec export``: the file with the ids of its items, its report, and refusals."""

import json
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from conftest import make_dataset
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.sequential.gru4rec import GRU4Rec
from leanrec.pipeline.pipeline import Pipeline
from leanrec.run import Run

RUN = Run(seed=1, threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pipeline = Pipeline.fit(GRU4Rec(embedding_dim=8, epochs=1), make_dataset(), RUN)
    return pipeline.save(tmp_path_factory.mktemp("models") / "gru4rec")


def test_lists_of_the_file_are_those_of_the_pipeline(run: Any, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    code, text, note = run("export", folder, "--out", file, "--top-k", 5)
    assert code == 0
    assert "top 5 of 40 items" in text
    assert "no score differs" in note
    pipeline = Pipeline.load(folder)
    session = onnxruntime.InferenceSession(file)
    ids = json.loads(session.get_modelmeta().custom_metadata_map["item_ids"])
    past = [ids[3], ids[7], ids[0]]
    items, _ = session.run(None, {"history": [[3, 7, 0]], "lengths": [3]})
    listed = [each.id for each in pipeline.recommend(history=past, n=5).items]
    assert [ids[row] for row in items[0]] == listed


def test_all_scores_as_json(run: Any, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    code, text, _ = run("export", folder, "--out", file, "--all-scores", "--json")
    assert code == 0
    report = json.loads(text)
    assert report["bytes"] == file.stat().st_size
    assert report["top_k"] is None
    assert report["difference"] < 1e-5
    code, _, err = run("export", folder, "--out", file, "--all-scores", "--top-k", 3)
    assert code == 2
    assert "Leave out --top-k or --all-scores" in err


def test_a_model_without_a_form_in_onnx_is_refused(run: Any, tmp_path: Path) -> None:
    saved = Pipeline.fit(Popularity(), make_dataset(), RUN).save(tmp_path / "popularity")
    code, _, err = run("export", saved, "--out", tmp_path / "model.onnx")
    assert code == 2
    assert "must be one of BERT4Rec" in err
    assert not (tmp_path / "model.onnx").exists()
