"""Check of the Host header, so that no page on the web can reach a server through a name of its own (DNS rebinding)."""

import re
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from leanrec.errors import SettingError
from leanrec.serving.error_handlers import error_response
from leanrec.serving.prometheus import ServingMetrics

__all__ = ["HostCheck", "check_allowed_hosts", "is_host"]

_LOCAL = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9._-]{1,253}))(?::[0-9]{0,5})?", re.IGNORECASE)
_MAX_KNOWN = 100
_HINT = "Use an address of the server; its operator can name other ones in allowed_hosts."


def check_allowed_hosts(hosts: Sequence[str]) -> None:
    """Raise SettingError for what is no name of a host: a URL, or a name with a port or a pattern."""
    for host in hosts:
        name = host.removeprefix("*.")
        if host != "*" and not is_host(name):
            raise SettingError(
                'allowed_hosts must be names or addresses without a port, "*.example.com" for all below a name, or "*" for '
                f"any. Got {host!r}."
            )


def is_host(text: str) -> bool:
    """Whether a text is the name or the address of a host, without a port."""
    return _read_host(f"[{text}]" if ":" in text else text) == text.rstrip(".").lower()


class HostCheck:
    """ASGI app that gives a request to another app if its Host header names this server.

    That is localhost, the address to which the client is connected, or an allowed host, with any port. Another name is
    answered with 421, a Host header that is missing, repeated or no host with 400. HTTP/1.0 needs no Host header.

    Attributes:
        app: the other app.
        allowed: names of hosts; ``*.example.com`` stands for all below that name, ``*`` for any.
        metrics: counts what is refused.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str], metrics: ServingMetrics) -> None:
        self.app, self.allowed, self.metrics = app, frozenset(each.rstrip(".").lower() for each in allowed), metrics
        self._known: set[tuple[bytes, str]] = set()  # headers that were accepted, and the address of the server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = [value for name, value in scope["headers"] if name == b"host"]
        server = scope.get("server")
        address = str(server[0]).lower().removeprefix("::ffff:") if server else ""  # IPv4 at a socket of IPv6
        if len(headers) == 1 and (headers[0], address) in self._known:
            await self.app(scope, receive, send)
            return
        refused = self._find_fault(headers, address, scope["http_version"])
        if refused is None:
            if headers and len(self._known) < _MAX_KNOWN:
                self._known.add((headers[0], address))
            await self.app(scope, receive, send)
            return
        status, message = refused
        self.metrics.count_request("other", "other", status, 0.0)
        await error_response(status, message, "Host", _HINT)(scope, receive, send)

    def _find_fault(self, headers: Sequence[bytes], address: str, version: str) -> tuple[int, str] | None:
        """Status and message for headers that must be refused; None for others."""
        if not headers and version == "1.0":
            return None
        if len(headers) != 1:
            return 400, f"A request must have one Host header. Got {len(headers)}."
        text = headers[0].decode("latin-1")
        shown = ascii(text if len(text) <= 80 else f"{text[:77]}...")
        host = _read_host(text)
        if host is None:
            return 400, f"The Host header must be the name or the address of a host. Got {shown}."
        if host in (*_LOCAL, address) or "*" in self.allowed or host in self.allowed:
            return None
        labels = host.split(".")
        if any(f"*.{'.'.join(labels[start:])}" in self.allowed for start in range(1, len(labels))):
            return None
        return 421, f"The Host header must name this server. Got {shown}."


def _read_host(text: str) -> str | None:
    """The host of a Host header in lower case, without its port; None if it is none."""
    found = _HOST.fullmatch(text)
    return None if found is None else (found["v6"] or found["name"].rstrip(".")).lower() or None
