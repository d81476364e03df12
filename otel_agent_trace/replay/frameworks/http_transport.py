"""Stand before the connections of an HTTP client: a replay answers its requests, none leaves the process.

The client may be one of `httpx` or of `httpx2`, its successor: both have the same transports, and neither is imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from otel_agent_trace.model import StepError
from otel_agent_trace.replay.divergences import ReplayDivergenceError
from otel_agent_trace.replay.frameworks.http_errors import connection_error, error_body, http_status
from otel_agent_trace.replay.replaying import active_session
from otel_agent_trace.replay.session import ReplaySession

C = TypeVar("C")
_JSON, _EVENTS = "application/json", "text/event-stream"
_REFUSED, _UNKNOWN = 424, 500
"""HTTP status for calls that were not recorded, and for errors whose own was not."""
_FIRST_TRY = (None, "0")
_failed: ContextVar[StepError | None] = ContextVar("failed", default=None)


class Reply(NamedTuple):
    """Hold the body of a response: a JSON object, or the events of a stream."""

    content: str
    content_type: str = _JSON


def json_reply(body: dict[str, Any]) -> Reply:
    """Return a reply with a JSON body."""
    return Reply(json.dumps(body, ensure_ascii=False))


def event_reply(events: Iterable[dict[str, Any]], *, done: str = "") -> Reply:
    """Return a reply that streams events, named by their type if they have one; `done` is sent after the last."""
    names = ((f"event: {event['type']}\n" if "type" in event else "", event) for event in events)
    lines = [f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n" for name, event in names]
    return Reply("".join(lines) + done, _EVENTS)


Responder = Callable[[ReplaySession, str, "dict[str, Any]"], "Reply | StepError | None"]
"""Function that answers a request by its path and JSON body: with a reply, an error, or None if it is to be sent."""


def answer_requests(client: C, respond: Responder) -> C:
    """Let a replay answer the requests of a client of OpenAI or Anthropic, and return the client.

    Raises:
        TypeError: `client` is none of these.
    """
    http_client: Any = getattr(client, "_client", None)
    if not hasattr(http_client, "_transport"):
        raise TypeError(f"{type(client).__qualname__} is no client of OpenAI or Anthropic")
    if isinstance(http_client._transport, _ReplayTransport):
        return client
    library = _library_of(http_client)
    kind = _AsyncReplayTransport if hasattr(http_client, "aclose") else _SyncReplayTransport
    http_client._transport = kind(http_client._transport, library, respond)
    mounts = http_client._mounts  # by pattern of URLs; None stands for the transport above
    mounts.update({pattern: kind(inner, library, respond) for pattern, inner in mounts.items() if inner is not None})
    return client


def _library_of(http_client: Any) -> ModuleType:
    names = [cls.__module__.partition(".")[0] for cls in type(http_client).__mro__]
    return sys.modules[next(name for name in names if name in ("httpx", "httpx2"))]


class _ReplayTransport:
    """Answer requests within a replay, and pass others on to the transport of the client."""

    def __init__(self, inner: Any, library: ModuleType, respond: Responder) -> None:
        self._inner = inner
        self._library: Any = library
        self._respond = respond

    def answer(self, request: Any) -> Any:
        """Return the response to a request, None if it is to be sent."""
        session = active_session()
        if session is None:
            return None
        failed = _failed.get() if request.headers.get("x-stainless-retry-count") not in _FIRST_TRY else None
        try:
            reply = failed or self._respond(session, request.url.path, _body(request))
        except ReplayDivergenceError as error:  # clients try again after exceptions, but not after this response
            return self._response(request, _REFUSED, json_reply({"error": {"message": str(error), "type": "replay"}}))
        if reply is None:
            return None
        if isinstance(reply, StepError):
            return self._failure(request, reply)
        return self._response(request, 200, reply)

    def _failure(self, request: Any, error: StepError) -> Any:
        """Return the response of a recorded error, or raise that of the connection.

        A recorded call ended after all its retries, so a client that tries again is given the same error.
        """
        name = connection_error(error)
        if name is None:
            return self._response(request, http_status(error) or _UNKNOWN, json_reply(error_body(error)))
        _failed.set(error)
        raise getattr(self._library, name)(error.message, request=request)

    def _response(self, request: Any, status: int, reply: Reply) -> Any:
        headers = {"content-type": reply.content_type, "x-should-retry": "false"}
        return self._library.Response(status, headers=headers, content=reply.content.encode(), request=request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _SyncReplayTransport(_ReplayTransport):
    def handle_request(self, request: Any) -> Any:
        response = self.answer(request)
        return self._inner.handle_request(request) if response is None else response

    def __enter__(self) -> _SyncReplayTransport:
        self._inner.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._inner.__exit__(*exception)


class _AsyncReplayTransport(_ReplayTransport):
    async def handle_async_request(self, request: Any) -> Any:
        response = self.answer(request)
        return await self._inner.handle_async_request(request) if response is None else response

    async def __aenter__(self) -> _AsyncReplayTransport:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._inner.__aexit__(*exception)


def _body(request: Any) -> dict[str, Any]:
    """Return the JSON object that a request sends, an empty one if it sends something else."""
    if not request.headers.get("content-type", "").startswith(_JSON):
        return {}
    body = json.loads(request.read() or b"{}")
    return body if isinstance(body, dict) else {}
