"""``leanrec distill``: the report, the saved student, and refusals before the work."""

import json
from pathlib import Path
from typing import Any

from conftest import make_dataset
from leanrec.models.factorization.ials import IALS
from leanrec.pipeline.pipeline import Pipeline
from leanrec.run import Run


def test_a_student_is_reported_and_saved(run: Any, tmp_path: Path) -> None:
    pipeline = Pipeline.fit(IALS(embedding_dim=16, epochs=2), make_dataset(n_users=120), Run(seed=1, threads=1))
    folder, out = pipeline.save(tmp_path / "ials"), tmp_path / "student"
    words = ("distill", folder, "--student", "next_item_regression,top_k=10", "--n-queries", 200, "--threads", 1)
    code, text, _ = run(*words, "--json", "--out", out)
    assert code == 0
    report = json.loads(text)
    assert report["n_lists"] == 200
    assert report["artifact"].keys() == {"teacher", "student"}
    student = Pipeline.load(out)
    assert len(student.recommend("user-1", n=3).items) == 3
    code, text, _ = run(*words)
    assert code == 0
    assert "without a teacher" in text
    code, _, err = run("distill", folder, "--student", "popularity", "--out", tmp_path / "other")
    assert code == 2
    assert "must be able to learn from lists" in err
    assert "Fitting" not in err
    code, _, err = run("distill", folder, "--out", folder)
    assert "--out must be another folder" in err
