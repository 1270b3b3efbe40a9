"""What is saved loads as it was, or not at all."""

import dataclasses
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import make_dataset
from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.data.table import Table
from leanrec.errors import ArtifactError, DataError


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return artifacts.save(make_dataset(), tmp_path / "data", provenance={"from": "a test"})


def _edit(folder: Path, change: Any, *, seal: bool) -> None:
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    if seal:
        manifest.pop("sha256")
        manifest["sha256"] = artifacts._manifest_digest(manifest)
    file.write_text(json.dumps(manifest))


def test_a_round_trip_keeps_the_fingerprint(saved: Path) -> None:
    assert artifacts.load(saved, Dataset).fingerprint == make_dataset().fingerprint
    assert artifacts.read_manifest(saved)["provenance"] == {"from": "a test"}


def _swap_columns(manifest: dict[str, Any]) -> None:
    fields = manifest["value"]["fields"]["events"]["fields"]
    fields["user"], fields["item"] = fields["item"], fields["user"]


@pytest.mark.parametrize(
    "change",
    [
        _swap_columns,
        lambda manifest: manifest["provenance"].update({"from": "elsewhere"}),
        lambda manifest: manifest.pop("arrays"),
        lambda manifest: manifest.update({"note": "one more line"}),
    ],
)
def test_an_edited_manifest_does_not_load(saved: Path, change: Any) -> None:
    _edit(saved, change, seal=False)
    with pytest.raises(ArtifactError, match="damaged or was edited"):
        artifacts.load(saved)


def _nest(manifest: dict[str, Any]) -> None:
    value: Any = 1
    for _ in range(300):
        value = {"$tuple": [value]}
    manifest["value"]["fields"]["rating_range"] = value


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("arrays"),
        lambda manifest: manifest["value"]["fields"].pop("events"),
        lambda manifest: manifest["value"]["fields"].update({"more": 1}),
        lambda manifest: manifest["value"]["fields"].update({"events": {"$array": "../secret"}}),
        lambda manifest: manifest.update({"value": {"$type": "types.Nothing/1", "fields": {}}}),
        lambda manifest: manifest.update({"value": {"$type": 5, "fields": {}}}),
        _nest,
    ],
)
def test_a_forged_manifest_fails_with_one_kind_of_error(saved: Path, change: Any) -> None:
    _edit(saved, change, seal=True)
    try:
        artifacts.load(saved, Dataset)
    except ArtifactError:
        return
    # Deep but lawful nesting may load; nothing else may escape.
    assert change is _nest


def test_an_endless_manifest_is_damaged(saved: Path) -> None:
    (saved / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(ArtifactError, match="damaged"):
        artifacts.load(saved)


def test_the_fingerprint_is_of_all_that_trains() -> None:
    data = make_dataset()
    genre = np.array([f"g{row % 3}" for row in range(len(data.items))], dtype=np.dtypes.StringDType())
    with_table = dataclasses.replace(data, item_table=Table({"genre": genre}))
    retold = dataclasses.replace(data, item_table=Table({"genre": genre[::-1].copy()}))
    ranged = dataclasses.replace(data, rating_range=(1.0, 9.0))
    assert len({each.fingerprint for each in (data, with_table, retold, ranged)}) == 4


def test_text_in_a_column_of_numbers_names_the_row() -> None:
    years = Table({"year": np.array([1990.0, 1991.0])})
    new = Table({"year": np.array(["1992", "unknown"], dtype=np.dtypes.StringDType())})
    with pytest.raises(DataError, match=r"'year' must hold numbers. Got 'unknown' in row 1"):
        years.concat(new)


def test_the_error_describes_a_path_that_is_no_artifact(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("user,item\n")
    with pytest.raises(ArtifactError, match="nowhere does not exist, so it is not a leanrec artifact. Check the path"):
        artifacts.load(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="it is a folder without manifest.json"):
        artifacts.load(tmp_path)
    with pytest.raises(
        ArtifactError, match=r"it is a file\. If it is a log, fit a model on it: Pipeline\.fit\(get_model"
    ):
        artifacts.load(file)


def test_an_artifact_of_another_version_names_both(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = json.loads((saved / "manifest.json").read_text())
    manifest["leanrec"] = "9.8.7"
    manifest["value"]["fields"]["new_setting"] = 3
    del manifest["sha256"]
    manifest["sha256"] = artifacts._manifest_digest(manifest)
    (saved / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(artifacts, "__version__", "1.2.3")
    expected = (
        r"new_setting.* written by leanrec 9\.8\.7, and this is leanrec 1\.2\.3\. .* pip install leanrec==9\.8\.7\."
    )
    with pytest.raises(ArtifactError, match=expected):
        artifacts.load(saved)


def test_a_copy_is_a_folder_of_its_own(saved: Path, tmp_path: Path) -> None:
    copied = artifacts.copy(saved, tmp_path / "a" / "copy")
    artifacts.save(make_dataset(seed=1), saved)
    assert artifacts.load(copied, Dataset).fingerprint == make_dataset().fingerprint
    assert artifacts.read_digest(copied) != artifacts.read_digest(saved)
    with pytest.raises(ArtifactError, match="must be a new folder"):
        artifacts.copy(saved, copied)
    (next(copied.glob("*.npy"))).unlink()
    with pytest.raises(ArtifactError, match="missing or damaged"):
        artifacts.copy(copied, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("moment", ["_digest", "_check_header"])  # before and after the bytes of an array are verified
def test_an_artifact_that_is_replaced_while_it_is_read_is_one_of_the_two(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    other, n_calls = make_dataset(seed=1), 0
    before = getattr(artifacts, moment)

    def replace(*arguments: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 3:
            artifacts.save(other, saved)
        return before(*arguments)

    monkeypatch.setattr(artifacts, moment, replace)
    assert artifacts.load(saved, Dataset).fingerprint == other.fingerprint
    assert n_calls > 3
    if moment == "_digest":
        n_calls = 0
        other = make_dataset()
        with pytest.raises(ArtifactError, match="copy it again"):
            artifacts.copy(saved, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()
        with pytest.raises(ArtifactError, match="copy it again"):
            artifacts.copy(saved, tmp_path / "copy", digest="of another one")
        assert artifacts.load(artifacts.copy(saved, tmp_path / "copy"), Dataset).fingerprint == other.fingerprint


def test_an_artifact_whose_replacement_was_cut_off_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = artifacts.save(make_dataset(), tmp_path / "a [1] model")
    rename, n_calls = Path.rename, 0

    def end(file: Path, target: Path) -> Path:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 2:
            raise KeyboardInterrupt  # in place of a kill: what was there has been moved away, and nothing is there yet
        return rename(file, target)

    monkeypatch.setattr(Path, "rename", end)
    with pytest.raises(KeyboardInterrupt):
        artifacts.save(make_dataset(seed=1), saved)
    with pytest.raises(ArtifactError, match=r"was cut off\. Move back what was there: mv ") as caught:
        artifacts.load(saved)
    subprocess.run(str(caught.value).partition("there: ")[2], shell=True, check=True)
    assert artifacts.load(saved, Dataset).fingerprint == make_dataset().fingerprint


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    file = tmp_path / "pointer.json"
    for content in (b"old", b"new"):
        artifacts.replace_file(file, content)
        assert (file.read_bytes(), [each.name for each in tmp_path.iterdir()]) == (content, [file.name])


def test_digests_are_those_of_whole_files_read_with_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[None] = []
    monkeypatch.setattr(artifacts, "pause", lambda: pauses.append(None))
    file = tmp_path / "array.npy"
    for n_bytes, n_pauses in ((0, 0), (1, 1), (2**20, 1), (3 * 2**20 + 5, 4)):
        pauses.clear()
        file.write_bytes(bytes(range(256)) * (n_bytes // 256) + b"x" * (n_bytes % 256))
        assert artifacts._digest(file) == hashlib.sha256(file.read_bytes()).hexdigest()
        assert len(pauses) == n_pauses
