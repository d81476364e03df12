"""Announce changes to open pages, as server-sent events: which run is at which revision, and how many are new."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from otel_agent_trace.viewer.replies import encoded, error_reply
from otel_agent_trace.viewer.work import is_set_within

_MOST_HELD = 1024
_MOST_STREAMS = 64
_HEARTBEAT_S = 15.0
_RETRY_MS = 1000


class _Event(NamedTuple):
    """Hold an event: its number, its name and its data as JSON."""

    number: int
    name: str
    data: bytes


class Events:
    """Hold the last event about each thing, and wake the streams that wait for one; used in the loop of the server.

    An event replaces the one about the same thing, so that a slow client gets the newest state and not each one. Ids
    begin with that of this server; a stream that missed something begins with ``event: reset``.
    """

    def __init__(self) -> None:
        self._server = secrets.token_hex(4)
        self._held: OrderedDict[str, _Event] = OrderedDict()
        self._number = 0
        self._dropped = 0
        """Number of the last event that is not held any more, and was not replaced."""
        self._changed = asyncio.Event()
        self._streams = 0
        self._is_closed = False

    def publish(self, about: str, name: str, data: Any) -> None:
        """Announce something: `about` is what the event replaces the last one of."""
        self._number += 1
        self._held.pop(about, None)
        self._held[about] = _Event(self._number, name, encoded(data))
        if len(self._held) > _MOST_HELD:
            self._dropped = self._held.popitem(last=False)[1].number
        self._wake()

    def close(self) -> None:
        """End all streams."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def respond(self, request: Request) -> Response:
        """Return the stream of events from the one on that a client names as its last."""
        if self._streams >= _MOST_STREAMS:
            return error_reply(503, f"at most {_MOST_STREAMS} pages are kept up to date")
        last_id = request.headers.get("last-event-id")
        stream = self._stream(self._number if last_id is None else self._seen(last_id))  # the answer may begin later
        return StreamingResponse(stream, media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    async def _stream(self, seen: int | None) -> AsyncIterator[bytes]:
        self._streams += 1
        try:
            yield f"retry: {_RETRY_MS}\nid: {self._id(seen or 0)}\n\n".encode()  # that of a client that gets no event
            if seen is None or seen < self._dropped:
                seen = self._number
                yield self._text(_Event(seen, "reset", b"{}"))
            while True:
                changed = self._changed
                for event in [each for each in self._held.values() if each.number > seen]:
                    seen = event.number
                    yield self._text(event)
                if self._is_closed:
                    return
                if not await is_set_within(changed, _HEARTBEAT_S):
                    yield b": \n\n"
        finally:
            self._streams -= 1

    def _seen(self, last_id: str) -> int | None:
        """Return the number of an event; None for one of another server."""
        server, _, number = last_id.partition("-")
        return int(number[:20]) if server == self._server and number[:20].isdecimal() else None

    def _id(self, number: int) -> str:
        return f"{self._server}-{number}"

    def _text(self, event: _Event) -> bytes:
        head = f"id: {self._id(event.number)}\nevent: {event.name}\ndata: ".encode()
        return head + event.data + b"\n\n"
