"""``leanrec serve --config``: flags from a TOML file."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from leanrec.serving import ServingSettings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "serve.toml"


def read_printed(run: Any, *words: object) -> dict[str, Any]:
    code, out, err = run("serve", *words, "--print-config")
    assert code == 0, err
    return tomllib.loads(out)


def test_flags_win_over_the_file_and_the_file_over_defaults(run: Any, config: Path) -> None:
    config.write_text('port = 81\nmax_connections = 7\nallowed-host = ["a.example", "b.example"]\nmodel = "m"\n')
    printed = read_printed(run, "--config", config, "--port", 82)
    assert printed["port"] == 82
    assert printed["max-connections"] == 7
    assert printed["allowed-host"] == ["a.example", "b.example"]
    assert printed["model"] == "m"
    assert printed["host"] == "127.0.0.1"
    assert printed["request-timeout"] == 20


def test_what_is_printed_is_read_again(run: Any, config: Path) -> None:
    words = ['ä "b".model', "--retention-days", 0.5, "--insecure", "--event-type", "buy", "--lists-free-space", "1GB"]
    _, out, _ = run("serve", *words, "--print-config")
    config.write_text(out, encoding="utf-8")
    assert read_printed(run, "--config", config) == tomllib.loads(out)
    assert tomllib.loads(out)["model"] == 'ä "b".model'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max-conections = 7", "Got max-conections. Did you mean max-connections?"),
        ("config = 'x'", "a flag without its dashes. Got config."),
        ("[server]\nport = 1", "a flag without its dashes. Got server."),
        ("port = '81'", "must be a whole number. Got '81'."),
        ("port = true", "must be a whole number. Got True."),
        ("insecure = 1", "must be true or false. Got 1."),
        ("host = 1", "must be text in quotation marks. Got 1."),
        ("request-timeout = 'x'", "must be a number. Got 'x'."),
        ("event-type = 'click'", 'must be an array, such as ["a", "b"]. Got \'click\'.'),
        ("event-type = [1]", "must be text in quotation marks. Got 1."),
        ("max-wal = 1\nmax_wal = 2", "must be text in quotation marks. Got 1."),
        ("max-wal = '1GB'\nmax_wal = '2GB'", "must be given once. Got max-wal in two notations."),
        ("port : 81", "must be TOML with keys such as port = 8000."),
    ],
)
def test_a_wrong_file_is_refused(run: Any, config: Path, text: str, message: str) -> None:
    config.write_text(text)
    code, _, err = run("serve", "--config", config, "--print-config")
    assert code == 2
    assert message in err


def test_a_file_that_cannot_be_read_is_refused(run: Any, config: Path) -> None:
    for content in (None, b"host = '\xff'"):
        if content is not None:
            config.write_bytes(content)
        code, _, err = run("serve", "--config", config)
        assert code == 2
        assert f"{config} must be a text file that can be read" in err


def test_limits_are_checked_as_those_of_flags(run: Any, config: Path, log: Path, tmp_path: Path) -> None:
    run("fit", "popularity", log, "--out", tmp_path / "m")
    config.write_text("events-free-space = '2GB'\nlists-free-space = '1GB'")
    code, _, err = run("serve", tmp_path / "m", "--config", config)
    assert code == 2
    assert "--lists-free-space must be a number of at least 2000000000" in err
    config.write_text("max-connections = 0")
    code, _, err = run("serve", tmp_path / "m", "--config", config)
    assert code == 2
    assert "max-connections" in err


def test_a_model_must_be_given(run: Any) -> None:
    code, _, err = run("serve")
    assert code == 2
    assert "MODEL must be the folder of a model or of its versions" in err


def test_every_setting_of_a_server_has_a_key(run: Any) -> None:
    _, out, _ = run("serve", "--print-config")
    keys = {line.removeprefix("# ").partition(" =")[0] for line in out.splitlines()}
    special = {
        "event_types": "event-type",
        "allowed_hosts": "allowed-host",
        "learning": "learn",
        "load": "latency-target-ms",
        "retention": "retention-days",
        "storage": "max-wal",
    }
    names = {special.get(name, name.replace("_", "-")) for name in ServingSettings.__dataclass_fields__}
    assert names <= keys
