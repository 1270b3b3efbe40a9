"""``leanrec compress``: refusals before the work, the report, and the smaller model."""

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import make_dataset
from leanrec import artifacts
from leanrec.data.dataset import Dataset
from leanrec.models.baselines.popularity import Popularity
from leanrec.models.factorization.ials import IALS
from leanrec.pipeline.pipeline import Pipeline
from leanrec.run import Run

RUN = Run(seed=1, threads=1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(n_users=120)


@pytest.fixture(scope="module")
def folder(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pipeline = Pipeline.fit(IALS(embedding_dim=16, epochs=2), data, RUN)
    return pipeline.save(tmp_path_factory.mktemp("models") / "ials")


def test_a_smaller_model_is_reported_and_saved(run: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    code, text, _ = run("compress", folder, "--to", "20B/item", "--threads", 1, "--json", "--out", out)
    assert code == 0
    report = json.loads(text)
    assert report["chosen"]["bytes_per_item"] <= 20 < report["base"]["bytes_per_item"]
    assert report["resident"].keys() == report["artifact"].keys() == {"base", "chosen"}
    smaller = Pipeline.load(out)
    assert len(smaller.recommend("user-1", n=3).items) == 3
    code, _, err = run("compress", out, "--to", "5B/item", "--out", tmp_path / "smaller")
    assert code == 2
    assert "must not be compressed already" in err


def test_exact_lists_of_a_saved_model(run: Any, folder: Path, data: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "exact"
    code, text, _ = run("compress", folder, "--exact", "--threads", 1, "--out", out)
    assert code == 0
    assert "exact, 4 bits in memory" in text
    assert "lists proved the same" in text
    plain, exact = Pipeline.load(folder), Pipeline.load(out)
    for user in data.users.ids[:20]:
        wanted = [each.id for each in plain.recommend(user, n=5).items]
        assert [each.id for each in exact.recommend(user, n=5).items] == wanted


def test_refusals_come_before_the_work(run: Any, folder: Path, data: Dataset, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    code, _, err = run("compress", folder, "--to", "20B/item", "--out", other)
    assert code == 2
    assert "not a leanrec artifact, so it is left alone" in err
    assert "Fitting" not in err
    code, _, err = run("compress", folder, "--to", "20B/item", "--out", other / "notes.txt" / "small")
    assert "not a folder that may be written to" in err
    assert "Fitting" not in err
    code, _, err = run("compress", folder, "--to", "20B/item", "--out", folder)
    assert "--out must be another folder" in err
    popular = Pipeline.fit(Popularity(), data, RUN).save(tmp_path / "popular")
    code, _, err = run("compress", popular, "--to", "20B/item")
    assert code == 2
    assert "no method of compression is known" in err
    assert "Fitting" not in err


def test_hidden_items_and_forgotten_users_stay_so(folder: Path, data: Dataset, tmp_path: Path) -> None:
    from leanrec.compression.factor_compression import FactorCompression
    from leanrec.compression.vectors.scalar import ScalarCodec

    pipeline = Pipeline.load(folder)
    first = pipeline.recommend("user-1", n=1).items[0].id
    pipeline.hide_items([first])
    pipeline.forget_user("user-2")
    pipeline.record_event("late", first)
    saved = pipeline.compress(FactorCompression(ScalarCodec(8)), RUN).save(tmp_path / "small")
    smaller = Pipeline.load(saved)
    assert smaller.is_hidden(first)
    assert first not in {each.id for each in smaller.recommend("user-1", n=len(data.items)).items}
    assert "user-2" not in set(map(str, smaller.fitted_user_ids))
    assert [each.id for each in smaller.history("late")] == [first]
    assert artifacts.size_of(saved) > 0
