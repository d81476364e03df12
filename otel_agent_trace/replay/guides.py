"""Serve the answers of one call: let it wait for its turn, and refuse what was not recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NoReturn

from otel_agent_trace.replay.recordings import Call
from otel_agent_trace.replay.turns import Turns

_NS_PER_S = 1_000_000_000
_MAX_LATER_S = 10.0
"""Seconds to wait for a cancellation, beyond the time after which it came in the recording."""


class CallGuide:
    """Serve the answers of one call.

    Args:
        call: the recorded call.
        turns: the turns of the calls of the replay.
        refuse: notes a reason and raises the divergence.
    """

    def __init__(self, call: Call, turns: Callable[[], Turns], refuse: Callable[[Call, str], NoReturn]) -> None:
        self._call, self._turns, self._refuse = call, turns, refuse

    def diverge(self, reason: str) -> NoReturn:
        """Note that the program asked for more than was recorded, and raise it."""
        self._refuse(self._call, reason)

    async def turn(self, ended_at_ns: int) -> None:
        """Wait until the calls have ended that did so before in the recording."""
        await self._turns().wait(ended_at_ns)

    async def cancellation(self) -> None:
        """Wait to be cancelled, as the recorded call was, which otherwise is a divergence."""
        record = self._call.record
        took_s = ((record.ended_at_ns or 0) - record.started_at_ns) / _NS_PER_S
        try:
            await asyncio.wait_for(asyncio.get_running_loop().create_future(), max(took_s, 0.0) + _MAX_LATER_S)
        except asyncio.TimeoutError:
            self.diverge("it was cancelled in the recording, and nobody cancels it now")
