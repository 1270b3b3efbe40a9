"""Documentation that is out of date fails here."""

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer.main
from typer.testing import CliRunner

import leanrec.models
from leanrec.cli.app import app
from leanrec.evaluation.frontier.candidates import parse_candidates
from leanrec.models import baselines, get_model, list_models, parse_model
from leanrec.settings import describe_settings

ROOT = Path(__file__).parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_up_to_date(generate: ModuleType) -> None:
    pages = generate.build_pages()
    written = {file.name for file in (ROOT / "docs" / "reference").glob("*.md")}
    stale = [
        name for name in pages if name not in written or read(f"docs/reference/{name}").strip() != pages[name].strip()
    ]
    assert not stale, f"run: python docs/generate.py ({', '.join(stale)})"
    assert written == set(pages)


def test_documented_names_are_the_exported_names(generate: ModuleType) -> None:
    for package in generate.PUBLIC:
        page = read(f"docs/reference/{generate.page_name(package)}")
        assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) - {"Models"} == set(generate.public_names(package))


def test_every_public_name_has_a_docstring(generate: ModuleType) -> None:
    for package in generate.PUBLIC:
        module = importlib.import_module(package)
        for name in generate.public_names(package):
            value = getattr(module, name)
            if callable(value) and getattr(value, "__module__", "").startswith("leanrec"):
                assert value.__doc__, f"{package}.{name}"


def test_defaults_in_signatures_are_those_of_the_code(generate: ModuleType) -> None:
    page = generate.build_package_page("leanrec")
    assert "\n    valid: float = 0.1,\n" in page
    assert "\n    known: float = 0.8,\n" in page
    assert "\n    time_kind: TimeKind = UNKNOWN,\n" in page


def test_every_module_begins_with_one_short_sentence() -> None:
    for file in (ROOT / "src" / "leanrec").rglob("*.py"):
        line = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        assert line.endswith("."), f"{file}: {line}"
        assert ". " not in line, f"{file}: {line}"
        assert len(line) <= 120, f"{file}: {line}"


def test_every_command_and_flag_has_help() -> None:
    commands = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    for name, command in [*commands.items()]:
        commands |= {f"{name} {part}": each for part, each in getattr(command, "commands", {}).items()}
    for name, command in commands.items():
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name} has no help"


def test_every_model_says_when_to_use_it_and_what_it_costs(generate: ModuleType) -> None:
    for info in list_models().values():
        assert generate.find_paragraph(info.settings, "When to use: "), info.name
        assert generate.find_paragraph(info.settings, "Cost"), info.name
        assert len((sys.modules[info.module].__doc__ or "").split("\n\n")) > 1, f"{info.module} names no paper"


def test_the_guide_to_models_names_models_only() -> None:
    page = read("docs/explanation/models.md")
    named = re.findall(r"`([a-z][a-z0-9_]+)`", page)
    assert set(named) <= {*list_models(), "fit", "top_k"}


NEW_MODEL = '''
"""Uniform: every item has the same score.

Nobody, "No Paper", 2026.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from leanrec.settings import check_settings, setting

__all__ = ["Uniform", "UniformModel"]


@dataclasses.dataclass(frozen=True)
class Uniform:
    """The same score for all items.

    When to use: never.

    Cost: fit O(1); a query O(N).
    """

    READS: ClassVar[frozenset[str]] = frozenset({"history", "times"})
    VARIANTS = ({"value": 2.0},)

    value: float = setting(1.0, above=0, doc="The score.")

    def __post_init__(self) -> None:
        check_settings(self)

    def fit_bytes(self, shape):
        return 0

    def fit(self, data, run=None):
        return UniformModel(settings=self, n_items=data.n_items)


@dataclasses.dataclass(frozen=True)
class UniformModel:
    settings: Uniform
    n_items: int

    def score(self, queries, items=None):
        return np.full((len(queries), self.n_items), self.settings.value, np.float32)
'''


def test_a_new_model_is_one_file(generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uniform.py").write_text(NEW_MODEL.lstrip(), encoding="utf-8")
    monkeypatch.setattr(baselines, "__path__", [*baselines.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "leanrec.models.baselines.uniform", raising=False)
    list_models.cache_clear()
    try:
        kind = get_model("uniform")
        assert leanrec.models.Uniform is kind
        assert parse_model("uniform,value=3") == kind(value=3.0)
        listed = CliRunner().invoke(app, ["models", "--reads", "times"], env={"COLUMNS": "200"}).output
        assert "Uniform: every item has the same score." in listed
        assert "uniform value=2" in [each.name for each in parse_candidates(["uniform"], variants=True)]
        pages = generate.build_pages()
        assert "| `Uniform` | [`uniform`](model-settings.md#uniform) |" in pages["models.md"]
        page = pages["model-settings.md"]
        assert "| [`uniform`](#uniform) | never. | history, times | seconds |" in page
        section = page.partition("\n## uniform\n")[2].partition("\n## ")[0]
        assert 'Nobody, "No Paper", 2026.' in section
        assert "Cost: fit O(1); a query O(N)." in section
        assert "`leanrec frontier` also tries `value=2.0`." in section
        assert "| `value` | float | `1.0` | > 0 |  | The score. |" in section
    finally:
        list_models.cache_clear()
        sys.modules.pop("leanrec.models.baselines.uniform", None)


def test_every_setting_of_a_model_is_described() -> None:
    missing = [
        f"{info.name}.{each.name}"
        for info in list_models().values()
        for each in describe_settings(info.settings)
        if not each.doc
    ]
    assert not missing


def test_settings_in_documents_exist() -> None:
    settings = {info.name: {each.name for each in describe_settings(info.settings)} for info in list_models().values()}
    pages = [page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "reference"]
    for page in [ROOT / "README.md", *pages]:
        text = page.read_text(encoding="utf-8")
        given = re.findall(r"(?:--model|-m)[ =](\w+)((?:,\w+=(?:\[[^\]]*\]|[^\s,`\]]+))+)", text)
        given += re.findall(r"leanrec (?:fit|tune) ([a-z]\w+)([^\n`]*)", text)
        for name, options in given:
            for setting in re.findall(r"(?:,|--set )(\w+)=", options):
                assert setting in settings[name], f"{page}: {name} has no setting {setting}"


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"[\w/-]+\.md", read("mkdocs.yml")))
    assert {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} == listed


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    readme = read("README.md")
    assert readme.count("\n") <= 120
    for link in re.findall(r"\]\(([^)#\s]+)\)", readme):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_changelog_fragments_have_a_known_type() -> None:
    for file in (ROOT / "changelog.d").glob("*.md"):
        assert file.name == "README.md" or file.suffixes[0] in {".added", ".changed", ".fixed", ".removed"}, file.name
