"""Access control: requests need the token, must name this machine, and must not come from pages of other origins.

A server on loopback can be reached by every program and every user of the machine, and by every web page that its
browsers show. Therefore, in this order:

- The ``Host`` header must name this machine. A page whose DNS name was pointed at 127.0.0.1 (DNS rebinding) sends its
  own name.
- Requests caused by a page of another origin are refused: by ``Sec-Fetch-Site``, and for requests that change
  something also by ``Origin``, and by the content type JSON, which no form can send. There is no CORS. Only the page
  itself may be opened by a link from elsewhere.
- Every request needs the token, also on loopback, because other users of the machine can reach that too. It is in the
  printed address, then in a cookie that no script reads and no other site sends. It is compared in constant time.

The answers forbid scripts and pictures from anywhere else, frames, and use by other origins.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "wsss-seed-review"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether an address or name is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_names(host: str) -> frozenset[str]:
    """The names under which a server that listens on ``host`` is addressed; addresses need no name."""
    if is_loopback(host):
        return frozenset({*_LOOPBACK, host})
    return frozenset({*_LOOPBACK, host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()})


class Guard:
    """Wraps an application; see the module.

    Args:
        app: the application.
        token: the secret.
        host: address on which the server listens.
        port: port on which it listens; cookies do not distinguish ports, so their name does.
    """

    def __init__(self, app: ASGIApp, token: str, host: str, port: int) -> None:
        self._app, self._token, self._names = app, token.encode(), host_names(host)
        self._any_address = not is_loopback(host)
        self._cookie = f"{COOKIE}-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    added[name] = value
                added.setdefault("cache-control", "no-store")
                if self._given(scope):
                    added["set-cookie"] = f"{self._cookie}={self._token.decode()}; Path=/; HttpOnly; SameSite=Strict"
            await send(message)

        fault = self._fault(scope, headers)
        if fault is not None:
            status, text = fault
            await PlainTextResponse(text + "\n", status)(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    def _fault(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        method, site = scope["method"], headers.get("sec-fetch-site", "none")
        if len(headers.getlist("host")) != 1 or not self._is_here(headers["host"]):
            return 421, "this server does not go by that name; open the address that wsss-seed review printed"
        if method not in ("GET", "HEAD", "POST"):
            return 405, "only GET and POST"
        opened = method != "POST" and scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("same-origin", "none") and not opened:
            return 403, "requests from other pages are refused"
        if method == "POST":
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != headers["host"]:
                return 403, "requests from other pages are refused"
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                return 415, "only JSON is accepted"
        if not (self._given(scope) or self._remembered(headers)):
            return 403, "no valid token; open the address that wsss-seed review printed"
        return None

    def _is_here(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_address  # an address, not a DNS name, so there is no rebinding

    def _given(self, scope: Scope) -> bool:
        """Whether the address has the token; only that of the page may."""
        if scope["path"] != "/":
            return False
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        return any(self._equals(value) for value in query.get("token", ()))

    def _remembered(self, headers: Headers) -> bool:
        for line in headers.getlist("cookie"):
            try:
                found = SimpleCookie(line).get(self._cookie)
            except CookieError:
                continue
            if found is not None and self._equals(found.value):
                return True
        return False

    def _equals(self, value: str) -> bool:
        return secrets.compare_digest(value.encode("utf-8", "replace"), self._token)
