"""Count the memory that held traces take."""

from __future__ import annotations

from collections import deque
from contextlib import suppress

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

    Ended spans are counted some at a time, one for each MiB of the bound at most: by then most traces are decided,
    whose spans need no estimate.

    Args:
        max_bytes: the bound.
        diagnostics: counts estimates that fail.
    """

    def __init__(self, max_bytes: int, diagnostics: Diagnostics) -> None:
        self._diagnostics = diagnostics
        self.most_uncounted = min(_MOST_UNCOUNTED, max_bytes >> 20)
        self.uncounted: deque[tuple[HeldTrace, PipelineSpan | None]] = deque()
        """Ended spans, None for one that takes no memory; `count` is to be called for more than `most_uncounted`."""
        self.bytes = 0

    def add(self, held: HeldTrace, size: int) -> None:
        """Count some bytes of a trace, under the lock of what is held."""
        if held.decision is None:
            held.bytes += size
            self.bytes += size

    def count(self) -> list[tuple[HeldTrace, int]]:
        """Return the traces and the estimated bytes of the spans that are not counted, for `add`."""
        sizes, pop = [], self.uncounted.popleft
        with suppress(IndexError):  # nothing is left, perhaps as another thread had the last one
            while True:
                held, span = pop()
                if held.decision is None:
                    sizes.append((held, self._bytes_of(span)))
        return sizes

    def _bytes_of(self, span: PipelineSpan | None) -> int:
        if span is None:
            return _JOURNALED_BYTES
        return ENTRY_BYTES + (guarded(self._diagnostics, "gate", span.estimated_bytes) or 0)
