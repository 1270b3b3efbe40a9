"""HTML report: its data, and its behavior in a browser."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from contracts.browser import open_browser
from contracts.plots import make_empty_frontier, make_frontier, read_report_data
from leanrec.errors import ArtifactError
from leanrec.evaluation.plots.html_report import render_html_report, write_html_report


def test_the_report_contains_the_numbers() -> None:
    found = make_frontier()
    assert read_report_data(render_html_report(found)) == json.loads(json.dumps(found.to_dict()))


def test_a_name_cannot_end_the_script_element() -> None:
    page = render_html_report(make_frontier())
    assert page.count("</script>") == 2
    assert read_report_data(page)["results"][4]["name"] == "</script><b>机器 & Co"


def test_nan_becomes_null() -> None:
    found = make_frontier()
    first = dataclasses.replace(found.results[0], metrics={"test": {"auc": float("nan")}})
    page = render_html_report(dataclasses.replace(found, results=(first, *found.results[1:])))
    assert read_report_data(page)["results"][0]["metrics"]["test"]["auc"] is None


def test_the_report_needs_no_network() -> None:
    page = render_html_report(make_frontier()).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|\bsrc=|@import|url\(", page)


def test_a_file_that_cannot_be_written_raises_an_artifact_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="Cannot write"):
        write_html_report(make_frontier(), tmp_path / "file" / "page.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1200, "height": 1400}) as context:
        yield open_page(context.new_page(), write_html_report(make_frontier(), tmp_path / "page.html"))


def open_page(tab: Page, path: Path) -> Page:
    """Open the report from a file. Errors, messages on the console and network requests fail the test."""

    def fail(message: object) -> None:
        raise AssertionError(message)

    tab.on("pageerror", fail)
    tab.on("console", lambda message: fail(message.text))
    tab.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else fail(request.url),
    )
    tab.goto(path.as_uri())
    return tab


def names(page: Page) -> list[str]:
    return [cell.strip() for cell in page.locator("tbody td:first-child").all_inner_texts()]


def test_every_fitted_model_is_shown(page: Page) -> None:
    assert page.locator(".dot").count() == 5
    assert page.locator("tbody tr").count() == 5
    assert "films" in page.title()
    assert page.locator("#verdict").inner_text().startswith("Best of 3 within p99 of one request")
    assert "slim skipped: Its fit needs about 5 GB." in page.locator("#rest").inner_text()
    assert page.locator(".dot .halo").count() == 1
    assert page.locator(".dot:has(.halo)").get_attribute("data-name") == "item_knn"


def test_hovering_shows_the_numbers(page: Page) -> None:
    assert page.locator("#tip").is_hidden()
    page.locator('.dot[data-name="ease"] .hit').hover()
    tip = page.locator("#tip").inner_text()
    for number in (
        "0.3100 (0.2900 to 0.3300)",
        "0.1900 (0.1700 to 0.2100)",
        "1 ms / 2 ms",
        "120 MB",
        "60 MB / 60 MB",
        "l2=5",
    ):
        assert number in tip
    assert "Over the limit: peak memory of the fit 120 MB against 90 MB." in tip
    assert page.locator("tbody tr.lit").get_attribute("data-name") == "ease"
    page.locator("h1").hover()
    assert page.locator("#tip").is_hidden()


def test_the_numbers_can_be_reached_by_keyboard(page: Page) -> None:
    page.locator('.dot[data-name="content"]').focus()
    assert "content" in page.locator("#tip").inner_text()


def test_selecting_another_cost_moves_the_points(page: Page) -> None:
    assert "limit 5 ms" in page.locator("#plot").inner_text()
    before = page.locator('.dot[data-name="ease"] .mark').get_attribute("transform")
    page.get_by_role("button", name="size on disk").click()
    assert page.locator('.dot[data-name="ease"] .mark').get_attribute("transform") != before
    assert "size on disk (log scale" in page.locator("#plot").inner_text()
    assert page.locator(".limitline").count() == 0
    assert "is drawn at" not in page.locator("figcaption").inner_text()


def test_the_drawn_front_is_the_computed_one(page: Page) -> None:
    points = "fitted.map(row => ({ name: row.name, x: row.costs[axis], y: row.valid.value }))"
    script = f"axis => front({points}).map(row => row.name)"
    for axis in ("p99", "memory", "fit_time", "size"):
        expected = {result.name for result in make_frontier().results if axis in result.pareto_axes}
        assert set(page.evaluate(script, axis)) == expected


def test_the_test_part_can_be_selected(page: Page) -> None:
    page.get_by_role("button", name="test", exact=True).click()
    assert "ndcg@10 on test" in page.locator("#plot").inner_text()


def test_families_can_be_hidden(page: Page) -> None:
    button = page.get_by_role("button", name="linear")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert page.locator(".dot").count() == len(names(page)) == 2
    page.get_by_role("button", name="content").click()
    page.get_by_role("button", name="plugin").click()
    assert "Every family is hidden." in page.locator("#plot").inner_text()
    button.click()
    assert page.locator(".dot").count() == 3


def test_the_table_can_be_sorted(page: Page) -> None:
    best_first = ["</script><b>机器 & Co", "ease", "item_knn", "content", "popularity"]
    assert names(page) == best_first
    page.locator("thead button", has_text="p99").click()
    assert names(page) == ["popularity", "item_knn", "ease", "content", "</script><b>机器 & Co"]
    assert page.locator("th[aria-sort=ascending]").inner_text().strip() == "p99"
    page.locator("thead button", has_text="p99").click()
    assert names(page)[0] == "</script><b>机器 & Co"
    page.locator("thead button", has_text="Model").click()
    assert names(page)[-1] == "popularity"


def test_colors_follow_the_color_scheme(browser: Browser, tmp_path: Path) -> None:
    path = write_html_report(make_frontier(), tmp_path / "page.html")
    brightness = {}
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme=scheme) as context:
            tab = open_page(context.new_page(), path)
            colors = tab.evaluate(
                "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
            )
            brightness[scheme] = [sum(map(int, re.findall(r"\d+", color)[:3])) / 3 for color in colors]
    assert brightness["light"][0] > 200
    assert brightness["light"][1] < 60
    assert brightness["dark"][0] < 60
    assert brightness["dark"][1] > 200


def test_on_a_phone_only_the_table_scrolls(browser: Browser, tmp_path: Path) -> None:
    path = write_html_report(make_frontier(), tmp_path / "page.html")
    with browser.new_context(viewport={"width": 390, "height": 800}) as context:
        tab = open_page(context.new_page(), path)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        assert tab.locator(".dot").count() == 5


def test_a_report_without_fitted_models_can_be_opened(browser: Browser, tmp_path: Path) -> None:
    path = write_html_report(make_empty_frontier(), tmp_path / "page.html")
    with browser.new_context() as context:
        tab = open_page(context.new_page(), path)
        assert "No model was fitted." in tab.locator("#plot").inner_text()
        assert "slim" in tab.locator("#rest").inner_text()
