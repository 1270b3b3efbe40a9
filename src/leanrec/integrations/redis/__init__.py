"""Redis and Valkey: lists and limits of rate that several servers share (extra ``redis``: valkey, MIT)."""

from collections.abc import Callable

from leanrec.integrations.redis.guarded_connection import GuardedConnection
from leanrec.integrations.redis.list_store import RedisListStore
from leanrec.integrations.redis.rate_limit import RedisRateLimit
from leanrec.serving.security.api_keys import ApiKey

__all__ = ["RedisCache"]


class RedisCache:
    """What servers share in one Redis or Valkey server.

    Attributes:
        lists: recommendation lists.
        connection: the connection, which all of it uses.
    """

    def __init__(
        self, url: str, count: Callable[[str], None], report: Callable[[str], None], timeout_ms: float = 2.0
    ) -> None:
        """Connect at the first use, in a thread, so that nothing waits for the server.

        Args:
            url: ``redis://host:port/database``, ``rediss://`` for TLS, or the same with ``valkey``.
            count: called with the outcome of each question for a list: hit, miss, error, skipped or damaged.
            report: tells the operator.
            timeout_ms: milliseconds in which an answer must begin, and go on.

        Raises SettingError for a URL that cannot be read.
        """
        self.connection = GuardedConnection(url, report, timeout_ms)
        self.lists = RedisListStore(self.connection, count)

    def limit_rate(self, key: ApiKey) -> RedisRateLimit:
        """The limit of a key over all servers. Raises SettingError for a key without one."""
        return RedisRateLimit(self.connection, key)

    def find_problem(self) -> str | None:
        """What the operator should know of the server, or None. Raises SettingError for a wrong password."""
        return self.connection.find_problem()

    def close(self) -> None:
        """Send what waits, for half a second at most, and disconnect."""
        self.connection.close()
