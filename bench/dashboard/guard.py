"""Who may ask: the names under which the page is served, and no other site's scripts.

A middleware around the whole application. Whatever it answers or lets through gets headers
that forbid every script, style and connection but the page's own.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from types import MappingProxyType
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = MappingProxyType(
    {
        "content-security-policy": _POLICY,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
    }
)
_READING = ("GET", "HEAD", "OPTIONS")


class Guard:
    """Refuses foreign host names and other sites' requests; see the module."""

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self.app = app
        self.names = frozenset(name.lower() for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                files = scope["path"].startswith(("/static/", "/swagger/"))
                # A file is asked for anew each time, and sent only if another version stands.
                headers["cache-control"] = "no-cache" if files else "no-store"
            await send(message)

        reason = refusal(Headers(scope=scope), scope["method"], self.names)
        if reason:
            await _refuse(send_guarded, *reason)
            return
        await self.app(scope, receive, send_guarded)


def refusal(headers: Headers, method: str, names: frozenset[str]) -> tuple[int, str] | None:
    """Status and reason where a request is not served; ``None``: it is."""
    host = headers.get("host", "")
    name = host_name(host)
    if not (is_own(name) or name in names):
        return 421, (
            f"this page is not served as {name[:100] or 'nothing'}: use its IP address or "
            "localhost, or start it with --names"
        )
    if method in _READING:
        return None
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return 403, "another site's page has asked for this: refused"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return 403, "another site's page has asked for this: refused"
    return None


def host_name(host: str) -> str:
    """The name in a Host header, without its port, in lower case; empty: there is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_own(name: str) -> bool:
    """Names that no foreign DNS answer can lead here: IP addresses, and ``localhost``."""
    if name == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"detail": reason}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),  # a body may be on its way, which nobody reads
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
