"""Shared cache: what several servers share in another program, found by the scheme of its URL."""

import importlib
import importlib.util
import logging
from typing import Protocol

from leanrec.errors import MissingExtraError, SettingError
from leanrec.pipeline.lists.shared_lists import ListStore
from leanrec.serving.monitoring.server_log import log_event
from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.security.api_keys import ApiKey, TokenBucket

__all__ = ["SharedCache", "check_cache_url", "open_shared_cache", "report_cache_problem"]

# Scheme → module with the class, the class, the package that it needs, and the extra that installs it.
_REDIS = ("leanrec.integrations.redis", "RedisCache", "valkey", "redis")
_BY_SCHEME = dict.fromkeys(("redis", "rediss", "valkey", "valkeys"), _REDIS)

OUTCOMES = ("hit", "miss", "error", "skipped", "damaged")  # of a question for a list


class SharedCache(Protocol):
    """A cache that several servers share. All of it works without waiting while the cache is away, by each server alone.

    Attributes:
        lists: recommendation lists.
    """

    lists: ListStore

    def limit_rate(self, key: ApiKey) -> TokenBucket:
        """The limit of a key over all servers."""

    def find_problem(self) -> str | None:
        """What the operator should know of the cache, or None."""

    def close(self) -> None:
        """Send what waits, and disconnect."""


def check_cache_url(url: str) -> None:
    """Raise SettingError for a URL that names no cache, and MissingExtraError unless its client is installed."""
    scheme = url.partition("://")[0]
    if scheme not in _BY_SCHEME or "://" not in url:
        shown = scheme if "://" in url else "none"  # the rest may have a password in it
        raise SettingError(
            f"cache must be a URL such as redis://localhost:6379/0, with one of the schemes {', '.join(_BY_SCHEME)}. "
            f"Got the scheme {shown!r:.40}."
        )
    _, _, package, extra = _BY_SCHEME[scheme]
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError("A shared cache", extra)


def open_shared_cache(url: str, metrics: ServingMetrics) -> SharedCache:
    """The cache of a URL, which connects at its first use. Raises SettingError and MissingExtraError."""
    check_cache_url(url)
    module, name, _, _ = _BY_SCHEME[url.partition("://")[0]]
    counters = {outcome: metrics.shared_lists.labels(outcome) for outcome in OUTCOMES}

    def count(outcome: str) -> None:
        counters[outcome].inc()

    opened: SharedCache = getattr(importlib.import_module(module), name)(url, count, _warn)
    return opened


def report_cache_problem(url: str) -> None:
    """Tell the operator what is wrong with a cache, if anything is. Waits for seconds at most.

    Raises SettingError for a wrong password.
    """
    cache = open_shared_cache(url, ServingMetrics())
    problem = cache.find_problem()
    if problem is not None:
        _warn(problem)


def _warn(message: str) -> None:
    log_event("cache", message, level=logging.WARNING)
