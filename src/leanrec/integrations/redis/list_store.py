"""List store in Redis: one hash for each user, which lives for a minute after its first list."""

from collections.abc import Callable

from leanrec.errors import CacheError
from leanrec.integrations.redis.guarded_connection import GuardedConnection, Script

__all__ = ["RedisListStore"]

_PREFIX = "leanrec:lists:"
_SECONDS = 60
_MAX_LISTS = 16  # of a user: for several lengths, versions and histories
# The field "" marks a user who was closed. Its hash lives for a minute too, longer than any request that knew the user.
_KEEP = """
if redis.call('HEXISTS', KEYS[1], '') == 1 then return 0 end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return 1
"""
_CLOSE = """
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '', '1')
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
"""


class RedisListStore:
    """Keeps lists in Redis. A list is a minute old at most, whatever is kept after it. See `ListStore`.

    Attributes:
        wait_seconds: how long a question may wait.
    """

    def __init__(self, connection: GuardedConnection, count: Callable[[str], None]) -> None:
        """Take the connection, and what is called with the outcome of each question."""
        self._connection, self._count = connection, count
        self._keep, self._close = connection.add_script(Script(_KEEP)), connection.add_script(Script(_CLOSE))
        self.wait_seconds = connection.wait_seconds

    def find(self, user: bytes, field: bytes) -> bytes | None:
        """The list, or None: there is none, or the server does not answer, which is counted apart."""
        try:
            found: bytes | None = self._connection.ask("HGET", _PREFIX + user.hex(), field)
        except CacheError as error:
            self._count("error" if error.is_asked else "skipped")
            return None
        self._count("miss" if found is None else "hit")
        return found

    def keep(self, user: bytes, field: bytes, content: bytes) -> None:
        """Keep a list, unless the user was closed in the last minute. Does not wait."""
        self._connection.tell(*self._keep.call(_PREFIX + user.hex(), field, content, _MAX_LISTS, _SECONDS))

    def close_user(self, user: bytes) -> None:
        """Drop the lists of a user, and keep none for a minute. Does not wait; a server that is away gets it when it is back."""
        self._connection.tell(*self._close.call(_PREFIX + user.hex(), _SECONDS), is_duty=True)

    def note_damage(self) -> None:
        """Count a list that cannot be read."""
        self._count("damaged")
