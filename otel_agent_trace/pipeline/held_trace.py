"""Define what is held of one trace."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

_TRACE_BYTES = 1500
Entry = tuple[Callable[[str, Any], None], str, Any]
"""Function that delivers an event, the name of the method of sinks that receives it, and the event."""


class HeldTrace:
    """Hold the spans and logs of one trace, and the decision about it.

    `open` has the ids of its open spans, `writing` those of the spans, and the identities of the logs, that are passed
    on to be held at this moment: threads add to them and remove from them without a lock.
    """

    __slots__ = (
        "bytes",
        "decision",
        "entries",
        "has_root_ended",
        "has_starts",
        "is_being_delivered",
        "is_early",
        "is_followed",
        "known",
        "number",
        "open",
        "root_id",
        "waits_since_s",
        "writing",
    )

    def __init__(self, known: Any, root_id: int) -> None:
        self.entries: deque[Entry] = deque()
        self.known, self.root_id = known, root_id
        self.bytes = _TRACE_BYTES
        self.number = 0
        self.open: set[int] = set()
        self.writing: set[int] = set()
        self.has_starts = self.has_root_ended = self.is_early = False
        self.decision: int | None = None
        self.is_followed = self.is_being_delivered = False
        self.waits_since_s = 0.0

    @property
    def is_over(self) -> bool:
        """Return whether no span is open; if starts are not observed, whether a root span has ended."""
        return not self.open if self.has_starts else self.has_root_ended


def has_no_parent_here(span: Any) -> bool:
    """Return whether a span is the outermost one of its trace in this process."""
    parent = span.parent
    return parent is None or parent.is_remote
