"""Count the memory that held traces take."""

from __future__ import annotations

from collections import deque

from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.pipeline.held_trace import HeldTrace
from otel_agent_trace.pipeline.spans import PipelineSpan

ENTRY_BYTES = 500
"""Bytes of what is noted of an event that is held in memory."""
_JOURNALED_BYTES = 300
"""Bytes of what is noted of an ended span that a journal has."""
_MOST_UNCOUNTED = 64


class HeldBytes:
    """Count the estimated bytes of what is held.

    Ended spans are counted some at a time, one for each MiB of the bound at most: by then most traces are decided, whose spans
    need no estimate.

    Args:
        max_bytes: the bound.
        is_in_memory: whether spans that have ended take memory, as not every sink has a journal on disk.
        diagnostics: counts estimates that fail.
    """

    def __init__(self, max_bytes: int, *, is_in_memory: bool, diagnostics: Diagnostics) -> None:
        self._is_in_memory, self._diagnostics = is_in_memory, diagnostics
        self._most_uncounted = min(_MOST_UNCOUNTED, max_bytes >> 20)
        self._uncounted: deque[tuple[HeldTrace, PipelineSpan | None]] = deque()
        self.bytes = 0

    def add(self, held: HeldTrace, size: int) -> None:
        """Count some bytes of a trace, under the lock of what is held."""
        if held.decision is None:
            held.bytes += size
            self.bytes += size

    def note(self, held: HeldTrace, span: PipelineSpan) -> bool:
        """Note an ended span, and return whether `count` has to be called."""
        self._uncounted.append((held, span if self._is_in_memory else None))
        return len(self._uncounted) > self._most_uncounted

    def count(self) -> list[tuple[HeldTrace, int]]:
        """Return the traces and the estimated bytes of the spans that were noted, for `add`."""
        sizes = []
        while self._uncounted:
            try:
                held, span = self._uncounted.popleft()
            except IndexError:  # another thread had the last one
                break
            if held.decision is None:
                sizes.append((held, self._bytes_of(span)))
        return sizes

    def _bytes_of(self, span: PipelineSpan | None) -> int:
        if span is None:
            return _JOURNALED_BYTES
        return ENTRY_BYTES + (guarded(self._diagnostics, "gate", span.estimated_bytes) or 0)
