"""``leanrec evaluate``: intervals, comparisons, given files."""

import json
from pathlib import Path
from typing import Any

from leanrec.data.datasets.bundled import sample_path


def test_evaluate_compares_models_with_intervals(run: Any, log: Path) -> None:
    folder = sample_path("ml-latest-small")
    words = (
        "evaluate",
        folder / "ratings.parquet",
        "-m",
        "popularity",
        "-m",
        "item_knn,n_neighbors=50",
        "--split",
        "leave-one-out",
        "--json",
    )
    code, out, _ = run(*words)
    report = json.loads(out)
    assert code == 0
    assert set(report["models"]) == {"popularity", "item_knn,n_neighbors=50"}
    interval = report["models"]["item_knn,n_neighbors=50"]["metrics"]["ndcg@10"]
    assert interval["low"] < interval["mean"] < interval["high"]
    assert report["comparison"]["metric"] == "ndcg@10"


def test_held_out_files_are_the_split_given(run: Any, log: Path, tmp_path: Path) -> None:
    header, *rows = log.read_text().splitlines()
    train, valid, test = (tmp_path / f"{name}.csv" for name in ("train", "valid", "test"))
    for file, part in ((train, rows[:5]), (valid, rows[5:6]), (test, rows[6:])):
        file.write_text("\n".join([header, *part]))
    words = ("-m", "popularity", "-m", "item_knn", "--json")
    code, out, _ = run("evaluate", train, "--test", test, *words)
    assert code == 0
    report = json.loads(out)
    assert report["split"] == "given"
    assert report["models"]["popularity"]["n_queries"] == 1
    code, _, error = run("evaluate", train, "--split", "given", *words)
    assert code == 2
    assert "--test FILE" in error
    code, _, error = run("evaluate", train, "--split", "time", "--test", test, *words)
    assert code == 2
    assert "--split given" in error
    code, out, _ = run("frontier", train, "--valid", valid, "--test", test, "--out", tmp_path / "f", *words)
    assert code == 0
    assert "split given" in json.loads(out)["description"]


def test_validation_part_can_be_evaluated(run: Any, log: Path) -> None:
    words = ("evaluate", log, "--split", "random", "-m", "popularity", "-m", "hybrid,parts=[popularity,content]")
    code, out, _ = run(*words, "--part", "valid", "--metric", "recall@10", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["part"] == "valid"
    assert report["comparison"]["metric"] == "recall@10"
    code, out, err = run(*words)
    assert code == 0
    assert "are not reliable" in err
    assert "The test part" in out
    code, _, err = run(*words, "--part", "train")
    assert code == 2
    assert "valid" in err
