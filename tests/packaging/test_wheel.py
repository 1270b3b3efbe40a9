"""The wheel, installed alone in a fresh environment: its size, its data, and its commands outside the checkout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
MAX_BYTES = 650_000_000


def run_command(*words: object, cwd: Path) -> str:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, cwd=cwd).stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a virtual environment with the core install alone."""
    folder = tmp_path_factory.mktemp("wheel")
    run_command(sys.executable, "-m", "build", "--quiet", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    run_command(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    wheel = next(folder.glob("*.whl"))
    pip = (
        folder / "venv" / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--constraint",
        ROOT / "constraints.txt",
    )
    run_command(*pip, wheel, cwd=folder)
    return folder / "venv"


def test_the_core_install_stays_small(installed: Path) -> None:
    size = sum(file.stat().st_size for file in installed.rglob("*") if file.is_file() and not file.is_symlink())
    assert size <= MAX_BYTES, f"{size / 1e6:.0f} MB"


def test_the_installed_package_fits_recommends_and_has_its_data(installed: Path, tmp_path: Path) -> None:
    leanrec = installed / "bin" / "leanrec"
    (tmp_path / "user_data.csv").write_text(
        "user_id,behavior,content_id,content\n1,click,a,space ships\n2,click,a,space ships\n2,like,b,space wars\n"
    )
    run_command(leanrec, "fit", "content", "user_data.csv", "--out", "m", cwd=tmp_path)
    served = json.loads(run_command(leanrec, "recommend", "m", "--user", 1, "--json", cwd=tmp_path))
    assert [item["id"] for item in served["items"]] == ["b"]
    code = (
        "import leanrec, importlib.resources as r;"
        "print(len(leanrec.load_sample('ml-latest-small').events), (r.files('leanrec') / 'serving/dashboard/index.html').is_file())"
    )
    assert run_command(installed / "bin" / "python", "-c", code, cwd=tmp_path).split() == ["100836", "True"]


def test_a_missing_extra_is_named(installed: Path, tmp_path: Path) -> None:
    call = subprocess.run(
        [installed / "bin" / "leanrec", "recommend", "m", "--user", "1", "--plot", "x.png"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert call.returncode == 2
    assert 'pip install "leanrec[plots]"' in call.stderr
