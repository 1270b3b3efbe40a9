"""The folders are the architecture: imports point one way, and stay light."""

import subprocess
import sys
import tomllib
from pathlib import Path

from leanrec.models import list_models

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
        "import sys, leanrec.serving.app, leanrec.pipeline.pipeline, leanrec.models.linear.ease;"
        "print(*(m for m in ('torch', 'matplotlib', 'sklearn', 'pandas') if m in sys.modules))"
    )
    assert python(code) == ""


def without_torch() -> list[str]:
    """The modules that the contract of pyproject.toml keeps from torch."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return next(each["source_modules"] for each in contracts if "torch" in each.get("forbidden_modules", ()))


def test_models_that_need_no_torch_do_not_load_it() -> None:
    modules = {info.module: info.extra for info in list_models().values()}
    light = [name for name, extra in modules.items() if not extra]
    assert python(f"import sys, {', '.join(light)}; print('torch' in sys.modules)") == "False"
    for name in light:
        assert any(f"{name}.".startswith(f"{kept}.") for kept in without_torch()), f"name {name} in the contract"


def test_a_model_that_needs_torch_names_the_extra_where_it_is_missing() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from leanrec.models import get_model, list_models; print(*list_models());"
        "from leanrec.errors import MissingExtraError\n"
        "try: get_model('sasrec')\nexcept MissingExtraError as error: print(error)"
    )
    listed, message = python(code).splitlines()
    assert "sasrec" in listed.split()
    assert message.startswith("The model 'sasrec' needs an optional package.")
    assert 'pip install "leanrec[deep]"' in message


def test_every_module_lists_its_public_names() -> None:
    for file in (ROOT / "src" / "leanrec").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if file.name != "__init__.py" and not file.name.startswith("_"):
            assert "__all__ = [" in text, file
