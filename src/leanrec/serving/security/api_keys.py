"""API keys: a file of names, roles and digests, the search for a key in constant time, and limits of rate."""

import dataclasses
import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from leanrec.errors import SettingError

__all__ = ["ROLES", "ApiKey", "ApiKeys", "RateLimit", "TokenBucket", "add_key"]

ROLES = ("client", "admin")
_PREFIX = "leanrec_"
_MAX_RATE = 1e6
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


@dataclasses.dataclass(frozen=True)
class ApiKey:
    """A key that may ask a server.

    Attributes:
        name: whose key it is.
        sha256: SHA-256 of the key, in hexadecimal digits. The key itself is kept nowhere.
        role: ``client`` asks for lists and sends events; ``admin`` may do everything.
        rate: requests a second, with bursts of one second; None = any number.
    """

    name: str
    sha256: str = dataclasses.field(repr=False)
    role: str
    rate: float | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SettingError(
                f"The name of a key must have letters, digits, '.', '-' and '_'. Got {self.name!r:.100}."
            )
        if self.role not in ROLES:
            raise SettingError(f"The role of the key {self.name} must be client or admin. Got {self.role!r:.100}.")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):  # not shown: it may be the key itself
            raise SettingError(
                f"sha256 of the key {self.name} must have 64 hexadecimal digits. Make a key with add_key."
            )
        if self.rate is not None and not 0 < self.rate <= _MAX_RATE:
            raise SettingError(
                f"The rate of the key {self.name} must be above 0 and at most a million. Got {self.rate:g}."
            )


class ApiKeys:
    """The keys of a server."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        """Take at least one key. Raises SettingError if there is none, or two of a name."""
        names = [key.name for key in keys]
        if not names or len(set(names)) < len(names):
            raise SettingError(f"keys must be at least one, with different names. Got {', '.join(names) or 'none'}.")
        self.keys = tuple(keys)
        self._digests = [(bytes.fromhex(key.sha256), key) for key in keys]

    @classmethod
    def read(cls, path: str | Path) -> "ApiKeys":
        """Read a TOML file with one table ``[[key]]`` for each key: name, sha256, role and, if wanted, rate.

        Raises SettingError if it cannot be read or something else is in it.
        """
        return cls(_read_file(Path(path)))

    def find(self, key: bytes) -> ApiKey | None:
        """The key, None if it is unknown. The time that this takes does not depend on the key."""
        digest = hashlib.sha256(key).digest()
        found = None
        for known, owner in self._digests:
            if hmac.compare_digest(digest, known):
                found = owner
        return found


class TokenBucket(Protocol):
    """A limit of rate, of one server or of several."""

    def take(self) -> float:
        """Take a token. Returns 0, or the seconds until there is one."""


class RateLimit:
    """A token bucket of one process: a number of requests a second, and as many at once. Thread-safe."""

    def __init__(self, rate: float) -> None:
        """Start with a full bucket."""
        self._rate, self._capacity = rate, max(1.0, rate)
        self._tokens, self._at = self._capacity, time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> float:
        """Take a token. Returns 0, or the seconds until there is one."""
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._rate)
            self._at = now
            if self._tokens >= 1:
                self._tokens -= 1
                return 0.0
            return (1 - self._tokens) / self._rate


def add_key(path: str | Path, name: str, role: str, rate: float | None = None) -> str:
    """Make a key, add its digest to a file, which is created if it is missing, and return the key.

    Only the owner can read a file that is created. Raises SettingError if the name is taken or the file is something else.
    """
    path = Path(path)
    key = _PREFIX + secrets.token_urlsafe(32)
    made = ApiKey(name, hashlib.sha256(key.encode()).hexdigest(), role, rate)
    ApiKeys([*(_read_file(path) if path.exists() else ()), made])
    lines = ["", "[[key]]", f"name = {json.dumps(name)}", f'sha256 = "{made.sha256}"', f'role = "{role}"']
    lines += [] if rate is None else [f"rate = {float(rate)}"]
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8") as file:
            file.write("\n".join([*lines, ""]))
    except OSError as error:
        raise SettingError(f"The file of keys {path} must be writable: {error}.") from error
    return key


def _read_file(path: Path) -> list[ApiKey]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        raise SettingError(f"The file of keys {path} must be readable text: {error}.") from error
    except tomllib.TOMLDecodeError:  # its message may show a key
        raise SettingError(f"The file of keys {path} must be TOML. Make it with add_key.") from None
    tables = content.get("key")
    if set(content) - {"key"} or not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise SettingError(f"The file of keys {path} must have tables [[key]] and nothing else.")
    return [_read_key(path, number, table) for number, table in enumerate(tables, 1)]


def _read_key(path: Path, number: int, table: dict[str, Any]) -> ApiKey:
    types = {"name": str, "sha256": str, "role": str, "rate": int | float}
    is_right = all(isinstance(table.get(name), kind) for name, kind in types.items() if name != "rate" or name in table)
    if not is_right or set(table) - set(types) or isinstance(table.get("rate"), bool):
        raise SettingError(
            f"Key {number} of {path} must have the texts name, sha256 and role, and may have the number rate."
        )
    try:
        return ApiKey(**table)
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from None
