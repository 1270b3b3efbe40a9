"""Rate limit in Redis: the token bucket of a key, which several servers share."""

import hashlib
import threading
import time

from leanrec.errors import CacheError
from leanrec.integrations.redis.guarded_connection import GuardedConnection, Script
from leanrec.serving.security.api_keys import ApiKey, RateLimit

__all__ = ["RedisRateLimit"]

_PREFIX = "leanrec:rate:"
_SHARE_OF_A_SECOND = 0.05  # of the tokens of a second, that a server takes at once
# Tokens are added by the clock of the Redis server, so those of the others need not agree.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local rate, capacity = tonumber(ARGV[1]), tonumber(ARGV[2])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(kept[1] or capacity) + math.max(0, now - tonumber(kept[2] or now)) * rate
tokens = math.min(capacity, tokens)
local taken = math.min(tonumber(ARGV[3]), math.floor(tokens))
tokens = tokens - taken
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], math.ceil(capacity / rate) + 1)
return {taken, string.format('%.6f', math.max(0, 1 - tokens) / rate)}
"""


class RedisRateLimit:
    """A token bucket that servers share. Each takes a twentieth of the tokens of a second at once, and gives them out by itself.

    A server that cannot reach the bucket goes on with the whole rate for itself. While the bucket is empty it is not asked
    again. Thread-safe.
    """

    def __init__(self, connection: GuardedConnection, key: ApiKey) -> None:
        """Take the key, which must have a rate."""
        assert key.rate is not None  # noqa: S101 - the caller has looked
        self._connection, self._rate = connection, key.rate
        self._own = RateLimit(key.rate)
        self._script = connection.add_script(Script(_TAKE))
        self._name = _PREFIX + hashlib.blake2b(f"{key.name} {key.sha256}".encode(), digest_size=16).hexdigest()
        self._n_asked = max(1, int(key.rate * _SHARE_OF_A_SECOND))
        self._tokens, self._empty_until = 0, 0.0
        self._lock = threading.Lock()

    def take(self) -> float:
        """Take a token. Returns 0, or the seconds until there is one."""
        with self._lock:
            if self._tokens:
                self._tokens -= 1
                self._own.take()  # it knows what was given out when it has to go on alone
                return 0.0
            left = self._empty_until - time.monotonic()
            if left > 0:
                return left
            try:
                taken, seconds = self._connection.ask(
                    *self._script.call(self._name, self._rate, max(1.0, self._rate), self._n_asked)
                )
            except CacheError:
                return self._own.take()
            if not taken:
                self._empty_until = time.monotonic() + float(seconds)
                return float(seconds)
            self._tokens = int(taken) - 1
            self._own.take()
            return 0.0
