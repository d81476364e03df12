"""Read all traces of a store without pagination, in windows of time that are made narrower where they hold too much.

A store returns the traces with a span that started in a window, up to a limit, and does not report whether it left some
out. So a response is taken for complete if it has fewer traces than another one before; otherwise the window is made
narrower. That is right whether or not the store respects the limit of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from otel_agent_trace.errors import SourceError
from otel_agent_trace.span import SpanRecord

Traces = dict[str, list[SpanRecord]]

NS_PER_S = 1_000_000_000
FIRST_WIDTH_NS = 3600 * NS_PER_S
MAX_TRACES = 10_000
"""Number of traces that are requested of a window that cannot be narrower."""

_LEAST_LIMIT = 20
"""Least limit of a store, unless fewer traces are requested: responses with fewer are complete."""
_MAX_GROWTH = 8.0
_TARGET_SHARE = 3 / 4
"""Share of the limits of traces and bytes that a window should fill, which leaves room for fuller ones."""
_TOLERANCE_NS = 1_000_000
"""Time by which traces may be outside a window, for stores that count in micro- or milliseconds."""


class TooMuchError(Exception):
    """Report that a window holds more than can be fetched at once."""


class Found(NamedTuple):
    """Hold the traces of a window, the number of those in its largest response, and the share of the byte limit used."""

    traces: Traces
    largest: int
    share: float = 0.0


class Windows:
    """Read windows of time one after the other, from the newest to the oldest.

    Args:
        fetch: returns the traces that a store has between two times (Unix nanoseconds), up to a limit for each request.
        depth: the limit to request.
        smallest_ns: the least width of a window.
        on_cut: called with the times of a window that cannot be narrower, and holds more than the store returns.
    """

    def __init__(
        self, fetch: Callable[[int, int, int], Found], depth: int, smallest_ns: int, on_cut: Callable[[int, int], None]
    ) -> None:
        self._fetch, self._depth, self._smallest = fetch, depth, smallest_ns
        self._on_cut = on_cut
        self._largest = min(depth, _LEAST_LIMIT)

    def back(self, begin_ns: int, end_ns: int, width_ns: int = FIRST_WIDTH_NS) -> Iterator[Traces]:
        """Yield the traces of each window, the newest window first; a trace may be in several of them.

        Raises:
            SourceError: the store ignores the times of requests.
        """
        end, width = end_ns, width_ns
        while end > begin_ns:
            begin = max(begin_ns, end - width)
            width = end - begin
            found = self._fetch_window(begin, end)
            if found is None:
                width = max(self._smallest, width // 2)
                continue
            if self._is_complete(found):
                yield found.traces
                end, width = begin, max(self._smallest, int(width * self._growth(found)))
            elif width <= self._smallest:
                yield self._fetch_all(begin, end, found)
                end = begin
            else:
                width = max(self._smallest, self._narrower(found.traces, end, width))

    def _fetch_window(self, begin: int, end: int) -> Found | None:
        """Return the traces of a window, or None if they are too many and the window can be made narrower."""
        try:
            return self._fetch(begin, end, self._depth)
        except TooMuchError:
            if end - begin > self._smallest:
                return None
            self._on_cut(begin, end)
            return Found({}, 0)

    def _is_complete(self, found: Found) -> bool:
        """Return whether a response has fewer traces than the largest one so far."""
        if found.largest < self._largest:
            return True
        self._largest = found.largest
        return False

    def _growth(self, found: Found) -> float:
        """Return by which factor the next window may be wider, if it is as full as this one."""
        share = max(found.largest / self._depth, found.share)
        return min(_MAX_GROWTH, _TARGET_SHARE / share) if share else _MAX_GROWTH

    def _narrower(self, traces: Traces, end: int, width: int) -> int:
        """Return the width of the window to try instead of one that is too full.

        It covers three quarters of these traces, which are the newest of the window; or it ends before the moment at
        which most of them began.
        """
        starts = sorted(
            max((span.start_ns for span in spans if span.start_ns <= end), default=0) for spans in traces.values()
        )
        early, latest = starts[int(len(starts) * (1 - _TARGET_SHARE))], starts[-1]
        if early < latest or latest < end - width:
            return min(width // 2, end - early)
        return end - latest - self._smallest

    def _fetch_all(self, begin: int, end: int, found: Found) -> Traces:
        """Return all traces of a window that cannot be narrower, as far as the store returns them."""
        _check_times(found.traces, begin, end)
        try:
            more = self._fetch(begin, end, MAX_TRACES)
        except TooMuchError:
            more = found
        is_limited = more.largest <= found.largest and found.largest >= max(self._depth, _LEAST_LIMIT)
        if more.largest >= MAX_TRACES or is_limited:
            self._on_cut(begin, end)
        return {**found.traces, **more.traces}


def _check_times(traces: Traces, begin: int, end: int) -> None:
    """Check that a store respects the times of requests; otherwise it would return the same for every window.

    Raises:
        SourceError: a trace has no span in the window.
    """
    begin, end = begin - _TOLERANCE_NS, end + _TOLERANCE_NS
    if not all(any(begin <= span.start_ns <= end for span in spans) for spans in traces.values()):
        msg = "the server returns traces of other times than requested, so that not all of them can be read"
        raise SourceError(msg)
