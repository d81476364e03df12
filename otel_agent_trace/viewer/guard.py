"""Refuse requests that are none of the page's own: those of other hosts, of other web pages, and without the token.

A local server is within reach of every web page that its user opens. Names of hosts that an attacker points at this
machine (DNS rebinding) fail by the list of hosts, requests of other pages by `Origin` and `Sec-Fetch-Site`, simple
POSTs by their type. Where other machines reach the port, data needs a cookie that the page gets for the token in its
address.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import NamedTuple

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from otel_agent_trace.viewer.replies import encoded

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_API, _LOGIN = "/api/", "/api/login"
_METHODS = frozenset({"GET", "HEAD", "POST"})
_SAME_SITES = frozenset({"same-origin", "none"})
_MOST_BODY_BYTES = 64 << 10
_BODY_S = 30.0
_PORT_OF_HTTP = 80


class Refusal(NamedTuple):
    """Hold the status and the error with which a request is refused."""

    status: int
    error: str


class Access(msgspec.Struct, frozen=True):
    """Hold who may read: the hosts by which the server is called, and the secrets of those who were given its address.

    `token` is that of the printed address; None where only this machine reaches the port. With `own_address` the
    address at which a connection arrived is a host too.
    """

    hosts: frozenset[str]
    token: str | None = None
    own_address: bool = False
    cookie_name: str = "otel_agent_trace"
    cookie: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(32))

    @classmethod
    def of(cls, names: tuple[str, ...], port: int, *, trusted: tuple[str, ...] = (), is_open: bool = False) -> Access:
        """Return who may read a server.

        Args:
            names: the names and addresses of the server itself, which are hosts with its port.
            port: its port.
            trusted: further hosts: with a port exactly those, without one any usual form of them.
            is_open: whether other machines reach it, so that a token is needed.
        """
        hosts = {*_with_port(names, port), *(host.lower() for host in trusted), *_with_port(trusted, port)}
        token = secrets.token_urlsafe(32) if is_open else None
        # browsers do not keep the cookies of several ports of a host apart
        return cls(frozenset(hosts), token, is_open, f"otel_agent_trace_{port}")

    def has_cookie(self, header: str) -> bool:
        """Return whether a request's header of cookies has ours."""
        try:
            found = SimpleCookie(header).get(self.cookie_name)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(found.value.encode(), self.cookie.encode())

    def cookie_for(self, token: object) -> str | None:
        """Return the header that sets the cookie, if the token is right."""
        if self.token is None or not isinstance(token, str):
            return None
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode()):
            return None
        return f"{self.cookie_name}={self.cookie}; Path=/; HttpOnly; SameSite=Strict"


class Guard:
    """Pass on the requests that the page itself makes, and add headers of security to all answers; an ASGI application.

    Args:
        app: the application behind it.
        access: who may read.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await _close(scope, receive, send)
            return
        send = _with_headers(scope, send)
        headers = _headers_of(scope)
        refusal = self._refusal(scope, headers)
        body = b""
        if refusal is None and scope["method"] == "POST":
            body, refusal = await _body_of(headers, receive)
        if refusal is not None:
            await _refuse(refusal, send)
            return
        # the path as it was sent: an id may have slashes, and is one part of the path all the same
        raw_path = scope.get("raw_path") or scope["path"].encode()
        await self._app({**scope, "path": raw_path.decode("ascii", "replace")}, _replaying(body, receive), send)

    def _refusal(self, scope: Scope, headers: Mapping[str, list[str]]) -> Refusal | None:
        host = self._host(scope, headers)
        if host is None:
            return Refusal(400, "not the address of this server; for another name start it with --trusted-host NAME")
        return (
            _origin_refusal(scope, headers, host)
            or _method_refusal(scope, headers)
            or self._login_refusal(scope, headers)
        )

    def _host(self, scope: Scope, headers: Mapping[str, list[str]]) -> str | None:
        """Return the host that a request names, if that is one of ours."""
        given = headers.get("host", [])
        if len(given) != 1:
            return None
        host = given[0].lower()
        if host in self._access.hosts:
            return host
        server = scope.get("server")
        is_own = self._access.own_address and server is not None and host in _with_port((server[0],), server[1])
        return host if is_own else None

    def _login_refusal(self, scope: Scope, headers: Mapping[str, list[str]]) -> Refusal | None:
        path = scope["path"]
        if self._access.token is None or not path.startswith(_API) or path == _LOGIN:
            return None
        if self._access.has_cookie("; ".join(headers.get("cookie", []))):
            return None
        return Refusal(401, "the token is missing: open the address that the server printed, which ends in #token=...")


def _with_port(names: tuple[str, ...], port: int) -> set[str]:
    """Return the hosts that browsers send for names or addresses with a port, which they leave out if it is usual."""
    written = [f"[{name}]" if ":" in name and not name.startswith("[") else name.lower() for name in names]
    return {f"{name}:{port}" for name in written} | ({*written} if port == _PORT_OF_HTTP else set())


def _headers_of(scope: Scope) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return headers


def _origin_refusal(scope: Scope, headers: Mapping[str, list[str]], host: str) -> Refusal | None:
    """Return the refusal of a request that another site's page makes, unless it only opens one of our pages."""
    refusal = Refusal(403, "requests of other web pages are refused")
    origins = headers.get("origin", [])
    if any(origin.lower() not in (f"http://{host}", f"https://{host}") for origin in origins):
        return refusal
    if all(site in _SAME_SITES for site in headers.get("sec-fetch-site", [])):
        return None
    is_page = scope["method"] == "GET" and not scope["path"].startswith(_API)
    is_opened = headers.get("sec-fetch-mode") == ["navigate"] and headers.get("sec-fetch-dest") == ["document"]
    return None if is_page and is_opened else refusal


def _method_refusal(scope: Scope, headers: Mapping[str, list[str]]) -> Refusal | None:
    if scope["method"] not in _METHODS:
        return Refusal(405, "only GET, HEAD and POST are answered")
    if scope["method"] != "POST" or not scope["path"].startswith(_API):
        return None  # what takes no POST answers so
    types = [value.partition(";")[0].strip().lower() for value in headers.get("content-type", [])]
    if types != ["application/json"] or headers.get("content-encoding", ["identity"]) != ["identity"]:
        return Refusal(415, "only application/json is taken, not compressed")
    return None


async def _body_of(headers: Mapping[str, list[str]], receive: Receive) -> tuple[bytes, Refusal | None]:
    """Return the body of a request, or the refusal of one that is too large or too slow."""
    too_large = Refusal(413, f"at most {_MOST_BODY_BYTES:,} bytes are taken")
    announced = headers.get("content-length", ["0"])[0]
    if not announced.isdecimal() or int(announced[:20]) > _MOST_BODY_BYTES:
        return b"", too_large
    try:
        body = await asyncio.wait_for(_received(receive), _BODY_S)
    except asyncio.TimeoutError:
        return b"", Refusal(408, "the body did not arrive in time")
    return (b"", too_large) if body is None else (body, None)


async def _received(receive: Receive) -> bytes | None:
    """Return the body of a request; None for one that is too large, of which no more is read."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _MOST_BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replaying(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read, and then waits for the end of the connection."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message


def _with_headers(scope: Scope, send: Send) -> Send:
    """Return what sends an answer with the headers of security, and keeps data out of caches."""
    is_data = scope["path"].startswith(_API)

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = ((b"cache-control", b"no-store"),) if is_data else ()
            names = {name for name, _ in message.get("headers", ())}
            more = [each for each in (*_HEADERS, *own) if each[0] not in names]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return with_headers


async def _refuse(refusal: Refusal, send: Send) -> None:
    body = encoded({"error": refusal.error})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),  # what is left of a body is not read
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _close(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse what is no request of HTTP."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
