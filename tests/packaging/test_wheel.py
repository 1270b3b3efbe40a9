"""The wheel, installed alone in a fresh environment: small, complete, and at work outside the checkout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
LIMIT = 650_000_000


def run(*words: object, cwd: Path) -> str:
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, cwd=cwd).stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a virtual environment that holds the core install and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--quiet", "--wheel", "--outdir", folder, ROOT, cwd=folder)
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
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
    run(*pip, wheel, cwd=folder)
    return folder / "venv"


def test_the_core_install_stays_small(installed: Path) -> None:
    size = sum(file.stat().st_size for file in installed.rglob("*") if file.is_file() and not file.is_symlink())
    assert size <= LIMIT, f"{size / 1e6:.0f} MB"


def test_it_goes_from_a_log_to_a_list_and_carries_its_data(installed: Path, tmp_path: Path) -> None:
    leanrec = installed / "bin" / "leanrec"
    (tmp_path / "user_data.csv").write_text(
        "user_id,behavior,content_id,content\n1,click,a,space ships\n2,click,a,space ships\n2,like,b,space wars\n"
    )
    run(leanrec, "fit", "content", "user_data.csv", "--out", "m", cwd=tmp_path)
    served = json.loads(run(leanrec, "recommend", "m", "--user", 1, "--json", cwd=tmp_path))
    assert [item["id"] for item in served["items"]] == ["b"]
    code = (
        "import leanrec, importlib.resources as r;"
        "print(len(leanrec.load_sample('ml-latest-small').events), (r.files('leanrec') / 'serving/dashboard/index.html').is_file())"
    )
    assert run(installed / "bin" / "python", "-c", code, cwd=tmp_path).split() == ["100836", "True"]


def test_what_an_extra_brings_is_named_where_it_is_missing(installed: Path, tmp_path: Path) -> None:
    call = subprocess.run(
        [installed / "bin" / "leanrec", "recommend", "m", "--user", "1", "--plot", "x.png"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert call.returncode == 2
    assert 'pip install "leanrec[plots]"' in call.stderr
