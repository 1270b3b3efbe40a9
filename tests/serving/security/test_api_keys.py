"""Files of API keys, the search for a key, and limits of rate."""

import hashlib
import hmac
import stat
import time
from pathlib import Path

import pytest

from leanrec.errors import SettingError
from leanrec.serving.security import api_keys
from leanrec.serving.security.api_keys import ApiKey, ApiKeys, RateLimit, add_key


def test_a_made_key_is_found_and_only_its_digest_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    shop, boss = add_key(file, "shop", "client", 5), add_key(file, "boss", "admin")
    assert shop != boss
    assert len(shop) > 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert shop not in text
    assert hashlib.sha256(shop.encode()).hexdigest() in text
    keys = ApiKeys.read(file)
    found = keys.find(shop.encode())
    assert found is not None
    assert (found.name, found.role, found.rate) == ("shop", "client", 5.0)
    assert keys.find(boss.encode()) == keys.keys[1]
    for wrong in (b"", b"\xff", shop[:-1].encode(), found.sha256.encode()):
        assert keys.find(wrong) is None
    assert found.sha256 not in repr(found)


def test_every_digest_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return hmac.compare_digest(first, second)

    keys = ApiKeys([ApiKey(f"k{n}", hashlib.sha256(b"%d" % n).hexdigest(), "client") for n in range(5)])
    monkeypatch.setattr(api_keys, "hmac", type("Module", (), {"compare_digest": staticmethod(compare)}))
    for key in (b"0", b"4", b"unknown"):
        compared.clear()
        keys.find(key)
        assert len(compared) == 5
        assert {len(each) for pair in compared for each in pair} == {32}


SECRET = "leanrec_secret-that-nobody-may-see"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have tables"),
        (f'key = "{SECRET}"', "must have tables"),
        (f"[[key]]\nname = {SECRET}", "must be TOML"),
        (f'[[key]]\nname = "shop"\nsha256 = "{SECRET}"\nrole = "client"', "64 hexadecimal digits"),
        (f'[[key]]\nname = "shop"\nkey = "{SECRET}"\nrole = "client"', "Key 1 of"),
        ('[[key]]\nname = "shop"\nsha256 = "{0}"\nrole = "root"', "must be client or admin"),
        ('[[key]]\nname = "a b"\nsha256 = "{0}"\nrole = "admin"', "The name of a key must have"),
        ('[[key]]\nname = "shop"\nsha256 = "{0}"\nrole = "admin"\nrate = 0', "must be above 0"),
        ('[[key]]\nname = "shop"\nsha256 = "{0}"\nrole = "admin"\nrate = nan', "must be above 0"),
        ('[[key]]\nname = "shop"\nsha256 = "{0}"\nrole = "admin"\nrate = true', "Key 1 of"),
        ('[[key]]\nname = "shop"\nsha256 = "{0}"\nrole = "admin"\n' * 2, "different names"),
    ],
)
def test_a_wrong_file_is_refused_and_no_key_is_shown(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(text.replace("{0}", "0" * 64))
    with pytest.raises(SettingError, match=message) as caught:
        ApiKeys.read(file)
    assert SECRET not in str(caught.value)


def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="must be readable text"):
        ApiKeys.read(tmp_path / "none.toml")
    with pytest.raises(SettingError, match="must be writable"):
        add_key(tmp_path / "none" / "keys.toml", "shop", "client")
    add_key(tmp_path / "keys.toml", "shop", "client")
    before = (tmp_path / "keys.toml").read_text()
    with pytest.raises(SettingError, match="different names"):
        add_key(tmp_path / "keys.toml", "shop", "admin")
    assert (tmp_path / "keys.toml").read_text() == before


def test_a_rate_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    limit = RateLimit(4.0)
    assert [limit.take() for _ in range(5)] == [0, 0, 0, 0, 0.25]
    taken = 0
    for step in range(1, 101):
        now = step / 10
        taken += limit.take() == 0
    assert taken == 40
    now = 1000.0
    assert [limit.take() > 0 for _ in range(5)] == [False] * 4 + [True]
    slow = RateLimit(0.5)
    assert (slow.take(), slow.take()) == (0.0, 2.0)
