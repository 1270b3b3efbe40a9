"""Plots of recommendations and data sets."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from conftest import make_dataset
from contracts.plots import make_frontier, read_png_size
from leanrec.data.dataset import Dataset
from leanrec.errors import ArtifactError, DataError, MissingExtraError
from leanrec.evaluation.plots import figures
from leanrec.evaluation.plots.figures import dataset_label, draw_dataset, draw_recommendations, require_plots
from leanrec.evaluation.plots.frontier_figure import draw_frontier
from leanrec.evaluation.plots.html_report import write_html_report

BLUE = (0x00, 0x72, 0xB2)


def measure_bars(path: Path) -> list[tuple[int, int]]:
    """Top and length in pixels of each blue bar, from the top."""
    pixels = np.round(imread(path)[..., :3] * 255)
    blue = (np.abs(pixels - BLUE) <= 2).all(axis=2).sum(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], blue > 20, [0]])))
    return [(int(top), int(np.median(blue[top:end]))) for top, end in edges.reshape(-1, 2)]


def test_bars_are_proportional_to_scores_and_the_first_is_on_top(tmp_path: Path) -> None:
    path = draw_recommendations(tmp_path / "deep" / "top.png", ["one", "two", "three"], [4.0, 2.0, 1.0], title="Top 3")
    found = measure_bars(path)
    assert len(found) == 3
    assert [top for top, _ in found] == sorted(top for top, _ in found)
    lengths = np.array([length for _, length in found])
    np.testing.assert_allclose(lengths / lengths[0], [1, 0.5, 0.25], atol=0.01)


def test_any_title_can_be_drawn(tmp_path: Path) -> None:
    """Warnings are errors in tests, so a letter without a font would fail."""
    titles = [
        "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb, and many more words " * 2,
        "千と千尋の神隠し",
        "a" * 300,
        "千" * 200,
        "الرسالة",
        "शोले \U00012000 \U0001f600",
        "price $1 and $2, {braces} \\frac_x^y",
        "two\nlines\tand a tab\x00",
        "",
    ]
    path = draw_recommendations(tmp_path / "top.png", titles, np.linspace(1, -1, len(titles)))
    assert read_png_size(path)[0] == 1152


def test_nan_scores_have_no_bar(tmp_path: Path) -> None:
    path = draw_recommendations(tmp_path / "top.png", ["a", "b"], [3.0, float("nan")])
    assert len(measure_bars(path)) == 1
    assert read_png_size(draw_recommendations(tmp_path / "none.png", [], []))[1] > 0


def test_each_title_needs_a_score(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one score for each of the 2 titles. Got the shape \(1,\)"):
        draw_recommendations(tmp_path / "top.png", ["a", "b"], [3.0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("short", "short"),
        ("  many   blanks ", "many blanks"),
        ("one two three four five", "one two\nthree four …"),
        ("abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghijkl\nmnopqrstuvw…"),
        ("一二三四五六七八九十" * 3, "一二三四五六七八\n九十一二三四五…"),
    ],
)
def test_long_titles_are_wrapped_and_shortened(text: str, expected: str) -> None:
    assert figures._wrap_text(text, 12, lines=2) == expected


def test_a_missing_matplotlib_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: Dataset
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(figures, "find_spec", lambda name: None if name == "matplotlib" else real(name))
    for draw in (
        require_plots,
        lambda: draw_recommendations(tmp_path / "a.png", ["a"], [1]),
        lambda: draw_dataset(tmp_path / "a.png", dataset),
        lambda: draw_frontier(tmp_path / "a.png", make_frontier()),
    ):
        with pytest.raises(MissingExtraError, match=r"leanrec\[plots\]"):
            draw()
    write_html_report(make_frontier(), tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_file_that_cannot_be_written_raises_an_artifact_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="Cannot write the plot"):
        draw_recommendations(tmp_path / "file" / "top.png", ["a"], [1.0])
    with pytest.raises(ArtifactError, match="Cannot write the plot"):
        draw_recommendations(tmp_path / "top.nonsense", ["a"], [1.0])


def replace_times(data: Dataset, time: Any) -> Dataset:
    """The data without ratings, and with other times."""
    events = dataclasses.replace(data.events, rating=None, time=np.asarray(time, np.int64))
    return dataclasses.replace(data, events=events, rating_range=None)


def remove_events(data: Dataset) -> Dataset:
    return dataclasses.replace(data, events=data.events.take(np.zeros(0, np.int64)))


def test_any_data_set_can_be_drawn(dataset: Dataset, tmp_path: Path) -> None:
    n = len(dataset.events)
    datasets = {
        "rated": dataset,
        "order": replace_times(dataset, np.arange(n) % 12),
        "timeless": replace_times(dataset, np.zeros(n)),
        "one": dataset.with_events(dataset.events.take(np.array([0]))),
        "empty": remove_events(dataset),
        "larger": make_dataset(n_users=200, per_user=30),
    }
    for name, data in datasets.items():
        assert read_png_size(draw_dataset(tmp_path / f"{name}.png", data)) == (1584, 1036)
    drawn = [(tmp_path / f"{name}.png").read_bytes() for name in datasets]
    assert len(set(drawn)) == len(datasets)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("", "the data"),
        ("made for tests", "made for tests"),
        ("/home/a/films/ratings.csv", "films/ratings.csv"),
        ("C:\\data\\films\\ratings.csv", "C:\\data\\films\\ratings.csv"),
        ("films/", "films"),
    ],
)
def test_labels_are_short_names_of_the_source(dataset: Dataset, source: str, name: str) -> None:
    assert dataset_label(dataclasses.replace(dataset, source=source)) == name
