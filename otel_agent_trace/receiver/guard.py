"""Refuse requests that a web page in a browser may have sent: no page has to write spans."""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from otel_agent_trace.receiver.refusals import Reason, RefusedError
from otel_agent_trace.receiver.responses import PROTOBUF, Refusal

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\[\]:@/\s]+)(?::\d{1,5})?")
_FROM_ELSEWHERE = frozenset({"cross-site", "same-site"})


class Guard:
    """Refuse requests with another host than those that are trusted, and requests that have an origin.

    A name that an attacker has bound to this address (DNS rebinding) is in the `Host` of the page's requests. Browsers
    send `Origin` with each POST, and other clients do not.

    Args:
        app: the application.
        hosts: the names that are trusted; None for any.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self._app = app
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or refuse it."""
        headers = Headers(scope=scope)
        refused = self._refused(headers)
        if refused is None:
            await self._app(scope, receive, send)
            return
        as_json = not headers.get("content-type", "").startswith(PROTOBUF)
        await Refusal(RefusedError(Reason.FORBIDDEN, refused), as_json=as_json)(scope, receive, send)

    def _refused(self, headers: Headers) -> str | None:
        if self._hosts is not None:
            given = _HOST.fullmatch(headers.get("host", "").lower())
            if given is None or given["name"] not in self._hosts:
                return "this host is not trusted"
        if "origin" in headers or headers.get("sec-fetch-site") in _FROM_ELSEWHERE:
            return "web pages cannot send spans to this receiver"
        return None
