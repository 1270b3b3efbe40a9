"""Export to ONNX: ONNX Runtime gives the scores and lists of each model, for histories of every kind."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import scipy.sparse as sp
from onnx import numpy_helper
from onnxruntime.quantization import quantize_dynamic

import leanrec
from golden.generate import ARTIFACTS
from leanrec import artifacts
from leanrec.errors import ArtifactError, MissingExtraError, SettingError
from leanrec.integrations.onnx import export
from leanrec.models.sequential.bert4rec import BERT4Rec
from leanrec.models.sequential.caser import Caser
from leanrec.models.sequential.core.models import SequentialModel
from leanrec.models.sequential.gru4rec import GRU4Rec
from leanrec.models.sequential.hstu import HSTU
from leanrec.models.sequential.lrurec import LRURec
from leanrec.models.sequential.sasrec import SASRec
from leanrec.types import Queries

N_ITEMS = 60
# Those of the golden artifacts have one head, and two layers where there are some.
SETTINGS = {
    "sasrec": SASRec(embedding_dim=8, max_length=9, n_layers=3, n_heads=2),
    "sasrec of one layer": SASRec(embedding_dim=8, max_length=9, n_layers=1, n_heads=4),
    "bert4rec": BERT4Rec(embedding_dim=8, max_length=9, n_layers=3, n_heads=2),
    "gru4rec": GRU4Rec(embedding_dim=8, max_length=9, n_layers=2),
    "caser": Caser(embedding_dim=8, max_length=9, window=4),
    "caser of a long window": Caser(embedding_dim=8, max_length=3, window=6),
    "hstu": HSTU(embedding_dim=8, max_length=9, n_layers=3, n_heads=2),
    "lrurec": LRURec(embedding_dim=8, max_length=9, n_layers=3),
    "lrurec of one item": LRURec(embedding_dim=8, max_length=1, n_layers=1),
}
GOLDEN = ("sasrec", "bert4rec", "gru4rec", "caser", "hstu", "lrurec", "mult_vae", "two_tower")


def perturb(weights: dict[str, Any]) -> dict[str, Any]:
    """The weights with noise, so that no bias is 0 and no scale is 1."""
    rng = np.random.default_rng(3)
    return {name: each + 0.3 * rng.standard_normal(each.shape, np.float32) for name, each in weights.items()}


def make_model(name: str) -> Any:
    if name.startswith("golden "):
        model: Any = artifacts.load(ARTIFACTS / name.removeprefix("golden "))
        return dataclasses.replace(model, weights=perturb(dict(model.weights)))
    if name.startswith("mult_vae"):
        model = artifacts.load(ARTIFACTS / "mult_vae")
        settings = dataclasses.replace(model.settings, n_layers=2, decoder_dim=3)
        D, hidden = settings.embedding_dim, settings.hidden_dim
        shapes = {"norms.1.weight": hidden, "norms.1.bias": hidden, "upper.0.bias": hidden, "decoder_hidden.bias": 3}
        more = {key: np.ones(size, np.float32) for key, size in shapes.items()}
        more |= {
            "upper.0.weight": np.eye(hidden, dtype=np.float32),
            "decoder_hidden.weight": np.ones((3, D), np.float32),
        }
        return dataclasses.replace(
            model, settings=settings, items=model.items[:, :4].copy(), weights=perturb({**model.weights, **more})
        )
    settings = SETTINGS[name]
    zeros = {key: np.zeros(shape, np.float32) for key, shape in settings.weight_shapes(N_ITEMS).items()}
    return SequentialModel(settings, perturb(zeros))


EVERY = (*SETTINGS, "mult_vae of two layers", *(f"golden {name}" for name in GOLDEN))


def make_rows(model: Any) -> list[np.ndarray]:
    """Empty, short, full and longer histories, with items that repeat."""
    rng = np.random.default_rng(5)
    longest = getattr(model.settings, "max_length", 12)
    lengths = (0, 1, 2, longest, 0, max(1, longest - 1), 3 * longest)
    return [rng.integers(0, model.n_items, length).astype(np.int32) for length in lengths]


def make_queries(rows: list[np.ndarray], n_items: int) -> Queries:
    counts = [np.bincount(row, minlength=n_items) for row in rows]
    history = sp.csr_array(np.stack(counts).astype(np.float32))
    return Queries(users=np.full(len(rows), -1, np.int32), history=history, sequences=tuple(rows))


def pad(rows: list[np.ndarray], filler: int = -1) -> dict[str, np.ndarray]:
    history = np.full((len(rows), max(map(len, rows))), filler, np.int64)
    for b, row in enumerate(rows):
        history[b, : len(row)] = row
    return {"history": history, "lengths": np.array([len(row) for row in rows])}


def run(file: Path, feeds: dict[str, np.ndarray]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return list(onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]).run(None, feeds))


@pytest.mark.parametrize("name", EVERY)
def test_scores_are_those_of_the_model_in_a_batch_and_alone(name: str, tmp_path: Path) -> None:
    model = make_model(name)
    file = leanrec.export_onnx(model, tmp_path / "model.onnx", top_k=None).path
    rows = make_rows(model)
    expected = model.score(make_queries(rows, model.n_items))
    close = {"rtol": 1e-4, "atol": 1e-5 * np.abs(expected).max()}
    # What lies past the end of a history has no effect, an item that exists included.
    for filler in (-1, 0, 10**12):
        np.testing.assert_allclose(run(file, pad(rows, filler))[0], expected, **close)
    alone = np.concatenate([run(file, pad([row]))[0] for row in rows])
    np.testing.assert_allclose(alone, expected, **close)
    assert not expected[0].any()
    assert np.ptp(expected[1]) > 0


@pytest.mark.parametrize("name", ["gru4rec", "sasrec", "golden mult_vae"])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_lists_are_the_best_items_of_the_model(name: str, exclude_seen: bool, tmp_path: Path) -> None:
    model = make_model(name)
    file = leanrec.export_onnx(model, tmp_path / "model.onnx", top_k=10, exclude_seen=exclude_seen).path
    rows = make_rows(model)
    items, scores = run(file, pad(rows))
    expected = model.score(make_queries(rows, model.n_items))
    for b, row in enumerate(rows):
        if exclude_seen:
            expected[b, row] = -np.inf
        best = np.argsort(-expected[b], kind="stable")[:10]
        best = best[np.isfinite(expected[b, best])] if len(row) else best[:0]
        np.testing.assert_array_equal(items[b], np.pad(best, (0, 10 - len(best)), constant_values=-1))
        np.testing.assert_allclose(scores[b, : len(best)], expected[b, best], rtol=1e-4, atol=1e-6)
        assert np.isneginf(scores[b, len(best) :]).all()


@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "golden mult_vae"])
def test_numbers_that_are_no_items_are_left_out(name: str, tmp_path: Path) -> None:
    model = make_model(name)
    file = leanrec.export_onnx(model, tmp_path / "model.onnx").path
    rows = [np.array([3, 7, 5, 9]), np.array([2])]
    odd = [np.array([-1, 3, model.n_items, 7, 5, -(2**40), 9, 2**40]), np.array([-7, 2])]
    for plain, cleaned in zip(run(file, pad(rows)), run(file, pad(odd)), strict=True):
        np.testing.assert_allclose(plain, cleaned, rtol=1e-5, atol=1e-6)


def test_a_history_of_no_columns_is_empty(tmp_path: Path) -> None:
    file = leanrec.export_onnx(make_model("sasrec"), tmp_path / "model.onnx", top_k=3).path
    items, scores = run(file, {"history": np.zeros((2, 0), np.int64), "lengths": np.zeros(2, np.int64)})
    assert (items == -1).all()
    assert np.isneginf(scores).all()


def test_a_two_tower_reads_the_features_of_users(tmp_path: Path) -> None:
    model = make_model("golden two_tower")
    vectors = np.random.default_rng(2).standard_normal((4, model.items.shape[1]), np.float32)
    model = dataclasses.replace(model, users=vectors)
    file = leanrec.export_onnx(model, tmp_path / "model.onnx", top_k=None).path
    rows = [np.array([1, 2], np.int32), np.zeros(0, np.int32), np.zeros(0, np.int32), np.array([4], np.int32)]
    users = np.array([3, 0, -1, 99])
    queries = make_queries(rows, model.n_items)
    queries = dataclasses.replace(queries, users=np.where(users < 4, users, -1).astype(np.int32))
    expected = model.score(queries)
    np.testing.assert_allclose(run(file, pad(rows) | {"users": users})[0], expected, rtol=1e-4, atol=1e-4)
    assert expected[1].any()
    assert not expected[2].any()


@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "golden mult_vae"])
def test_every_weight_is_in_the_file_once_and_no_mask_is_a_large_number(name: str, tmp_path: Path) -> None:
    model = make_model(name)
    if name == "sasrec":
        wide = np.random.default_rng(1).standard_normal((5_000, 8), np.float32)
        model = dataclasses.replace(model, weights={**model.weights, "items.weight": wide})
    done = leanrec.export_onnx(model, tmp_path / "model.onnx")
    stored = [numpy_helper.to_array(each) for each in onnx.load(done.path).graph.initializer]
    arrays = [*model.weights.values(), *(getattr(model, each) for each in ("first", "items") if hasattr(model, each))]
    numbers = sum(each.size for each in stored if each.dtype == np.float32)
    assert numbers <= sum(each.size for each in arrays) + 20  # a few constants
    assert done.n_bytes == done.path.stat().st_size
    n_ids = len(json.dumps(list(range(model.n_items))))
    assert done.n_bytes <= sum(each.nbytes for each in arrays) + n_ids + 40_000
    finite = [each[np.isfinite(each)] for each in stored if each.dtype == np.float32]
    assert max(np.abs(each).max(initial=0) for each in finite) < 100


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_quantized_file_is_smaller_and_keeps_lists(per_channel: bool, tmp_path: Path) -> None:
    wide = np.random.default_rng(1).standard_normal((2_000, 32), np.float32)
    settings = SASRec(embedding_dim=32, max_length=9, n_heads=2)
    zeros = {key: np.zeros(shape, np.float32) for key, shape in settings.weight_shapes(2_000).items()}
    model = SequentialModel(settings, {**perturb(zeros), "items.weight": wide})
    done, small = leanrec.export_onnx(model, tmp_path / "model.onnx"), tmp_path / "small.onnx"
    quantize_dynamic(done.path, small, per_channel=per_channel)
    assert small.stat().st_size < 0.4 * done.n_bytes
    rows = make_rows(model)
    items, fewer = run(done.path, pad(rows))[0], run(small, pad(rows))[0]
    kept = [len(set(one) & set(other)) / 20 for one, other in zip(items, fewer, strict=True) if one[0] >= 0]
    assert np.mean(kept) > 0.8


def test_the_file_names_its_items_and_its_model(tmp_path: Path) -> None:
    ids = [f"film-é-{i}" for i in range(N_ITEMS)]
    done = leanrec.export_onnx(make_model("caser"), tmp_path / "model.onnx", item_ids=ids)
    about = onnxruntime.InferenceSession(done.path).get_modelmeta()
    assert json.loads(about.custom_metadata_map["item_ids"]) == ids
    assert about.custom_metadata_map["model"] == "Caser"
    assert "window=4" in about.custom_metadata_map["settings"]
    assert done.difference < 1e-5


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    model, file = make_model("gru4rec"), tmp_path / "model.onnx"
    with pytest.raises(SettingError, match="must be one of BERT4Rec, Caser, .* MultVAE and TwoTower.*Got EASEModel"):
        leanrec.export_onnx(artifacts.load(ARTIFACTS / "ease"), file)
    for wrong in (0, -3, 2.5, True):
        with pytest.raises(SettingError, match="top_k must be a whole number of at least 1"):
            leanrec.export_onnx(model, file, top_k=wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=f"one id for each of the {N_ITEMS} items. Got 2"):
        leanrec.export_onnx(model, file, item_ids=["a", "b"])
    for place in (tmp_path, tmp_path / "none" / "model.onnx"):
        with pytest.raises(ArtifactError, match="a file in a folder that exists"):
            leanrec.export_onnx(model, place)
    assert not list(tmp_path.iterdir())


def test_a_file_with_other_results_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"the older one")
    monkeypatch.setattr(export, "_TOLERANCE", 1e-12)
    with pytest.raises(ArtifactError, match="must give the scores of the model"):
        leanrec.export_onnx(make_model("gru4rec"), file)
    assert file.read_bytes() == b"the older one"
    assert list(tmp_path.iterdir()) == [file]


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name for name in sys.modules if name.startswith("leanrec.integrations.onnx.") and name != export.__name__
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"The export to ONNX needs .*leanrec\[onnx\]"):
        leanrec.export_onnx(make_model("gru4rec"), tmp_path / "model.onnx")
