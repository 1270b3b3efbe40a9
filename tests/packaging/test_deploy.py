"""What is in deploy/ fits the program: settings, flags, paths."""

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main

from leanrec.cli import main
from leanrec.cli.app import app

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def unit() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "leanrec.service")
    return parser


def test_the_settings_are_those_of_the_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["leanrec", "serve", "--config", str(DEPLOY / "serve.toml"), "--print-config"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    printed = tomllib.loads(capsys.readouterr().out)
    assert printed.items() >= tomllib.loads((DEPLOY / "serve.toml").read_text()).items()
    assert printed["workers"] > 1, "a restart without lost requests needs more than one"


def test_settings_that_are_comments_exist_too() -> None:
    text = (DEPLOY / "serve.toml").read_text()
    keys = re.findall(r"^# ([a-z-]+) = ", text, re.MULTILINE)
    flags = {flag for each in typer.main.get_command(app).commands["serve"].params for flag in each.opts}  # type: ignore[attr-defined]
    assert keys
    assert {f"--{key}" for key in keys} <= flags


def test_the_unit_waits_for_the_server_and_restarts_it_gracefully(unit: configparser.RawConfigParser) -> None:
    service = unit["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert service["ExecReload"].split()[1:] == ["-HUP", "$MAINPID"]
    assert service["ExecStart"].split()[1:] == ["serve", "--config", "/etc/leanrec/serve.toml"]
    settings = tomllib.loads((DEPLOY / "serve.toml").read_text())
    assert settings["event-log"].startswith(f"/var/lib/{service['StateDirectory']}/")
    assert settings["keys"].startswith(f"/etc/{service['ConfigurationDirectory']}/")


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Where systemd is installed; a container has none."""
    if (analyze := shutil.which("systemd-analyze")) is None:
        return
    text = (DEPLOY / "leanrec.service").read_text().replace("/opt/leanrec/bin/leanrec", "/bin/true")
    file = tmp_path / "leanrec.service"
    file.write_text(text)
    done = subprocess.run([analyze, "verify", "--man=no", str(file)], capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if "leanrec.service" in line]
    assert lines == []


def test_image_and_container_use_the_same_paths() -> None:
    image, compose = (DEPLOY / "Dockerfile").read_text(), (DEPLOY / "compose.yaml").read_text()
    settings = tomllib.loads((DEPLOY / "serve.toml").read_text())
    assert f":{settings['keys']}:ro" in compose
    assert f':{settings["port"]}"' in compose
    assert f"EXPOSE {settings['port']}" in image
    assert "/etc/leanrec/serve.toml" in image
    assert "/etc/leanrec/serve.toml" in compose
    root = DEPLOY.parent
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", image, re.MULTILINE):
        assert all((root / each).exists() for each in copied.split())
