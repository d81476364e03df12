"""Replace times that are none by those of other spans: never set (0), negative, or an end before the start.

Exporters have written each of these: a span whose start was never set has 0, a clock before 1970 gives a number near 2^64,
and clocks that are set back give ends before starts. Such a run would last for 56 years, or less than no time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from otel_agent_trace.span import SpanRecord

_TIME_END = 1 << 63
_YEAR_NS = 366 * 86400 * 10**9
_replace = msgspec.structs.replace


class UnknownTimes(NamedTuple):
    """Hold the numbers of spans of a trace whose start, and whose end, is no time."""

    starts: int
    ends: int


def unknown_times(spans: Sequence[SpanRecord]) -> UnknownTimes | None:
    """Return how many spans have no valid start, and how many no valid end, if any; open spans are not counted."""
    if not _has_odd_times(spans):
        return None
    clock = _clock_of(spans)
    starts = [span for span in spans if not clock.is_time(span.start_ns)]
    ends = [span for span in spans if span.end_ns is not None and not clock.has_end(span)]
    return UnknownTimes(len(starts), len(ends)) if starts or ends else None


def with_known_times(records: dict[str, SpanRecord]) -> dict[str, SpanRecord]:
    """Return the spans of one trace by id, with a time in place of each that is none.

    A start is replaced by the earliest time of the spans below, of the span's own events and of its end; without any of
    these by that of the span above. An end is replaced by the latest time of the spans directly below and of the span's
    own events, or by the start.
    """
    if not _has_odd_times(records.values()):
        return records
    clock = _clock_of(records.values())
    starts = _Starts(records, clock).found()
    known = {span_id: _replace(span, start_ns=starts.get(span_id, span.start_ns)) for span_id, span in records.items()}
    latest = _latest_below(known, clock)
    return {
        span_id: span
        if span.end_ns is None or clock.has_end(span)
        else _replace(span, end_ns=max(span.start_ns, latest.get(span_id, 0), *clock.event_times(span)))
        for span_id, span in known.items()
    }


def _has_odd_times(spans: Iterable[SpanRecord]) -> bool:
    """Return whether any span has a time that may be none: a loop, as this runs over every span that is read."""
    for span in spans:
        start_ns, end_ns = span.start_ns, span.end_ns
        if not 0 < start_ns <= (start_ns if end_ns is None else end_ns) < _TIME_END:
            return True
    return False


class _Clock(NamedTuple):
    """Define which numbers are times in one trace: from `least_ns` to the end of 63 bits."""

    least_ns: int

    def is_time(self, time_ns: int) -> bool:
        return self.least_ns <= time_ns < _TIME_END

    def has_end(self, span: SpanRecord) -> bool:
        """Return whether a span has a valid end: not before its start, if that is valid."""
        end_ns = span.end_ns or 0
        return self.is_time(end_ns) and (end_ns >= span.start_ns or not self.is_time(span.start_ns))

    def event_times(self, span: SpanRecord) -> list[int]:
        return [event.time_ns for event in span.events if self.is_time(event.time_ns)]


def _clock_of(spans: Iterable[SpanRecord]) -> _Clock:
    """Return the clock of a trace: 0 is a time of clocks that count from the start of a program, as tests have them."""
    times = (time_ns for span in spans for time_ns in (span.start_ns, span.end_ns or 0))
    latest_ns = max((time_ns for time_ns in times if 0 < time_ns < _TIME_END), default=_TIME_END)
    return _Clock(0 if latest_ns < _YEAR_NS else 1)


class _Starts:
    """Find the starts of the spans that have no valid one."""

    def __init__(self, records: dict[str, SpanRecord], clock: _Clock) -> None:
        self._records, self._clock = records, clock
        self._unknown = {span_id for span_id, span in records.items() if not clock.is_time(span.start_ns)}
        self._starts: dict[str, int] = {}

    def found(self) -> dict[str, int]:
        """Return the starts by span id."""
        for span_id, span in self._records.items():
            if span_id not in self._unknown:
                self._note_above(self._parent_of(span), span.start_ns)
            elif times := self._own_times(span):
                self._note_above(span, min(times))
        for span_id in self._unknown - self._starts.keys():
            self._starts[span_id] = self._start_above(self._records[span_id])
        return self._starts

    def _own_times(self, span: SpanRecord) -> list[int]:
        ends = [span.end_ns] if span.end_ns is not None and self._clock.has_end(span) else []
        return [*self._clock.event_times(span), *ends]

    def _note_above(self, span: SpanRecord | None, time_ns: int) -> None:
        """Set the start of a span and of those above it, as far up as starts are unknown and no earlier one is found."""
        while span is not None and span.span_id in self._unknown:
            if self._starts.get(span.span_id, _TIME_END) <= time_ns:
                return
            self._starts[span.span_id] = time_ns
            span = self._parent_of(span)

    def _start_above(self, span: SpanRecord) -> int:
        """Return the start of the closest span above that has one, 0 if there is none."""
        above = self._parent_of(span)
        for _ in self._records:
            if above is None:
                break
            if above.span_id not in self._unknown or above.span_id in self._starts:
                return self._starts.get(above.span_id, above.start_ns)
            above = self._parent_of(above)
        return 0

    def _parent_of(self, span: SpanRecord) -> SpanRecord | None:
        return None if span.parent_span_id is None else self._records.get(span.parent_span_id)


def _latest_below(records: dict[str, SpanRecord], clock: _Clock) -> dict[str, int]:
    """Return for each span the latest start or valid end of the spans directly below it."""
    latest: dict[str, int] = {}
    for span in records.values():
        if span.parent_span_id is not None:
            time_ns = max(span.start_ns, (span.end_ns or 0) if clock.has_end(span) else 0)
            latest[span.parent_span_id] = max(latest.get(span.parent_span_id, 0), time_ns)
    return latest
