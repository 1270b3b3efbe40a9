"""Documentation that falls behind fails here."""

import re
from pathlib import Path

import typer.main

import leanrec
from leanrec.cli.app import app
from leanrec.models import available

ROOT = Path(__file__).parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_command_and_flag_is_documented_and_has_help() -> None:
    page = read("docs/reference/cli.md")
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"## leanrec {name}" in page, name
        section = page.partition(f"## leanrec {name}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            assert getattr(parameter, "help", None) or parameter.name == "help", f"{name} {parameter.name} has no help"
            for flag in parameter.opts:
                assert flag.startswith("--help") or flag.strip("-") in section or flag in section, f"{name} {flag}"


def test_every_model_is_documented() -> None:
    page = read("docs/concepts/models.md")
    for name in available():
        assert f"`{name}`" in page, name


def test_every_public_name_is_documented() -> None:
    page = read("docs/reference/python.md")
    for name in leanrec.__all__:
        assert f"leanrec.{name}" in page, name


def test_the_tree_in_the_readme_is_the_tree() -> None:
    readme = read("README.md")
    for file in sorted((ROOT / "src" / "leanrec").rglob("*.py")):
        if file.name != "__init__.py" and not file.name.startswith("_"):
            assert file.name in readme, f"README tree lacks {file.relative_to(ROOT)}"


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", read("mkdocs.yml")))
    assert {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} == listed
