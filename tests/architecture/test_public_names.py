"""The public surface: lazy exports, and imports from public packages only outside of the source."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import leanrec

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "leanrec",
    "leanrec.client",
    "leanrec.data",
    "leanrec.evaluation",
    "leanrec.evaluation.metrics",
    "leanrec.events",
    "leanrec.features",
    "leanrec.nn",
    "leanrec.online",
    "leanrec.online.experiments",
    "leanrec.pipeline",
    "leanrec.compression",
    "leanrec.retrieval",
    "leanrec.serving",
    "leanrec.training",
)
MODULES = {
    f"leanrec.{name}"
    for name in ("artifacts", "callbacks", "errors", "models", "protocols", "run", "settings", "types", "units")
}
# What benchmarks measure below the public surface.
MEASURED = {
    "leanrec.compression",
    "leanrec.evaluation.compression",
    "leanrec.evaluation.frontier",
    "leanrec.integrations.redis",
    "leanrec.kernels",
    "leanrec.models.ctr.core.training",
    "leanrec.models.sequential.core",
    "leanrec.online.refits.drift",
    "leanrec.online.trials",
    "leanrec.pipeline.lists",
    "leanrec.serving.load",
    "leanrec.training.sharded_embedding",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_export_can_be_imported_and_is_declared_for_type_checkers(package: str) -> None:
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
    assert set(module.__all__) <= set(dir(module))
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    declared = {alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(module.__all__) == declared - {None}


def test_the_root_has_about_two_dozen_names() -> None:
    assert 20 <= len(leanrec.__all__) <= 28


def test_exports_win_over_modules_of_the_same_name() -> None:
    code = (
        "import leanrec.evaluation.evaluate, leanrec.evaluation.frontier.frontier, leanrec.data.ingest.ingest;"
        "from leanrec.evaluation import evaluate, frontier; from leanrec.data import ingest;"
        "print(callable(evaluate), callable(frontier), callable(ingest))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * 3


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'recommend_all'"):
        _ = leanrec.recommend_all
    with pytest.raises(ImportError):
        exec("from leanrec.evaluation import no_such_name")


def test_every_package_with_exports_has_a_page() -> None:
    text = (ROOT / "docs" / "generate.py").read_text(encoding="utf-8")
    listed = set(re.findall(r'^    "(leanrec[\w.]*)",$', text, re.MULTILINE))
    assert listed == {*PACKAGES, *MODULES}
    source = ROOT / "src"
    lazy = [file.parent for file in source.rglob("__init__.py") if "export_lazily(" in file.read_text(encoding="utf-8")]
    assert {".".join(folder.relative_to(source).parts) for folder in lazy} == set(PACKAGES)


def test_names_in_prose_are_public_and_exist() -> None:
    public = {*PACKAGES, *MODULES, "leanrec.cli", "leanrec.cli.messages"}
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for file in [*files, *(ROOT / "src").rglob("*.py")]:
        for path in re.findall(r"`(leanrec(?:\.\w+)+)`", file.read_text(encoding="utf-8")):
            package, _, name = path.rpartition(".")
            exists = path in public or (package in public and hasattr(importlib.import_module(package), name))
            assert exists or file.name == "_lazy.py", f"{file}: {path}"


def code_of(file: Path) -> Iterator[str]:
    """The Python code of a file: all of it, or the code blocks of a Markdown page."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        yield text
        return
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        prompts = [line[4:] for line in block.splitlines() if line.startswith((">>> ", "... "))]
        yield "\n".join(prompts) if prompts else block


def imported_modules(code: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "leanrec":
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "leanrec")


def test_documents_and_benchmarks_import_from_public_packages() -> None:
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.py")]
    recipes = ROOT / "src" / "leanrec" / "recipes"
    private = []
    for file in [*files, *recipes.rglob("*.py")]:
        for module in (name for code in code_of(file) for name in imported_modules(code)):
            measured = file.suffix == ".py" and any(f"{module}.".startswith(f"{each}.") for each in MEASURED)
            if module not in {*PACKAGES, *MODULES} and not measured:
                private.append(f"{file.relative_to(ROOT)}: {module}")
    assert not private, "\n".join(private)
