"""Let work that blocks run in threads, few at a time, and end when the client is gone or the server ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

T = TypeVar("T")
_MOST_AT_ONCE, _MOST_SLOW = 6, 3


class StoppedError(Exception):
    """Indicate that nobody waits any more for what is being read."""


class Stop:
    """Let work that goes on in a thread be stopped; given to sources as what is informed about their progress."""

    def __init__(self) -> None:
        self._is_set = threading.Event()
        self.share = 0.0
        """Share of the source that has been read, from 0 to 1, as far as it is known."""

    def set(self) -> None:
        """Stop the work, at its next progress."""
        self._is_set.set()

    def check(self) -> None:
        """Go on, or raise a `StoppedError`."""
        if self._is_set.is_set():
            raise StoppedError

    def on_progress(self, done: int, total: int | None) -> None:
        """Note the progress, and go on or raise a `StoppedError`."""
        self.check()
        if total:
            self.share = min(done / total, 1.0)


class Work:
    """Run work in threads for clients that may go away."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)
        self.slow_slots = asyncio.Semaphore(_MOST_SLOW)
        """Held by what may read the whole source, so that a page of a list does not wait for it."""
        self._stops: set[Stop] = set()
        self._is_closed = False

    async def run(self, request: Request, function: Callable[[Stop], T], *, is_slow: bool = False) -> T:
        """Return what a function returns, which is called in a thread, with what stops it.

        Args:
            request: the request that is answered.
            function: the function.
            is_slow: whether it may read the whole source.

        Raises:
            StoppedError: the client is gone, or the server ends.
        """
        stop = self.begin()
        watching = asyncio.ensure_future(_when_gone(request, stop))
        try:
            async with self.slow_slots if is_slow else self._slots:
                stop.check()
                return await run_in_threadpool(function, stop)
        finally:
            watching.cancel()
            self.end(stop)

    def begin(self) -> Stop:
        """Return what stops some work, also when the server ends."""
        stop = Stop()
        self._stops.add(stop)
        if self._is_closed:
            stop.set()
        return stop

    def end(self, stop: Stop) -> None:
        """Stop some work, if it goes on."""
        stop.set()
        self._stops.discard(stop)

    def close(self) -> None:
        """Stop all work."""
        self._is_closed = True
        for stop in [*self._stops]:
            stop.set()


async def _when_gone(request: Request, stop: Stop) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    stop.set()


async def is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait for an event, and return whether it came in time."""
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except asyncio.TimeoutError:
        return False
    return True
