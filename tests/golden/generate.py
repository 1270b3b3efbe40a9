"""Write the golden artifacts: a small model of every kind with its scores, and a pipeline with its recommendations.

    python tests/golden/generate.py [MODEL …]

``tests/test_golden_artifacts.py`` loads them with the code of today and compares the scores. Class and field names are
part of an artifact. When one of them changes, a migration keeps the artifacts of users readable, and the golden artifacts
stay as they are, to prove it. They are made again only for a change of the format or of the numbers that is meant.
"""

import dataclasses
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
ARTIFACTS = Path(__file__).parent / "artifacts"
SCORES = "scores.npy"
PIPELINE = Path(__file__).parent / "pipeline"
RECOMMENDATIONS = "recommendations.json"
# Small sizes for the settings of these names that a model has.
SMALL: dict[str, Any] = {
    "embedding_dim": 4,
    "hidden_dim": 4,
    "hidden_sizes": (4,),
    "bottom_sizes": (4,),
    "decoder_dim": 4,
    "tower_size": 4,
    "content_dim": 4,
    "structure_dim": 4,
    "n_components": 4,
    "n_experts": 2,
    "n_horizontal": 2,
    "n_vertical": 2,
    "n_heads": 1,
    "n_negatives": 4,
    "n_neighbors": 5,
    "n_candidates": 10,
    "n_steps": 5,
    "max_length": 8,
    "batch_size": 64,
    "epochs": 2,
    "patience": 0,
}


def golden_dataset() -> Any:
    """20 users, 15 items, 8 events per user."""
    from conftest import make_dataset

    return make_dataset(n_users=20, n_items=15, per_user=8)


def small_estimator(name: str) -> Any:
    """The estimator of a model with its default settings but small sizes."""
    from leanrec.models import get_model

    if name == "hybrid":
        return get_model(name)(parts=(small_estimator("ease"), small_estimator("popularity")))
    settings = get_model(name)
    fields = {field.name for field in dataclasses.fields(settings)}
    chosen = {setting: value for setting, value in SMALL.items() if setting in fields}
    return settings(**chosen)


def write_artifacts(names: Iterable[str]) -> None:
    """Fit each model and write its artifact and scores."""
    from leanrec import artifacts
    from leanrec.run import Run

    data = golden_dataset()
    for name in names:
        folder = ARTIFACTS / name
        shutil.rmtree(folder, ignore_errors=True)
        model = small_estimator(name).fit(data, Run(seed=1, threads=1))
        artifacts.save(model, folder)
        np.save(folder / SCORES, model.score(data.queries()))
        size = sum(file.stat().st_size for file in folder.iterdir())
        print(f"{name}: {size / 1000:.0f} kB")


def recommend_to_users(pipeline: Any) -> list[dict[str, Any]]:
    """Ids, titles and scores of the lists of three users."""
    lists = [pipeline.recommend(user=f"user-{user}", n=5).items for user in range(3)]
    return [{"id": item.id, "title": item.title, "score": item.score} for items in lists for item in items]


def write_pipeline() -> None:
    """Fit a pipeline and write its artifact and recommendations."""
    from leanrec.pipeline.pipeline import Pipeline

    shutil.rmtree(PIPELINE, ignore_errors=True)
    pipeline = Pipeline.fit(small_estimator("ease"), golden_dataset())
    pipeline.save(PIPELINE)
    (PIPELINE / RECOMMENDATIONS).write_text(json.dumps(recommend_to_users(pipeline), indent=1), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))
    from leanrec.models import list_models

    write_artifacts(sys.argv[1:] or list_models())
    if not sys.argv[1:]:
        write_pipeline()
