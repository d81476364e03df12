"""Let answered coroutines end in the order in which the recorded ones did."""

from __future__ import annotations

import heapq
import itertools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

_TURNS_OF_THE_LOOP = 3
"""Rounds of the event loop before the next call may end: those whose end it waits for start further calls meanwhile."""


class Turns:
    """Make the calls of one event loop wait, each until those have ended that ended before it in the recording.

    An answer that came at once would change which call wins, as with ``asyncio.wait(return_when=FIRST_COMPLETED)``.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._turns_left = 0

    async def wait(self, ended_at_ns: int) -> None:
        """Wait for the turn of a call that ended at a time."""
        future = self._loop.create_future()
        if not self._waiting:
            self._turns_left = _TURNS_OF_THE_LOOP
            self._loop.call_soon(self._turn)
        heapq.heappush(self._waiting, (ended_at_ns, next(self._numbers), future))
        await future

    def _turn(self) -> None:
        self._turns_left -= 1
        if self._turns_left <= 0:
            self._release()
        if self._waiting:
            self._loop.call_soon(self._turn)

    def _release(self) -> None:
        while self._waiting:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():  # it may have been cancelled
                future.set_result(None)
                break
        self._turns_left = _TURNS_OF_THE_LOOP


def running_loop() -> Any:
    """Return the running event loop of asyncio; None outside of one, as under trio."""
    asyncio = sys.modules.get("asyncio")
    return None if asyncio is None else asyncio._get_running_loop()  # noqa: SLF001 - the others raise outside of a loop
