"""Batch recommendations: the file has the list that each user gets alone."""

from pathlib import Path

import pandas as pd
import pytest

from leanrec.data.dataset import Dataset
from leanrec.errors import SettingError, SourceError
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.lists.batch import check_list_path
from leanrec.pipeline.pipeline import Pipeline
from leanrec.run import Run


@pytest.fixture
def pipeline(dataset: Dataset) -> Pipeline:
    pipeline = Pipeline.fit(EASE(l2=20.0), dataset, Run(threads=1))
    pipeline.record_event("user-3", 101)
    pipeline.record_event("a new one", 102)
    return pipeline


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_each_user_has_the_list_of_a_single_request(
    pipeline: Pipeline, dataset: Dataset, tmp_path: Path, suffix: str
) -> None:
    written = pipeline.recommend_all(tmp_path / f"lists.{suffix}", n=5, deny=[103])
    rows = pd.read_parquet(written.path) if suffix == "parquet" else pd.read_csv(written.path)
    assert list(rows.columns) == ["user", "rank", "item", "title", "score", "source"]
    assert (written.users, written.rows) == (len(dataset.users) + 1, len(rows))
    for user, lines in rows.groupby("user"):
        alone = pipeline.recommend(user, n=5, deny=[103])
        assert lines["item"].tolist() == [item.id for item in alone.items]
        assert lines["title"].tolist() == [item.title for item in alone.items]
        assert lines["rank"].tolist() == [1, 2, 3, 4, 5]
        assert lines["score"].tolist() == pytest.approx([item.score for item in alone.items], rel=1e-4)
    assert set(rows["source"]) == {"model"}


def test_a_user_without_a_history_gets_the_fallback(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.record_event("skips all", 102, "skip")
    written = pipeline.recommend_all(tmp_path / "lists.csv", n=3)
    rows = pd.read_csv(written.path)
    assert written.from_fallback == 1
    assert set(rows[rows["user"] == "skips all"]["source"]) == {"fallback"}


def test_users_to_whom_no_item_may_be_shown_are_counted(pipeline: Pipeline, dataset: Dataset, tmp_path: Path) -> None:
    written = pipeline.recommend_all(tmp_path / "lists.csv", n=3, allow=[102])
    seen = {str(dataset.users.ids[row]) for row in dataset.seen[:, [dataset.items.row(102)]].nonzero()[0]} | {
        "a new one"
    }
    assert written.without_list == len(seen)
    assert set(pd.read_csv(written.path)["user"]) == {*dataset.users.ids.tolist(), "a new one"} - seen
    assert written.users + written.without_list == len(dataset.users) + 1


def test_the_file_is_checked_and_nothing_is_left_behind(pipeline: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"ends in \.parquet or \.csv"):
        check_list_path(tmp_path / "lists.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot be written"):
        pipeline.recommend_all(tmp_path / "file" / "lists.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
