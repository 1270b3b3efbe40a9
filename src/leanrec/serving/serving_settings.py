"""Settings of a server."""

import dataclasses
from pathlib import Path

from leanrec.errors import SettingError
from leanrec.events.records import RetentionPolicy, StorageLimits
from leanrec.online.learning.online_learner import LearningSettings
from leanrec.pipeline.lists.rules import ListRules
from leanrec.serving.connections import check_certificate
from leanrec.serving.load.quality import LoadLimits
from leanrec.serving.monitoring.server_log import LOG_FORMATS
from leanrec.serving.monitoring.tracing import check_tracing
from leanrec.serving.security.api_keys import ApiKeys
from leanrec.serving.security.hosts import check_allowed_hosts
from leanrec.serving.shared_cache import check_cache_url
from leanrec.settings import check_at_least, check_between, check_one_of, check_positive

__all__ = ["ServingSettings"]

_MAX_EVENT_TYPES = 50
# Event types that a server accepts besides those of the data.
_EVENT_TYPES = ("view", "click", "like", "cart", "purchase", "rating", "skip")


@dataclasses.dataclass(frozen=True)
class ServingSettings:
    """Settings of a server.

    Attributes:
        event_types: event types to accept besides those of the data; any other gets status 422.
        rebind_log: accept an event store that is bound to other data, because its ids mean the same users and items.
        retention: how long served lists are kept.
        storage: the space that the event log leaves on its disk.
        allowed_hosts: names in the Host header to answer to besides localhost and the address of the server, such as that of a
            proxy; ``*.example.com`` for all below a name, ``*`` for any. Others get status 421.
        max_connections: largest number of open connections; any other is closed with status 503. Fewer where the process may
            not open as many files.
        request_timeout: seconds in which a request must arrive, and in which a client must take more of an answer.
        keys: who may ask; None = any client, which `serve` allows on an address of this machine only.
        insecure: allow any address without keys, because something else keeps strangers out.
        tls_cert: file with the certificate of the server and those between it and the root, in PEM; with it answers are by HTTPS.
        tls_key: file with its private key; None: it is in the same file.
        load: how many lists may be in flight, and when they get simpler.
        explore: probability with which each place of a list shows another of the best items; see ``Pipeline.recommend``.
        list_rules: pinned items and limits on items that are alike, of all lists for users; see ``Pipeline.use_rules``. None = none.
        learning: how the model learns from the events of all users while it is served; None = not at all.
        cache: URL of a Redis or Valkey server, such as ``redis://localhost:6379/0``, in which servers share lists and the rates of
            keys; None: each has its own. It pays only where a list takes milliseconds. Needs the extra ``redis``.
        log_format: "text" or "json", of the lines that `serve` writes to standard error.
        slow_request: seconds of a request from which on it is logged.
        trace_endpoint: address of a collector of OpenTelemetry, such as ``http://localhost:4318/v1/traces``, to which traces
            of requests are sent; None: there are none. Needs the extra ``otel``.
        trace_share: share of the requests that are traced, where the client does not say.
    """

    event_types: tuple[str, ...] = _EVENT_TYPES
    rebind_log: bool = False
    retention: RetentionPolicy = RetentionPolicy()
    storage: StorageLimits = StorageLimits()
    allowed_hosts: tuple[str, ...] = ()
    max_connections: int = 1_000
    request_timeout: float = 20.0
    keys: ApiKeys | None = None
    insecure: bool = False
    tls_cert: str | Path | None = None
    tls_key: str | Path | None = None
    load: LoadLimits = LoadLimits()
    explore: float = 0.0
    list_rules: ListRules | None = None
    learning: LearningSettings | None = None
    cache: str | None = dataclasses.field(default=None, repr=False)  # it may have a password
    log_format: str = "text"
    slow_request: float = 1.0
    trace_endpoint: str | None = None
    trace_share: float = 0.01

    def __post_init__(self) -> None:
        check_at_least("max_connections", self.max_connections, 1)
        check_positive("request_timeout", self.request_timeout)
        check_between("explore", self.explore, 0, 1)
        check_one_of("log_format", self.log_format, LOG_FORMATS)
        check_positive("slow_request", self.slow_request)
        check_between("trace_share", self.trace_share, 0, 1)
        if self.trace_endpoint is not None:
            check_tracing()
        if self.cache is not None:
            check_cache_url(self.cache)
        check_allowed_hosts(self.allowed_hosts)
        check_certificate(self.tls_cert, self.tls_key)
        if len(self.event_types) > _MAX_EVENT_TYPES:
            raise SettingError(f"event_types must be at most {_MAX_EVENT_TYPES}. Got {len(self.event_types)}.")
