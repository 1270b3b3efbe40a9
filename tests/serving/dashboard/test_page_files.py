"""The files of the page, and how they depend on each other."""

import re
from importlib.resources import files

import leanrec.serving.dashboard
from leanrec.serving.dashboard.page_files import PAGE_FILES

FOLDER = files(leanrec.serving.dashboard)
NAMES = {name for name, _ in PAGE_FILES.values()}


def test_every_file_of_the_folder_is_served() -> None:
    assert {each.name for each in FOLDER.iterdir() if each.name.endswith((".html", ".css", ".js"))} == NAMES


def test_modules_import_names_that_the_other_exports() -> None:
    texts = {name: FOLDER.joinpath(name).read_text(encoding="utf-8") for name in NAMES if name.endswith(".js")}
    for text in texts.values():
        for names, module in re.findall(r'import \{ ([^}]+) \} from "\./([\w.]+)"', text):
            for name in names.split(", "):
                assert re.search(rf"export (async )?(function|const|class) {re.escape(name)}(?!\w)", texts[module]), (
                    name
                )
                assert len(re.findall(rf"(?<!\w)(?<![^.]\.){re.escape(name)}(?!\w)", text)) > 1, f"{name} is not used"


def test_every_element_that_a_module_asks_for_is_in_the_page() -> None:
    page = FOLDER.joinpath("index.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for name in NAMES:
        if name.endswith(".js"):
            for asked in re.findall(r'\$\("([^"]+)"\)', FOLDER.joinpath(name).read_text(encoding="utf-8")):
                assert asked in ids, (name, asked)


def test_the_page_has_no_style_and_no_script_of_its_own() -> None:
    page = FOLDER.joinpath("index.html").read_text(encoding="utf-8")
    assert not re.search(
        r"<style|\sstyle=|\son\w+=|<script(?![^>]*\bsrc=)", page
    )  # the policy of the page forbids them
