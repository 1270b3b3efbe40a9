"""Pictures are files that hold the numbers, and the page works in a real browser."""

import dataclasses
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from playwright.sync_api import Browser, Page

from conftest import make_dataset
from contracts.browser import open_browser
from leanrec.budget import Budget
from leanrec.data.dataset import Dataset
from leanrec.errors import ArtifactError, DataError, MissingExtraError
from leanrec.evaluation.frontier.cost import ModelCost
from leanrec.evaluation.frontier.frontier import Frontier
from leanrec.evaluation.frontier.results import QualityEstimate, ModelResult
from leanrec.evaluation.frontier.selection import select_model, annotate_results
from leanrec.evaluation.plots import figures as pictures
from leanrec.evaluation.plots.figures import draw_dataset, draw_recommendations, dataset_label, require_plots
from leanrec.evaluation.plots.frontier_figure import draw_frontier
from leanrec.evaluation.plots.html_report import render_html_report, write_html_report

BLUE = (0x00, 0x72, 0xB2)


def make_row(name: str, family: str, quality: float, p99: float, size: int) -> ModelResult:
    cost = ModelCost(
        first_request=0.1, p50=p99 / 2, p99=p99, requests_per_second=1 / p99, batch_users_per_second=5 / p99, latency=100,
        n_users=50, n_interruptions=0, fit_seconds=size / 1e6, fit_cpu_seconds=size / 1e6, peak_memory=2 * size, warm_up_seconds=0.1,
        compile=0.0, model_bytes=size, artifact_bytes=size,
    )  # fmt: skip
    valid = QualityEstimate(quality, quality - 0.02, quality + 0.02, 100)
    test = QualityEstimate(0.5 - quality, 0.48 - quality, 0.52 - quality, 100)
    return ModelResult(name, name, family, {"l2": 5.0}, "fitted", cost=cost, valid=valid, test=test)


def make_frontier(budget: Budget = Budget(p99="5ms", memory="90MB")) -> Frontier:
    rows = [
        make_row("popularity", "collaborative", 0.10, 0.0001, 40_000),
        make_row("ease", "collaborative", 0.31, 0.002, 60_000_000),
        make_row("item_knn", "collaborative", 0.28, 0.001, 5_000_000),
        make_row("content", "content", 0.15, 0.003, 2_000_000),
        make_row("</script><b>机器 & Co", "plugin", 0.33, 0.02, 9_000_000),
        ModelResult("slim", "slim", "collaborative", {}, "skipped", reason="Its fit needs about 5 GB."),
    ]
    marked = annotate_results(rows, budget)
    return Frontier(marked, budget, select_model(marked), "ndcg@10", "films", "About films.", ("A note.",))


def size_of(path: Path) -> tuple[int, int]:
    """Width and height, from the header of a PNG."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def bars(path: Path) -> list[tuple[int, int]]:
    """Top and length in pixels of each blue bar, from the top."""
    pixels = np.round(imread(path)[..., :3] * 255)
    blue = (np.abs(pixels - BLUE) <= 2).all(axis=2).sum(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], blue > 20, [0]])))
    return [(int(top), int(np.median(blue[top:end]))) for top, end in edges.reshape(-1, 2)]


def test_bars_are_as_long_as_their_scores_and_the_best_is_on_top(tmp_path: Path) -> None:
    path = draw_recommendations(tmp_path / "deep" / "top.png", ["one", "two", "three"], [4.0, 2.0, 1.0], title="Top 3")
    found = bars(path)
    assert len(found) == 3
    assert [top for top, _ in found] == sorted(top for top, _ in found)
    lengths = np.array([length for _, length in found])
    np.testing.assert_allclose(lengths / lengths[0], [1, 0.5, 0.25], atol=0.01)


def test_any_title_can_be_drawn(tmp_path: Path) -> None:
    """Warnings are errors here, so a letter that no font has would fail."""
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
    assert size_of(path)[0] == 1152


def test_scores_that_are_no_numbers_get_no_bar(tmp_path: Path) -> None:
    path = draw_recommendations(tmp_path / "top.png", ["a", "b"], [3.0, float("nan")])
    assert len(bars(path)) == 1
    assert size_of(draw_recommendations(tmp_path / "none.png", [], []))[1] > 0


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
def test_long_titles_are_broken_and_cut(text: str, expected: str) -> None:
    assert pictures._shorten(text, 12, lines=2) == expected


def test_without_matplotlib_the_extra_is_named_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: Dataset
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(pictures, "find_spec", lambda name: None if name == "matplotlib" else real(name))
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


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="Cannot write the picture"):
        draw_recommendations(tmp_path / "file" / "top.png", ["a"], [1.0])
    with pytest.raises(ArtifactError, match="Cannot write the picture"):
        draw_recommendations(tmp_path / "top.nonsense", ["a"], [1.0])
    with pytest.raises(ArtifactError, match="Cannot write"):
        write_html_report(make_frontier(), tmp_path / "file" / "page.html")


def bare(data: Dataset, time: Any) -> Dataset:
    """The data without ratings, and with other times."""
    events = dataclasses.replace(data.events, value=None, time=np.asarray(time, np.int64))
    return dataclasses.replace(data, events=events, rating_range=None)


def no_events(data: Dataset) -> Dataset:
    return dataclasses.replace(data, events=data.events.take(np.zeros(0, np.int64)))


def test_data_of_any_kind_can_be_drawn(dataset: Dataset, tmp_path: Path) -> None:
    n = len(dataset.events)
    kinds = {
        "rated": dataset,
        "order": bare(dataset, np.arange(n) % 12),
        "timeless": bare(dataset, np.zeros(n)),
        "one": dataset.with_events(dataset.events.take(np.array([0]))),
        "empty": no_events(dataset),
        "larger": make_dataset(n_users=200, per_user=30),
    }
    for name, data in kinds.items():
        assert size_of(draw_dataset(tmp_path / f"{name}.png", data)) == (1584, 1036)
    drawn = [(tmp_path / f"{name}.png").read_bytes() for name in kinds]
    assert len(set(drawn)) == len(kinds)


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
def test_headings_carry_a_short_name(dataset: Dataset, source: str, name: str) -> None:
    assert dataset_label(dataclasses.replace(dataset, source=source)) == name


@pytest.mark.parametrize("part", ["valid", "test"])
def test_the_frontier_becomes_a_png(tmp_path: Path, part: str) -> None:
    path = draw_frontier(tmp_path / "frontier.png", make_frontier(), part=part)
    assert size_of(path) == (1728, 1296)


def test_the_png_changes_with_the_numbers(tmp_path: Path) -> None:
    drawn = [
        draw_frontier(tmp_path / "a.png", make_frontier()).read_bytes(),
        draw_frontier(tmp_path / "b.png", make_frontier(Budget())).read_bytes(),
        draw_frontier(tmp_path / "c.png", make_frontier(), part="test").read_bytes(),
        draw_frontier(tmp_path / "d.png", make_frontier(Budget(p99="1us"))).read_bytes(),
    ]
    assert len(set(drawn)) == 4


def nothing_fitted() -> Frontier:
    found = make_frontier()
    rows = tuple(row for row in found.results if row.status != "fitted")
    return dataclasses.replace(found, rows=rows, choice=select_model(rows))


def test_a_frontier_without_a_model_can_be_drawn(tmp_path: Path) -> None:
    assert size_of(draw_frontier(tmp_path / "none.png", nothing_fitted()))[0] == 1728


def read_data(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_page_holds_the_numbers() -> None:
    found = make_frontier()
    assert read_data(render_html_report(found)) == json.loads(json.dumps(found.to_dict()))


def test_a_name_cannot_break_out_of_the_page() -> None:
    page = render_html_report(make_frontier())
    assert page.count("</script>") == 2
    assert read_data(page)["rows"][4]["name"] == "</script><b>机器 & Co"


def test_what_is_not_a_number_becomes_null() -> None:
    found = make_frontier()
    row = dataclasses.replace(found.results[0], metrics={"test": {"auc": float("nan")}})
    assert (
        read_data(render_html_report(dataclasses.replace(found, rows=(row, *found.results[1:]))))["rows"][0]["metrics"]["test"][
            "auc"
        ]
        is None
    )


def test_the_page_refers_to_nothing_outside() -> None:
    page = render_html_report(make_frontier()).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|\bsrc=|@import|url\(", page)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1200, "height": 1400}) as context:
        yield open_page(context.new_page(), write_html_report(make_frontier(), tmp_path / "page.html"))


def open_page(tab: Page, path: Path) -> Page:
    """The page, from a file; anything it complains of or asks the network for fails."""

    def complain(message: object) -> None:
        raise AssertionError(message)

    tab.on("pageerror", complain)
    tab.on("console", lambda message: complain(message.text))
    tab.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else complain(request.url),
    )
    tab.goto(path.as_uri())
    return tab


def names(page: Page) -> list[str]:
    return [cell.strip() for cell in page.locator("tbody td:first-child").all_inner_texts()]


def test_the_page_shows_every_fitted_model(page: Page) -> None:
    assert page.locator(".dot").count() == 5
    assert page.locator("tbody tr").count() == 5
    assert "films" in page.title()
    assert page.locator("#verdict").inner_text().startswith("Best of 3 within p99 of one request")
    assert "slim skipped: Its fit needs about 5 GB." in page.locator("#rest").inner_text()
    assert page.locator(".dot .halo").count() == 1
    assert page.locator(".dot:has(.halo)").get_attribute("data-name") == "item_knn"


def test_hovering_tells_the_numbers(page: Page) -> None:
    assert page.locator("#tip").is_hidden()
    page.locator('.dot[data-name="ease"] .hit').hover()
    told = page.locator("#tip").inner_text()
    for number in (
        "0.3100 (0.2900 to 0.3300)",
        "0.1900 (0.1700 to 0.2100)",
        "1 ms / 2 ms",
        "120 MB",
        "60 MB / 60 MB",
        "l2=5",
    ):
        assert number in told
    assert "Over the limit: peak memory of the fit 120 MB against 90 MB." in told
    assert page.locator("tbody tr.lit").get_attribute("data-name") == "ease"
    page.locator("h1").hover()
    assert page.locator("#tip").is_hidden()


def test_the_keyboard_reaches_the_numbers(page: Page) -> None:
    page.locator('.dot[data-name="content"]').focus()
    assert "content" in page.locator("#tip").inner_text()


def test_another_cost_moves_the_marks(page: Page) -> None:
    assert "limit 5 ms" in page.locator("#plot").inner_text()
    before = page.locator('.dot[data-name="ease"] .mark').get_attribute("transform")
    page.get_by_role("button", name="size on disk").click()
    assert page.locator('.dot[data-name="ease"] .mark').get_attribute("transform") != before
    assert "size on disk (log scale" in page.locator("#plot").inner_text()
    assert page.locator(".limitline").count() == 0
    assert "is drawn at" not in page.locator("figcaption").inner_text()


def test_the_page_draws_the_front_that_was_computed(page: Page) -> None:
    points = "fitted.map(row => ({ name: row.name, x: row.costs[axis], y: row.valid.value }))"
    script = f"axis => front({points}).map(row => row.name)"
    for axis in ("p99", "memory", "fit_time", "size"):
        expected = {row.name for row in make_frontier().results if axis in row.pareto_axes}
        assert set(page.evaluate(script, axis)) == expected


def test_test_quality_can_be_shown(page: Page) -> None:
    page.get_by_role("button", name="test", exact=True).click()
    assert "ndcg@10 on test" in page.locator("#plot").inner_text()


def test_families_can_be_hidden(page: Page) -> None:
    button = page.get_by_role("button", name="collaborative")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.locator(".dot").count() == len(names(page)) == 2
    page.get_by_role("button", name="content").click()
    page.get_by_role("button", name="plugin").click()
    assert "Every family is hidden." in page.locator("#plot").inner_text()
    button.click()
    assert page.locator(".dot").count() == 3


def test_the_table_sorts(page: Page) -> None:
    best_first = ["</script><b>机器 & Co", "ease", "item_knn", "content", "popularity"]
    assert names(page) == best_first
    page.locator("thead button", has_text="p99").click()
    assert names(page) == ["popularity", "item_knn", "ease", "content", "</script><b>机器 & Co"]
    assert page.locator("th[aria-sort=ascending]").inner_text().strip() == "p99"
    page.locator("thead button", has_text="p99").click()
    assert names(page)[0] == "</script><b>机器 & Co"
    page.locator("thead button", has_text="Model").click()
    assert names(page)[-1] == "popularity"


def test_light_and_dark(browser: Browser, tmp_path: Path) -> None:
    path = write_html_report(make_frontier(), tmp_path / "page.html")
    brightness = {}
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme=scheme) as context:
            tab = open_page(context.new_page(), path)
            colours = tab.evaluate(
                "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
            )
            brightness[scheme] = [sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in colours]
    assert brightness["light"][0] > 200
    assert brightness["light"][1] < 60
    assert brightness["dark"][0] < 60
    assert brightness["dark"][1] > 200


def test_a_telephone_scrolls_the_table_and_nothing_else(browser: Browser, tmp_path: Path) -> None:
    path = write_html_report(make_frontier(), tmp_path / "page.html")
    with browser.new_context(viewport={"width": 390, "height": 800}) as context:
        tab = open_page(context.new_page(), path)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert tab.locator(".dot").count() == 5


def test_a_page_without_a_model_says_so(browser: Browser, tmp_path: Path) -> None:
    path = write_html_report(nothing_fitted(), tmp_path / "page.html")
    with browser.new_context() as context:
        tab = open_page(context.new_page(), path)
        assert "No model was fitted." in tab.locator("#plot").inner_text()
        assert "slim" in tab.locator("#rest").inner_text()
