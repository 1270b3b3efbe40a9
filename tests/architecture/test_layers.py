"""The folders are the architecture: imports point one way, and stay light."""

import subprocess
import sys
from pathlib import Path

import leanrec

ROOT = Path(__file__).parents[2]


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_imports_point_down_the_layers() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint, "--config", ROOT / "pyproject.toml"], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stdout


def test_importing_leanrec_loads_no_library() -> None:
    loaded = python(
        "import leanrec, sys; print(*(m for m in ('numpy', 'scipy', 'numba', 'torch', 'matplotlib', 'sklearn') if m in sys.modules))"
    )
    assert loaded == ""


def test_serving_a_linear_model_loads_no_heavy_library() -> None:
    code = (
        "import sys, leanrec.serving.app, leanrec.serving.pipeline, leanrec.models.collaborative.ease;"
        "print(*(m for m in ('torch', 'matplotlib', 'sklearn', 'pandas') if m in sys.modules))"
    )
    assert python(code) == ""


def test_every_public_name_is_there() -> None:
    for name in leanrec.__all__:
        assert getattr(leanrec, name) is not None
    assert set(leanrec.__all__) < set(dir(leanrec))


def test_every_module_lists_its_public_names() -> None:
    for file in (ROOT / "src" / "leanrec").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if file.name != "__init__.py" and not file.name.startswith("_"):
            assert "__all__ = [" in text, file
