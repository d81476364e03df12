"""Page through the traces of a table, the newest first, in windows of time.

A statement lists the ids of the traces with a span that started in a window, those with the latest start first, up to a
limit. The next window ends where that list ended, and is as wide as its traces were apart; windows with few traces are
followed by wider ones. A long trace is in many windows, so the ids of traces that go back beyond the end of the next
window are held; those of others as long as windows are within an hour of them, since a span may arrive meanwhile that
began before all others of its trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

NS_PER_S = 1_000_000_000
FIRST_WIDTH_NS = 3600 * NS_PER_S
LATE_NS = 3600 * NS_PER_S
"""Longest time by which a span that arrives while a table is read may have begun before all others of its trace."""
FIRST_PAGE = 64
MAX_PAGE = 1024
"""Number of traces of the first page, which may be all that are needed, and of a page after several."""
_LEAST_WIDTH_NS = 1_000_000
_GROWTH = 8


class Listed(NamedTuple):
    """Hold the id of a trace, and the latest start (Unix nanoseconds) of its spans in a window."""

    trace_id: str
    latest_ns: int


class Times(NamedTuple):
    """Hold the earliest and the latest start of spans, in Unix nanoseconds, or times around these."""

    first_ns: int
    last_ns: int


Page = dict[str, Times]
"""Ids of traces in order, each with the times of its spans."""
ListTraces = Callable[[int, int, int], Sequence[Listed]]
"""Function that lists the traces with a span that started in a window, both ends included (Unix nanoseconds), up to a limit."""
FindTimes = Callable[[Sequence[str]], Page]
"""Function that returns the times of traces, in the same order."""


class TracePages:
    """Page through the traces with a span that started between two times (Unix nanoseconds), each once.

    Args:
        list_traces: lists the traces of a window.
        find_times: returns the times of traces.
        begin_ns: the beginning of the time.
        end_ns: the end of the time, which is included.
        max_page: the most traces of a page.
    """

    def __init__(
        self, list_traces: ListTraces, find_times: FindTimes, begin_ns: int, end_ns: int, max_page: int = MAX_PAGE
    ) -> None:
        self._list_traces, self._find_times = list_traces, find_times
        self._begin_ns, self._end_ns, self._max_page = begin_ns, end_ns, max_page
        self._starts: dict[str, int] = {}

    def __iter__(self) -> Iterator[Page]:
        """Yield the traces of each page, the newest first."""
        width_ns, size = FIRST_WIDTH_NS, min(FIRST_PAGE, self._max_page)
        while self._end_ns >= self._begin_ns:
            begin_ns = max(self._begin_ns, self._end_ns - width_ns)
            limit = size + sum(start_ns <= self._end_ns for start_ns in self._starts.values())
            listed = self._list_traces(begin_ns, self._end_ns, limit)
            new = [each for each in listed if each.trace_id not in self._starts][:size]
            if new:
                page = self._find_times([each.trace_id for each in new])
                self._remember(new, page)
                yield page
            if len(listed) >= limit or len(new) == size:
                cut_ns = (new if len(new) == size else listed)[-1].latest_ns
                width_ns = max(_LEAST_WIDTH_NS, 2 * (self._end_ns - cut_ns))
                self._forget_until(cut_ns)
            else:
                width_ns *= _GROWTH if len(listed) * _GROWTH <= limit else 1
                self._forget_until(begin_ns - 1)
            size = min(2 * size, self._max_page)

    def _remember(self, listed: Sequence[Listed], page: Page) -> None:
        """Hold when traces began; those that are invalid, or gone meanwhile, have no times."""
        for trace_id, _ in listed:
            self._starts[trace_id] = page[trace_id].first_ns if trace_id in page else self._begin_ns

    def _forget_until(self, end_ns: int) -> None:
        """End the next window at a time, and forget the traces that cannot be in it."""
        self._end_ns = end_ns
        self._starts = {
            trace_id: start_ns for trace_id, start_ns in self._starts.items() if start_ns <= end_ns + LATE_NS
        }
