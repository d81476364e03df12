"""Answer what a page asks first: what it shows, and the cookie for the token in its address."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from otel_agent_trace.version import __version__
from otel_agent_trace.viewer.guard import Access
from otel_agent_trace.viewer.library import Library
from otel_agent_trace.viewer.replies import data_reply, error_reply, posted


class AboutApi:
    """Answer requests about the server itself."""

    def __init__(self, library: Library, access: Access) -> None:
        self._library = library
        self._access = access

    async def about(self, request: Request) -> Response:
        """Return the name of the source, and what can be done with it."""
        library = self._library
        about = {
            "source": library.name,
            "version": __version__,
            "is_live": library.is_live,
            "can_score": library.can_score,
            "changes": library.changes.version,
            "now_ns": str(time.time_ns()),
        }
        return data_reply(request, about)

    async def login(self, request: Request) -> Response:
        """Return the cookie for the token of the address that the server printed."""
        if self._access.token is None:
            return Response(status_code=204)
        cookie = self._access.cookie_for((await posted(request)).get("token"))
        if cookie is None:
            return error_reply(403, "the token in the address is wrong: open the address that the server printed")
        return Response(status_code=204, headers={"set-cookie": cookie})
