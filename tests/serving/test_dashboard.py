"""The dashboard in a real browser."""

import base64
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from conftest import make_dataset
from contracts.browser import open_browser
from contracts.server import run_server
from leanrec.data.table import Table
from leanrec.events.sqlite_store import SQLiteEventStore
from leanrec.models.linear.ease import EASE
from leanrec.pipeline.pipeline import Pipeline
from leanrec.serving.app import create_app
from leanrec.serving.security.api_keys import ApiKeys, add_key
from leanrec.serving.serving_settings import ServingSettings

# An image of one pixel.
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def server(tmp_path: Path) -> Iterator[httpx.Client]:
    pipeline = Pipeline.fit(EASE(l2=20.0), make_dataset())
    with SQLiteEventStore(tmp_path / "events.db") as log, run_server(create_app(pipeline, log)) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Any, server: httpx.Client) -> Iterator[Any]:
    page = browser.new_page(reduced_motion="reduce")
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    other_hosts: list[str] = []
    host = str(server.base_url)
    page.on(
        "request", lambda request: None if request.url.startswith((host, "data:")) else other_hosts.append(request.url)
    )
    page.goto(f"{host}/#user-3")
    page.wait_for_selector("#list > li")
    yield page
    page.close()
    assert other_hosts == []
    assert errors == []


def titles(page: Any) -> list[str]:
    shown: list[str] = page.eval_on_selector_all(
        "#list .name", "names => names.map((name) => name.firstChild.textContent)"
    )
    return shown


def expected(server: httpx.Client, user: str) -> list[str]:
    return [item["title"] for item in server.get("/recommend", params={"user": user}).json()["items"]]


def test_shows_the_list_the_reasons_and_the_history(page: Any, server: httpx.Client) -> None:
    assert titles(page) == expected(server, "user-3")
    assert "because you rated" in page.inner_text("#list > li:first-child .reasons")
    assert page.locator("#history li").count() == 12
    assert "ms" in page.inner_text("#timing")
    assert page.locator("#list .fill").first.evaluate("bar => bar.style.width") == "100%"


def test_a_click_changes_the_list_and_marks_what_changed(page: Any, server: httpx.Client) -> None:
    before = titles(page)
    page.get_by_role("button", name=f"Click {before[0]}", exact=True).click()
    page.wait_for_selector("#list .new")
    after = titles(page)
    assert before[0] not in after
    assert after == expected(server, "user-3")
    fresh = page.eval_on_selector_all("#list .new .name", "names => names.map((name) => name.firstChild.textContent)")
    assert set(fresh) == set(after) - set(before)
    moved = [title for position, title in enumerate(after) if title in before and before.index(title) != position]
    assert page.locator("#list .moved").count() == len(moved)
    assert "The list changed" in page.inner_text("#change")
    assert before[0] in page.inner_text("#history li:first-child")
    assert page.locator("#history .new").count() == 1


def test_a_new_user_starts_with_popular_items(page: Any, server: httpx.Client) -> None:
    page.get_by_role("button", name="New user").click()
    expect(page.locator("#notice")).to_contain_text("this list comes from popularity")
    page.get_by_label("Add an item to the history").fill("star 2")
    page.wait_for_selector("#results [role=option]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_be_hidden()
    assert "star 24" in page.inner_text("#history li:first-child")
    user = page.input_value("#user")
    assert titles(page) == expected(server, user)
    assert "because you clicked star 24" in page.inner_text("#list > li:first-child .reasons")


def test_filter_and_length_are_applied(page: Any) -> None:
    page.select_option("#n", "20")
    expect(page.locator("#list > li")).to_have_count(20)
    page.select_option("#column", "genres")
    page.fill("#wanted", "romance")
    page.keyboard.press("Enter")
    expect(page.locator("#list > li").nth(12)).to_be_hidden()
    words = ("love", "letter", "kiss")
    assert all(title.split()[0] in words for title in titles(page))
    page.select_option("#column", "year")
    page.fill("#wanted", "1985-1990")
    page.keyboard.press("Enter")
    expect(page.locator("#list > li").nth(6)).to_be_hidden()
    assert all(5 <= int(title.split()[1]) <= 10 for title in titles(page))


def test_why_shows_the_contributions_of_the_history(page: Any, server: httpx.Client) -> None:
    page.locator("#list > li").first.get_by_role("button", name="Why").click()
    page.wait_for_selector(".explanation .track")
    first = server.get("/recommend?user=user-3").json()["items"][0]["id"]
    contributions = server.get("/explain", params={"user": "user-3", "item": first}).json()["contributions"]
    assert contributions[0]["title"] in page.inner_text(".explanation")
    page.locator("#list > li").first.get_by_role("button", name="Why").click()
    assert page.locator(".explanation").count() == 0


def test_titles_are_never_markup(browser: Any, tmp_path: Path) -> None:
    data = make_dataset()
    data.item_table.columns["title"][:] = "<img src=x onerror=document.title='owned'>"  # type: ignore[union-attr]
    with (
        SQLiteEventStore(tmp_path / "e.db") as log,
        run_server(create_app(Pipeline.fit(EASE(l2=20.0), data), log)) as client,
    ):
        page = browser.new_page()
        page.goto(str(client.base_url))
        page.wait_for_selector("#list > li")
        assert page.locator("main img").count() == 0
        assert page.title() == "leanrec · ease"
        page.close()


def test_images_of_the_item_table_are_shown(browser: Any, tmp_path: Path) -> None:
    data = make_dataset()
    urls = np.array(["https://images.invalid/one.png"] * 20 + [""] * 20, np.dtypes.StringDType())
    data = dataclasses.replace(data, item_table=Table({**data.item_table.columns, "poster": urls}))  # type: ignore[union-attr]
    with (
        SQLiteEventStore(tmp_path / "e.db") as log,
        run_server(create_app(Pipeline.fit(EASE(l2=20.0), data), log)) as client,
    ):
        assert "img-src 'self' data: https:;" in client.get("/").headers["content-security-policy"]
        page = browser.new_page()
        pixel = base64.b64decode(_PIXEL)
        page.route("https://images.invalid/**", lambda route: route.fulfill(body=pixel, content_type="image/png"))
        page.goto(f"{client.base_url}/#user-3")
        page.wait_for_selector("#list > li")
        page.select_option("#n", "50")
        expect(page.locator("#list > li")).to_have_count(28)
        shown = {item["id"] for item in client.get("/recommend?user=user-3&n=50").json()["items"]}
        expect(page.locator("#list .tile img")).to_have_count(len([each for each in shown if each < 120]))
        page.close()


def test_an_item_without_an_image_has_a_tile(page: Any) -> None:
    assert page.locator("#list .tile").count() == 10
    assert page.locator("#list img").count() == 0
    first = titles(page)[0].split()
    assert page.locator("#list .tile").first.inner_text() == (first[0][0] + first[1][0]).upper()


def test_every_control_has_a_name(page: Any) -> None:
    unnamed = page.evaluate(
        """[...document.querySelectorAll('button, input, select')].filter((one) =>
            !(one.innerText?.trim() || one.getAttribute('aria-label') || one.labels?.length)).map((one) => one.outerHTML)"""
    )
    assert unnamed == []


def test_dark_and_light_theme(page: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(ground) != before


def test_an_unknown_user_shows_an_error(browser: Any, server: httpx.Client) -> None:
    page = browser.new_page()
    page.goto(str(server.base_url))
    page.wait_for_selector("#list > li")
    page.fill("#user", "user-99")
    page.keyboard.press("Enter")
    page.wait_for_selector("#error:not([hidden])")
    assert "Ids look like: user-" in page.inner_text("#error")
    assert page.locator("#list > li").count() == 0
    page.close()


def test_a_late_response_does_not_hide_a_newer_error(browser: Any, server: httpx.Client) -> None:
    page = browser.new_page()
    page.goto(str(server.base_url))
    page.wait_for_selector("#list > li")
    held: list[Any] = []
    page.route(re.compile(r"/users\?.*search=user-99"), lambda route: held.append(route))  # noqa: PLW0108 - playwright asks a handler for its signature
    page.fill("#user", "user-99")
    page.keyboard.press("Enter")
    page.wait_for_selector("#error:not([hidden])")
    assert page.locator("#users option").count() > 0
    held[0].continue_()
    expect(page.locator("#users option")).to_have_count(0)
    assert page.is_visible("#error")
    page.fill("#user", "user-3")
    page.keyboard.press("Enter")
    page.wait_for_selector("#list > li")
    expect(page.locator("#error")).to_be_hidden()
    page.close()


def test_an_unknown_user_in_the_address_shows_an_error(browser: Any, server: httpx.Client) -> None:
    page = browser.new_page()
    page.goto(f"{server.base_url}/#user-99")
    page.wait_for_selector("#error:not([hidden])")
    page.wait_for_load_state("networkidle")
    assert "Ids look like: user-" in page.inner_text("#error")
    page.close()


def test_a_key_is_asked_for_and_kept_in_the_page(browser: Any, tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    shop, boss = add_key(keys, "shop", "client"), add_key(keys, "boss", "admin")
    pipeline = Pipeline.fit(EASE(l2=20.0), make_dataset())
    settings = ServingSettings(keys=ApiKeys.read(keys))
    with SQLiteEventStore(tmp_path / "events.db") as log, run_server(create_app(pipeline, log, settings)) as server:
        page = browser.new_page(reduced_motion="reduce")
        page.goto(f"{server.base_url}/#user-3")
        for wrong in ("wrong", "wrong again"):
            expect(page.locator("#key-dialog")).to_be_visible()
            page.fill("#key", wrong)
            page.click("#key-form button")
            expect(page.locator("#key")).to_have_value("")
        page.fill("#key", boss)
        page.click("#key-form button")
        page.wait_for_selector("#list > li")
        expect(page.locator("#key-dialog")).to_be_hidden()
        kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
        assert boss not in kept
        page.reload()  # the key is gone
        expect(page.locator("#key-dialog")).to_be_visible()
        page.fill("#key", shop)
        page.click("#key-form button")
        expect(page.locator("#error")).to_contain_text("must have the key of an admin")
        page.get_by_role("button", name="Use another key").click()
        page.fill("#key", boss)
        page.click("#key-form button")
        page.wait_for_selector("#list > li")
        expect(page.locator("#error")).to_be_hidden()
        page.close()
