"""Resealed artifacts: content that its checksums vouch for and no fit wrote is refused, or scores; the process lives."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from golden.generate import ARTIFACTS, PIPELINE
from leanrec import artifacts
from leanrec.errors import ArtifactError
from leanrec.types import Queries


def reseal(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with the checksum of what it says."""
    manifest.pop("sha256", None)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": artifacts._manifest_digest(manifest)}))


def replace_array(folder: Path, name: str, array: np.ndarray) -> None:
    """Put another array in the place of one, with its checksum."""
    manifest = json.loads((folder / "manifest.json").read_text())
    np.save(folder / f"{name}.npy", array)
    digest = artifacts._digest(folder / f"{name}.npy")
    manifest["arrays"][name] = {"sha256": digest, "shape": list(array.shape), "dtype": array.dtype.str}
    reseal(folder, manifest)


def mutate(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Other arrays in the place of one."""
    if array.dtype.kind == "f" and array.size:
        for wrong in (np.nan, np.inf):
            changed = array.copy()
            changed.flat[-1] = wrong
            yield f"{wrong}", changed
    if array.dtype.kind in "iu" and array.size:
        for wrong in (-5, np.iinfo(array.dtype).max, 10_000):
            changed = array.copy()
            changed.flat[-1] = np.array(wrong).astype(array.dtype)
            yield f"last is {wrong}", changed
    if array.ndim:
        yield "shorter", array[:-1]
        yield (
            "longer",
            np.concatenate([array, array[:1]]) if len(array) else np.zeros((3, *array.shape[1:]), array.dtype),
        )
        yield "empty", array[:0]
        yield "another dimension", array[..., None]
    if array.ndim == 2:
        yield "narrower", array[:, :-1]
    yield "text", np.array(["x"])
    yield "complex", array.astype(np.complex64)
    yield (
        "fractions" if array.dtype.kind in "iub" else "integers",
        array.astype("i8" if array.dtype.kind == "f" else "f8"),
    )


def make_queries(n_items: int) -> Queries:
    """A known and an unknown user, with and without a history."""
    history = np.zeros((2, n_items), np.float32)
    history[1, :3] = 1
    items = np.arange(min(3, n_items), dtype=np.int32)
    matrix = sp.csr_array(history)
    return Queries(np.array([-1, -1], np.int32), matrix, ratings=matrix, sequences=(items[:0], items))


def damage_arrays(source: Path, folder: Path, stride: int) -> None:
    """Load each ``stride``-th mutation of the arrays of an artifact; what loads must score."""
    names = sorted(json.loads((source / "manifest.json").read_text())["arrays"])
    mutations = [(name, *each) for name in names for each in mutate(np.load(source / f"{name}.npy"))]
    for name, what, changed in mutations[::stride]:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        replace_array(folder, name, changed)
        print(source.name, name, what, flush=True)  # the last line names what ended the process
        try:
            model = artifacts.load(folder)
        except ArtifactError:
            continue
        scores = model.score(make_queries(model.n_items))
        assert scores.shape == (2, model.n_items)
        assert np.isfinite(scores).all()


def test_no_mutation_of_an_array_ends_the_process(tmp_path: Path) -> None:
    command = [
        sys.executable,
        __file__,
        str(tmp_path),
        "11",
        "ease",
        "user_knn",
        "item_knn",
        "rating_knn",
        "kgin",
        "bpr",
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr[-2000:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PIPELINE, tmp_path / "pipeline"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("value.data.events.user", lambda a: a + 19),
        ("value.data.events.user", lambda a: a[::-1]),
        ("value.data.events.item", lambda a: a - 1),
        ("value.data.events.event_type", lambda a: a + 3),
        ("value.data.events.weight", lambda a: a * np.nan),
        ("value.data.events.time", lambda a: -a),
        ("value.stale", lambda a: np.array([77], a.dtype)),
        ("value.model.weights", lambda a: a * np.nan),
        ("value.model.weights", lambda a: a[:, :-1]),
        ("value.fallback.counts", lambda a: np.append(a, a)),
        ("value.data.users.ids.lengths", lambda a: -a),
        ("value.data.users.ids.lengths", lambda a: a + 1),
    ],
)
def test_what_no_fit_writes_is_refused(folder: Path, name: str, change: Callable[[Any], Any]) -> None:
    replace_array(folder, name, change(np.load(folder / f"{name}.npy")))
    with pytest.raises(ArtifactError, match="does not verify"):
        artifacts.load(folder)


def test_a_header_is_compared_with_the_file_before_memory_is_taken(folder: Path) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
    with (folder / "value.model.weights.npy").open("wb") as handle:
        np.lib.format.write_array_header_1_0(handle, header)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["arrays"]["value.model.weights"] |= {
        "sha256": artifacts._digest(folder / "value.model.weights.npy"),
        "shape": [10**6, 10**6],
    }
    reseal(folder, manifest)
    with pytest.raises(ArtifactError, match="do not fit its 0 bytes"):
        artifacts.load(folder)


def test_an_array_is_used_once(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    column = manifest["value"]["fields"]["model"]["fields"]["weights"]
    manifest["value"]["fields"]["source"] = {"$tuple": [column] * 200}
    reseal(folder, manifest)
    with pytest.raises(ArtifactError, match="or uses it twice"):
        artifacts.load(folder)


def test_a_long_manifest_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "_MAX_MANIFEST", 1000)
    with pytest.raises(ArtifactError, match="must have at most 1000 bytes"):
        artifacts.load(folder)


if __name__ == "__main__":
    target, step, *models = sys.argv[1:]
    for each in models:
        damage_arrays(ARTIFACTS / each, Path(target) / "model", int(step))
