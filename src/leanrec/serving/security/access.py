"""Access control: who may ask for what, with a key in the header ``Authorization: Bearer``."""

import math
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from leanrec.serving.dashboard.page_files import PAGE_FILES
from leanrec.serving.error_handlers import error_response
from leanrec.serving.prometheus import ServingMetrics
from leanrec.serving.security.api_keys import ApiKey, ApiKeys, RateLimit, TokenBucket

__all__ = ["AccessControl", "find_role"]

_OPEN = frozenset([*PAGE_FILES, "/livez", "/readyz", "/openapi.json"])
_READS = frozenset(["GET", "HEAD", "OPTIONS"])
_CLIENT_READS = frozenset(["/recommend", "/explain", "/items", "/health", "/events"])
_CLIENT_WRITES = frozenset(["/recommend", "/events"])


def find_role(method: str, path: str) -> str | None:
    """The role that a request needs; None for the dashboard, probes and the description, which have no data in them.

    What is not known to be for clients is for admins.
    """
    if path in _OPEN and method in _READS:
        return None
    is_read = method in _READS and (path in _CLIENT_READS or path.startswith("/similar/"))
    return "client" if is_read or (method == "POST" and path in _CLIENT_WRITES) else "admin"


class AccessControl:
    """ASGI app that gives a request to another app if its key has the role that it needs.

    Without a key that is known the answer is 401, with one of another role 403, and beyond the rate of the key 429.

    Attributes:
        app: the other app.
        keys: the keys.
        metrics: counts what is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: ApiKeys,
        metrics: ServingMetrics,
        make_limit: Callable[[ApiKey], TokenBucket] | None = None,
    ) -> None:
        """Guard an app.

        Args:
            app: the app.
            keys: the keys.
            metrics: counts what is refused.
            make_limit: makes the limit of a key that has a rate; None: one of this process.
        """
        self.app, self.keys, self.metrics = app, keys, metrics
        limited = [(key, key.rate) for key in keys.keys if key.rate is not None]
        self._limits: dict[str, TokenBucket] = {
            key.name: RateLimit(rate) if make_limit is None else make_limit(key) for key, rate in limited
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it."""
        role = find_role(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if role is None:
            await self.app(scope, receive, send)
            return
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, secret = headers[0].partition(b" ") if len(headers) == 1 else (b"", b"", b"")
        key = self.keys.find(secret.strip()) if scheme.lower() == b"bearer" else None
        seconds = 0.0
        if key is not None and key.role in {role, "admin"}:
            limit = self._limits.get(key.name)
            seconds = 0.0 if limit is None else limit.take()
            if not seconds:
                scope["key_name"] = key.name
                await self.app(scope, receive, send)
                return
        await self._refuse(key, seconds, scope, receive, send)

    async def _refuse(self, key: ApiKey | None, seconds: float, scope: Scope, receive: Receive, send: Send) -> None:
        if key is None:
            response = error_response(401, "A request must have a key that this server knows.", "Authorization")
            response.headers["WWW-Authenticate"] = "Bearer"
        elif seconds:
            message = f"The key {key.name} may send {key.rate:g} requests a second. It sent more."
            response = error_response(429, message, "Authorization", "Wait as long as Retry-After says.")
            response.headers["Retry-After"] = str(math.ceil(seconds))
        else:
            message = f"{scope['method']} {scope['path']} must have the key of an admin. {key.name} is a client."
            response = error_response(403, message, "Authorization")
        self.metrics.count_request("other", "other", response.status_code, 0.0)
        await response(scope, receive, send)
