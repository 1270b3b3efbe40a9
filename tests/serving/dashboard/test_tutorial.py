"""The commands of the tutorial and of the README lead to a list that a click changes."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from contracts.browser import open_browser

ROOT = Path(__file__).parents[3]


@pytest.fixture
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


def find_commands(page: str) -> list[str]:
    """The three commands of a page, from the installation to the server."""
    found = re.search(
        r"^    pip install \.\n    (leanrec fit .+)\n    (leanrec serve .+)\n",
        (ROOT / page).read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert found is not None, page
    return list(found.groups())


def test_both_pages_have_the_same_commands() -> None:
    assert find_commands("README.md") == find_commands("docs/tutorials/serve-a-model.md")


def test_the_commands_lead_to_a_changed_list(browser: Any, tmp_path: Path) -> None:
    rows = [f"{user},{(user * 7 + step * (1 + user % 3)) % 30},{step}" for user in range(40) for step in range(8)]
    (tmp_path / "my_log.csv").write_text("user,item,timestamp\n" + "\n".join(rows) + "\n", encoding="utf-8")
    fit, serve = ([sys.executable, "-m", *each.split()] for each in find_commands("README.md"))
    subprocess.run(fit, cwd=tmp_path, check=True, capture_output=True)
    with subprocess.Popen([*serve, "--port", "0"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://[\d.:]+", server.stdout.readline())
            assert address is not None
            page = browser.new_page()
            page.goto(address[0])
            page.wait_for_selector("#list > li")
            before = page.locator("#list .name").all_inner_texts()
            page.get_by_role("button", name=f"Click {before[0]}", exact=True).click()
            expect(page.locator("#change")).to_contain_text("The list changed")
            after = page.eval_on_selector_all(
                "#list .name", "names => names.map((name) => name.firstChild.textContent)"
            )
            assert before[0] not in after
            page.click("#tab-traffic")
            expect(page.locator("#traffic-tiles")).to_contain_text("Requests")
            page.close()
        finally:
            server.terminate()
