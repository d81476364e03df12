"""Remember traces that were dropped before their end, so that they are counted by how they ended."""

from __future__ import annotations

from typing import Any, NamedTuple

from otel_agent_trace.sampling import DroppedTraces

_BYTES = 4096
"""Bytes of the bound for each trace that is remembered, which takes about an eighth of them."""


class EarlyDrop(NamedTuple):
    """Represent a trace that was dropped before its end.

    Args:
        known: what is known of it, see `deciders`.
        root_id: the id of its root span; None if that is not known, as only the ends of spans are observed.
        counted: as what it was counted.
    """

    known: Any
    root_id: int | None
    counted: DroppedTraces


class EarlyDrops:
    """Remember the latest traces that were dropped early, until their root spans have ended.

    Args:
        max_bytes: the memory that undecided traces may take.
    """

    def __init__(self, max_bytes: int) -> None:
        self._most = max_bytes // _BYTES
        self._by_trace: dict[int, EarlyDrop] = {}

    def add(self, trace_id: int, drop: EarlyDrop) -> None:
        """Remember a trace, and forget the oldest if there are too many."""
        self._by_trace[trace_id] = drop
        if len(self._by_trace) > self._most:
            self._by_trace.pop(next(iter(self._by_trace)), None)

    def get(self, trace_id: int) -> EarlyDrop | None:
        """Return what is remembered of a trace."""
        return self._by_trace.get(trace_id)

    def pop(self, trace_id: int) -> None:
        """Forget a trace."""
        self._by_trace.pop(trace_id, None)
