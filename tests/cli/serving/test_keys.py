"""``leanrec keys``: a key is printed once, and kept nowhere."""

from pathlib import Path
from typing import Any

from leanrec.serving.security.api_keys import ApiKeys


def test_a_key_is_made_and_printed(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    code, out, err = run("keys", "add", file, "--name", "shop", "--rate", 10)
    assert (code, err) == (0, "")
    key = out.strip()
    found = ApiKeys.read(file).find(key.encode())
    assert found is not None
    assert (found.name, found.role, found.rate) == ("shop", "client", 10.0)
    assert key not in file.read_text()
    code, out, err = run("keys", "add", file, "--name", "shop")
    assert (code, out) == (2, "")
    assert "different names" in err


def test_a_server_without_keys_or_with_wrong_ones_does_not_start(run: Any, log: Path, tmp_path: Path) -> None:
    run("fit", "popularity", log, "--out", tmp_path / "m")
    code, _, err = run("serve", tmp_path / "m", "--host", "0.0.0.0", "--port", 0)
    assert code == 2
    assert "--keys FILE" in err
    assert "--insecure" in err
    (tmp_path / "keys.toml").write_text("key")
    code, _, err = run("serve", tmp_path / "m", "--keys", tmp_path / "keys.toml")
    assert code == 2
    assert "leanrec keys add" in err
    code, _, err = run("serve", tmp_path / "m", "--tls-cert", tmp_path / "none.pem")
    assert code == 2
    assert "--tls-cert must be a file with a certificate" in err
