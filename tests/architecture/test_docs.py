"""Documentation that falls behind fails here."""

import re
from pathlib import Path

import typer.main

import leanrec
from leanrec.cli.app import app
from leanrec.cli.reference import reference
from leanrec.models import list_models

ROOT = Path(__file__).parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_command_line_reference_is_up_to_date() -> None:
    assert read("docs/reference/cli.md").strip() == reference().strip(), (
        "run: python -m leanrec.cli.reference > docs/reference/cli.md"
    )


def test_every_command_and_flag_has_help() -> None:
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name} has no help"


def test_every_model_is_documented() -> None:
    page = read("docs/explanation/models.md")
    for name in list_models():
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
