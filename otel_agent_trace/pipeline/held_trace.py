"""Define what is held of one trace."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

_TRACE_BYTES = 1500
Entry = tuple[Callable[[str, Any], None], str, Any]
"""Function that delivers an event, the name of the method of sinks that receives it, and the event."""


class HeldTrace:
    """Hold the spans and logs of one trace, and the decision about it."""

    __slots__ = (
        "bytes",
        "decision",
        "entries",
        "has_root_ended",
        "has_starts",
        "is_being_delivered",
        "is_followed",
        "known",
        "number",
        "open",
        "root_id",
        "writing",
    )

    def __init__(self, known: Any, root_id: int) -> None:
        self.entries: deque[Entry] = deque()
        self.known, self.root_id = known, root_id
        self.bytes = _TRACE_BYTES
        self.number = self.open = self.writing = 0
        self.has_starts = self.has_root_ended = False
        self.decision: int | None = None
        self.is_followed = self.is_being_delivered = False

    @property
    def is_over(self) -> bool:
        """Return whether no span is open; if starts are not observed, whether a root span has ended."""
        return self.open <= 0 if self.has_starts else self.has_root_ended
