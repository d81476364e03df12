"""Search all that runs have for a text, and send what is found as it is found, until the client is gone."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from otel_agent_trace.errors import AgentTraceError
from otel_agent_trace.query import RunQuery
from otel_agent_trace.viewer.library import Library
from otel_agent_trace.viewer.list_api import query_in
from otel_agent_trace.viewer.replies import encoded
from otel_agent_trace.viewer.work import Stop, StoppedError, Work, is_set_within

_MOST_WAITING = 64
_PROGRESS_S = 0.25


class SearchApi:
    """Answer searches."""

    def __init__(self, library: Library, work: Work) -> None:
        self._library = library
        self._work = work

    async def search(self, request: Request) -> Response:
        """Return the stream of what is found: a JSON object on each line."""
        query = query_in(request, self._library)
        return StreamingResponse(
            self._lines(query.but(sort=None, newest_first=False)), media_type="application/x-ndjson"
        )

    async def _lines(self, query: RunQuery) -> AsyncIterator[bytes]:
        """Yield rows and the progress, then how many there are or what went wrong; cancelled if the client is gone."""
        stop, found = self._work.begin(), _Found(asyncio.get_running_loop())
        async with self._work.slow_slots:
            searching = asyncio.ensure_future(run_in_threadpool(self._search, query, stop, found))
            try:
                async for line in found.lines(searching, stop):
                    yield line
                yield _last_line(searching, found)
            finally:
                self._work.end(stop)
                found.close()

    def _search(self, query: RunQuery, stop: Stop, found: _Found) -> None:
        for entry in self._library.reading().search(query, stop):
            found.put(b'{"row":' + entry.json(datetime.now().astimezone()) + b"}\n", stop)


class _Found:
    """Hold lines that a thread has found until the loop sends them; the thread waits where there are many."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.number = 0
        self._loop = loop
        self._lines = deque[bytes]()
        self._has_changed = asyncio.Event()
        self._room = threading.Semaphore(_MOST_WAITING)

    def put(self, line: bytes, stop: Stop) -> None:
        """Add a line, from the thread."""
        self._room.acquire()
        stop.check()
        self._loop.call_soon_threadsafe(self._add, line)

    def close(self) -> None:
        """Let a thread that waits go on, to be stopped."""
        self._room.release()

    async def lines(self, searching: asyncio.Future[None], stop: Stop) -> AsyncIterator[bytes]:
        """Yield the lines until the search is over, and the progress now and then."""
        searching.add_done_callback(self._note_end)
        while not (searching.done() and not self._lines):
            if not await is_set_within(self._has_changed, _PROGRESS_S):
                yield encoded({"progress": round(stop.share, 4)}) + b"\n"
            self._has_changed.clear()
            while self._lines:
                line = self._lines.popleft()
                self._room.release()
                self.number += 1
                yield line

    def _note_end(self, searching: asyncio.Future[None]) -> None:
        if not searching.cancelled():
            searching.exception()  # looked at, so that it is not reported as one that nobody saw
        self._has_changed.set()

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        self._has_changed.set()


def _last_line(searching: asyncio.Future[None], found: _Found) -> bytes:
    error = searching.exception()
    if error is None:
        return encoded({"done": True, "found": found.number}) + b"\n"
    if isinstance(error, AgentTraceError | StoppedError):
        return encoded({"done": True, "found": found.number, "error": str(error) or "stopped"}) + b"\n"
    raise error
