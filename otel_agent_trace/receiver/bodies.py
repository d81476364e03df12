"""Receive the bodies of requests: each within its size and time, and all together within some memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from otel_agent_trace.receiver.refusals import Reason, RefusedError
from otel_agent_trace.receiver.unpacking import Limits

_RETRY_S = 1


class Bodies:
    """Receive bodies, and count the bytes of all that are being received or wait to be written."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held_bytes = 0

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[bytes]:
        """Yield the body of a request, whose bytes count until the end of the block.

        Raises:
            RefusedError: it is too large, does not arrive whole and in time, or there are too many at once.
        """
        body = _Body(self, _announced_bytes(request))
        try:
            await self._receive(body, request)
            yield body.taken()
        finally:
            self._held_bytes -= body.held_bytes

    async def _receive(self, body: _Body, request: Request) -> None:
        limit_s = self._limits.body_timeout_s
        try:
            await asyncio.wait_for(body.receive(request), limit_s)
        except asyncio.TimeoutError as error:
            raise RefusedError(Reason.SLOW, f"the body did not arrive within {limit_s:g} s") from error

    def hold(self, size: int, more: int) -> None:
        """Count `more` bytes of a body that has `size` with them.

        Raises:
            RefusedError: these are too many.
        """
        if size > self._limits.packed_bytes:
            raise RefusedError(Reason.TOO_LARGE, f"the body has more than {self._limits.packed_bytes} bytes")
        if self._held_bytes + more > self._limits.waiting_bytes:
            raise RefusedError(Reason.UNAVAILABLE, "too many requests at once", retry_after_s=_RETRY_S)
        self._held_bytes += more


class _Body:
    """Collect the pieces of one body, whose bytes count before they arrive if they are announced."""

    def __init__(self, bodies: Bodies, announced_bytes: int) -> None:
        self._bodies, self._announced_bytes = bodies, announced_bytes
        self._pieces: list[bytes] = []
        self.held_bytes = 0

    async def receive(self, request: Request) -> None:
        self._hold(self._announced_bytes)
        size = 0
        try:
            async for piece in request.stream():
                size += len(piece)
                self._hold(size)
                self._pieces.append(piece)
        except ClientDisconnect as error:
            raise RefusedError(Reason.UNREADABLE, "the body is incomplete") from error

    def _hold(self, size: int) -> None:
        if size > self.held_bytes:
            self._bodies.hold(size, size - self.held_bytes)
            self.held_bytes = size

    def taken(self) -> bytes:
        """Return the body, and forget its pieces."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _announced_bytes(request: Request) -> int:
    announced = request.headers.get("content-length", "")
    return int(announced[:20]) if announced.isdecimal() else 0
