"""Define the application: which address is answered by what, and how errors are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from otel_agent_trace.errors import (
    AgentTraceError,
    AmbiguousRunError,
    ConfigurationError,
    RunNotFoundError,
    SourceError,
)
from otel_agent_trace.viewer.about_api import AboutApi
from otel_agent_trace.viewer.compare_api import CompareApi
from otel_agent_trace.viewer.events import Events
from otel_agent_trace.viewer.guard import Access, Guard
from otel_agent_trace.viewer.library import Library
from otel_agent_trace.viewer.list_api import ListApi
from otel_agent_trace.viewer.metrics_api import MetricsApi
from otel_agent_trace.viewer.pages import Pages
from otel_agent_trace.viewer.replies import error_reply
from otel_agent_trace.viewer.run_api import RunApi
from otel_agent_trace.viewer.search_api import SearchApi
from otel_agent_trace.viewer.sessions_api import SessionsApi
from otel_agent_trace.viewer.work import StoppedError, Work

_log = logging.getLogger("otel_agent_trace")
_PAGES = ("/", "/runs/{id}", "/sessions", "/sessions/{id}", "/compare", "/metrics")
_STATUS_OF = {RunNotFoundError: 404, AmbiguousRunError: 400, ConfigurationError: 400, SourceError: 502}


class Viewer:
    """Hold the application, and what ends with it.

    Args:
        library: what the source has.
        access: who may read it.
    """

    def __init__(self, library: Library, access: Access) -> None:
        self.events = Events()
        self._work = Work()
        self._library = library
        self.app: ASGIApp = Guard(self._application(access), access)

    def follow(self) -> None:
        """Begin to announce what changes in the source; called in the loop of the server."""
        loop = asyncio.get_running_loop()
        self._library.follow(lambda runs: _call_in(loop, self._publish, runs))

    def close(self) -> None:
        """End all streams and all work, so that the server can end."""
        self.events.close()
        self._work.close()

    def _publish(self, runs: dict[str, str | None]) -> None:
        changes = self._library.changes
        for run_id, status in runs.items():
            data = {"run_id": run_id, "revision": changes.revision(run_id), "status": status}
            self.events.publish(f"run {run_id}", "run", data)
        self.events.publish("runs", "runs", {"new": changes.started})

    def _application(self, access: Access) -> Starlette:
        handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
            AgentTraceError: _source_error,
            HTTPException: _http_error,
            StoppedError: _stopped,
            Exception: _unexpected,
        }
        routes = [*_pages(), *self._server_routes(access), *self._list_routes(), *self._run_routes()]
        application = Starlette(routes=routes, exception_handlers=handlers)
        application.router.redirect_slashes = False
        return application

    def _server_routes(self, access: Access) -> Iterator[Route]:
        about = AboutApi(self._library, access)
        yield Route("/api/about", about.about)
        yield Route("/api/login", about.login, methods=["POST"])
        yield Route("/api/events", self.events.respond)

    def _list_routes(self) -> Iterator[Route]:
        lists, sessions = ListApi(self._library, self._work), SessionsApi(self._library, self._work)
        yield Route("/api/runs", lists.runs)
        yield Route("/api/facets", lists.facets)
        yield Route("/api/search", SearchApi(self._library, self._work).search)
        yield Route("/api/sessions", sessions.sessions)
        yield Route("/api/sessions/{id}", sessions.session)
        yield Route("/api/metrics", MetricsApi(self._library, self._work).metrics)
        yield Route("/api/compare", CompareApi(self._library, self._work).compare)

    def _run_routes(self) -> Iterator[Route]:
        runs = RunApi(self._library, self._work, lambda run_id: self._publish({run_id: None}))
        yield Route("/api/runs/{id}", runs.outline)
        yield Route("/api/runs/{id}/rows", runs.rows)
        yield Route("/api/runs/{id}/steps/{number}", runs.step)
        yield Route("/api/runs/{id}/find", runs.find)
        yield Route("/api/runs/{id}/conversation", runs.conversation)
        yield Route("/api/runs/{id}/copy", runs.copy)
        yield Route("/api/runs/{id}/value", runs.value)
        yield Route("/api/runs/{id}/media/{digest}", runs.media)
        yield Route("/api/runs/{id}/scores", runs.score, methods=["POST"])


def _pages() -> Iterator[Route]:
    pages = Pages()
    yield from (Route(path, pages.document) for path in _PAGES)
    yield Route("/assets/{name}", pages.asset)


def _call_in(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in the loop of the server, from another thread, unless the loop has ended."""
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:
        _log.debug("the server has ended")


async def _source_error(_: Request, error: AgentTraceError) -> Response:
    status = next((status for kind, status in _STATUS_OF.items() if isinstance(error, kind)), 500)
    return error_reply(status, str(error))


async def _http_error(_: Request, error: HTTPException) -> Response:
    return error_reply(error.status_code, error.detail)


async def _stopped(_: Request, __: StoppedError) -> Response:
    return error_reply(503, "stopped")


async def _unexpected(_: Request, __: Exception) -> Response:
    """Return no more than that there is an error, which the terminal of the server shows."""
    return error_reply(500, "an error of the viewer: its terminal shows it")
