"""The shared cache of a URL."""

import importlib.util

import pytest

from leanrec.errors import MissingExtraError, SettingError
from leanrec.serving.serving_settings import ServingSettings
from leanrec.serving.shared_cache import check_cache_url


@pytest.mark.parametrize("url", ["localhost:6379", "memcached://localhost", "http://a:secret@localhost", "redis", ""])
def test_a_url_of_another_scheme(url: str) -> None:
    with pytest.raises(SettingError, match=r"cache must be a URL such as redis://localhost:6379/0") as refused:
        check_cache_url(url)
    assert "secret" not in str(refused.value)


def test_the_client_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"leanrec\[redis\]"):
        ServingSettings(cache="redis://localhost")


@pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "valkeys"])
def test_urls_of_redis_and_valkey(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    settings = ServingSettings(cache=f"{scheme}://:secret@localhost:6379/0")
    assert "secret" not in repr(settings)
