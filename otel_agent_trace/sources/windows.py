"""Read everything out of a store that has no pages: windows of time, narrowed where too much lies in one of them.

A store gives the traces that have a span which started in a window, but no more than so many; whether it left some out, it
does not say. So an answer is taken for whole if it is smaller than one that the store has given before; otherwise the
window is made narrower. That holds whatever the store does with the number that it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from otel_agent_trace.errors import SourceError
from otel_agent_trace.span import SpanRecord

Traces = dict[str, list[SpanRecord]]

NS_PER_S = 1_000_000_000
FIRST_WIDTH_NS = 3600 * NS_PER_S
MOST_TRACES = 10_000
"""What is asked for where a window cannot be narrower."""

_TRUSTED = 20
"""No store gives fewer, unless it is asked for fewer."""
_MOST_GROWTH = 8.0
_AIM = 3 / 4
"""Of the traces that are asked for, and of the bytes that may come at once: room for windows that hold more."""
_SLACK_NS = 1_000_000
"""Stores that count in micro- or milliseconds may give what lies next to a window."""


class TooMuchError(Exception):
    """What lies in a window cannot be had at once."""


class Found(NamedTuple):
    """The traces of a window, how many came in its fullest answer, and how much of what may come at once this was."""

    traces: Traces
    most: int
    share: float = 0.0


class Windows:
    """Goes back through time, one window after the other.

    Args:
        ask: gives what a store has between two times (Unix nanoseconds), at most so many traces of each kind.
        depth: how many to ask for.
        smallest_ns: how narrow a window can be.
        on_cut: is told the times of a window which cannot be narrower, and holds more than the store gives.
    """

    def __init__(
        self, ask: Callable[[int, int, int], Found], depth: int, smallest_ns: int, on_cut: Callable[[int, int], None]
    ) -> None:
        self._ask, self._depth, self._smallest = ask, depth, smallest_ns
        self._on_cut = on_cut
        self._largest = min(depth, _TRUSTED)

    def back(self, begin_ns: int, end_ns: int, width_ns: int = FIRST_WIDTH_NS) -> Iterator[Traces]:
        """Yield what lies in each window, the newest first. Neighbours share their border."""
        end, width = end_ns, width_ns
        while end > begin_ns:
            begin = max(begin_ns, end - width)
            width = end - begin
            found = self._found(begin, end)
            if found is None:
                width = max(self._smallest, width // 2)
                continue
            if self._is_whole(found):
                yield found.traces
                end, width = begin, max(self._smallest, int(width * self._growth(found)))
            elif width <= self._smallest:
                yield self._at_once(begin, end, found)
                end = begin
            else:
                width = max(self._smallest, self._narrower(found.traces, end, width))

    def _found(self, begin: int, end: int) -> Found | None:
        """What lies there, or None where that is too much."""
        try:
            return self._ask(begin, end, self._depth)
        except TooMuchError:
            if end - begin > self._smallest:
                return None
            self._on_cut(begin, end)
            return Found({}, 0)

    def _is_whole(self, found: Found) -> bool:
        if found.most < self._largest:
            return True
        self._largest = found.most
        return False

    def _growth(self, found: Found) -> float:
        """How much wider the next window may be, if its time is as full."""
        share = max(found.most / self._depth, found.share)
        return min(_MOST_GROWTH, _AIM / share) if share else _MOST_GROWTH

    def _narrower(self, traces: Traces, end: int, width: int) -> int:
        """How wide a window to try instead of one that is too full: as wide as most of these traces were in, since stores
        that have more give the newest; or up to the moment at which most of them began.
        """
        starts = sorted(
            max((span.start_ns for span in spans if span.start_ns <= end), default=0) for spans in traces.values()
        )
        early, latest = starts[int(len(starts) * (1 - _AIM))], starts[-1]
        if early < latest or latest < end - width:
            return min(width // 2, end - early)
        return end - latest - self._smallest

    def _at_once(self, begin: int, end: int, found: Found) -> Traces:
        """All that lies in a window which cannot be narrower."""
        _check_times(found.traces, begin, end)
        try:
            more = self._ask(begin, end, MOST_TRACES)
        except TooMuchError:
            more = found
        if more.most >= MOST_TRACES or (more.most <= found.most and found.most >= max(self._depth, _TRUSTED)):
            self._on_cut(begin, end)
        return {**found.traces, **more.traces}


def _check_times(traces: Traces, begin: int, end: int) -> None:
    """Refuse a store that does not look at the times; it would give the same for every window."""
    begin, end = begin - _SLACK_NS, end + _SLACK_NS
    if not all(any(begin <= span.start_ns <= end for span in spans) for spans in traces.values()):
        msg = "it gives traces of other times than those that it was asked for, so not all of them can be had"
        raise SourceError(msg)
