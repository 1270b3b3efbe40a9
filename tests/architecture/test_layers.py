"""The folders are the architecture: imports point one way, and stay light."""

import os
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


def test_a_saved_model_that_is_trained_with_torch_is_served_without_it() -> None:
    trained = [info for info in list_models().values() if info.family in {"sequential", "deep", "ctr"}]
    names = [info.name for info in trained]
    assert {info.module for info in trained} < set(without_torch())
    code = (
        "import sys; from leanrec import artifacts; from golden.generate import ARTIFACTS, golden_dataset\n"
        f"for name in {names}: print(artifacts.load(ARTIFACTS / name).score(golden_dataset().queries()).shape[0] > 0)\n"
        "print('torch' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
    )
    assert found.stdout.split() == ["True"] * len(names) + ["False"]


def test_a_fit_that_needs_torch_names_the_extra_where_it_is_missing() -> None:
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'torch': raise ModuleNotFoundError('no torch', name='torch')\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "import leanrec; from leanrec.errors import MissingExtraError\n"
        "from leanrec.models import get_model\n"
        "data = leanrec.load_sample('ml-latest-small')\n"
        "for name in ('deepfm', 'sasrec', 'kgin', 'neumf'):\n"
        "    try: get_model(name)().fit(data)\n"
        "    except MissingExtraError as error: print(error)"
    )
    messages = python(code).splitlines()
    assert len(messages) == 4
    for name, message in zip(("deepfm", "sasrec", "kgin", "neumf"), messages, strict=True):
        assert message.startswith(f"The model {name!r} needs an optional package."), message
        assert 'pip install "leanrec[deep]"' in message


def test_every_module_lists_its_public_names() -> None:
    for file in (ROOT / "src" / "leanrec").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if file.name != "__init__.py" and not file.name.startswith("_"):
            assert "__all__ = [" in text, file
