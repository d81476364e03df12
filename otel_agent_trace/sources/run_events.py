"""Make events of the starts and ends of runs and steps, of the spans of traces while these come in."""

from __future__ import annotations

import heapq
import itertools
import sys
import time
from collections.abc import Iterable, Iterator

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.dialects import is_ours
from otel_agent_trace.model import AgentRun, AgentStep, at_time
from otel_agent_trace.query import INTERRUPTED
from otel_agent_trace.runs import assemble
from otel_agent_trace.span import FLAG_REMOTE_PARENT, SpanRecord

_Times = tuple[int, int]
"""Begin and end, in Unix nanoseconds."""
_MOST_SORTED = 100_000
"""Number of events that are held to be sorted by time; those that are further apart come in the order of the files."""
_MOST_OPEN = 10_000
_MOST_RECENT = 131_072
_SWEEP_LINES = 4096
_RUN_WAIT_S, _PARENT_WAIT_S = 1.0, 30.0
"""Time for which a step waits for what is above it: for a run of ours, whose start is in a journal, and for one of another
tracer, which may be written only when it ends."""
_NEVER_S = float("inf")
_STARTED, _ENDED = 1, 2


class Event(msgspec.Struct, frozen=True):
    """Represent that a run or a step has started or ended.

    `event` is "run_started", "step_started", "step_ended" or "run_ended". `kind` is that of the step, "agent" for a run.
    `status` is "running" at a start; at an end that of the run, "success" or "error" for a step, and "interrupted" for
    both if the process is gone. `time_ns` is Unix nanoseconds, `depth` the number of runs and steps around it.
    """

    event: str
    run_id: str
    span_id: str | None
    parent_run_id: str | None
    kind: str
    name: str | None
    status: str
    time_ns: int
    duration_s: float | None
    depth: int

    def to_dict(self) -> dict[str, object]:
        """Return the event as JSON-able data; the time is ISO 8601, the duration seconds."""
        return {
            "event": self.event,
            "run_id": self.run_id,
            "span_id": self.span_id,
            "parent_run_id": self.parent_run_id,
            "kind": self.kind,
            "name": self.name,
            "status": self.status,
            "time": at_time(self.time_ns).isoformat(),
            "duration_s": self.duration_s,
        }

    def ended(self, status: str, end_ns: int) -> Event:
        """Return the end of what has started with this event."""
        event, duration_s = self.event.replace("_started", "_ended"), (end_ns - self.time_ns) / 1e9
        return msgspec.structs.replace(self, event=event, status=status, time_ns=end_ns, duration_s=duration_s)


class _Trace:
    """Hold the spans of an open trace, and how far its runs and steps have been reported."""

    __slots__ = ("began_s", "due_s", "is_changed", "last_line", "spans", "stages")

    def __init__(self) -> None:
        self.spans: dict[str, SpanRecord] = {}
        self.stages: dict[str, int] = {}
        """Id of a run or span → `_STARTED` or `_ENDED`."""
        self.began_s = time.monotonic()
        self.last_line = 0
        self.is_changed = False
        self.due_s = _NEVER_S
        """Time of the monotonic clock until which steps wait for what is above them."""

    @property
    def is_over(self) -> bool:
        """Return whether all spans have ended."""
        return all(map(_is_over, self.spans.values()))


class TraceEvents:
    """Make events of spans."""

    def __init__(self) -> None:
        self._open: dict[str, _Trace] = {}
        self._recent: dict[int, int] = {}
        """Hash of what has ended lately → its stage."""
        self._events: list[tuple[int, int, Event]] = []
        self._number = itertools.count()
        self._lines = 0

    def add(self, spans: Iterable[SpanRecord]) -> None:
        """Add the spans of a line."""
        self._lines += 1
        for span in spans:
            if hash((span.trace_id, span.span_id)) in self._recent:
                continue
            trace = self._open.get(span.trace_id)
            if trace is None:
                trace = self._open[span.trace_id] = _Trace()
            known = trace.spans.get(span.span_id)
            if known is None or (
                known.end_ns is None and (span.end_ns is not None or _is_over(span) > _is_over(known))
            ):
                trace.spans[span.span_id] = span
                trace.last_line, trace.is_changed = self._lines, True

    def sweep(self) -> Iterator[Event]:
        """Take complete traces, now and then, and yield the first events if there are many."""
        if self._lines % _SWEEP_LINES:
            return
        for trace_id, trace in [*self._open.items()]:
            is_complete = trace.is_over and any(map(_is_outermost, trace.spans.values()))
            if is_complete and trace.last_line < self._lines - _SWEEP_LINES:
                self._take(trace_id, trace, is_last=True)
        self._limit()
        while len(self._events) > _MOST_SORTED:
            yield heapq.heappop(self._events)[-1]

    def flush(self, *, is_last: bool) -> Iterator[Event]:
        """Yield all that is new."""
        due_s = time.monotonic()
        for trace_id, trace in [*self._open.items()]:
            if trace.is_changed or trace.due_s <= due_s or (is_last and trace.due_s < _NEVER_S):
                self._take(trace_id, trace, is_last=is_last)
        self._limit()
        while self._events:
            yield heapq.heappop(self._events)[-1]

    def _limit(self) -> None:
        """Forget the traces that have been quiet for longest, if too many are open: what sampling drops has no end."""
        if len(self._open) > _MOST_OPEN:
            quiet = sorted(self._open.items(), key=lambda item: item[1].last_line)
            for trace_id, trace in quiet[: len(quiet) - _MOST_OPEN * 9 // 10]:
                self._take(trace_id, trace, is_last=True)
                self._close(trace_id, trace)

    def _take(self, trace_id: str, trace: _Trace, *, is_last: bool) -> None:
        """Make events of what is new in a trace, and forget what has ended."""
        trace.is_changed, trace.due_s = False, _NEVER_S
        for run in assemble(trace.spans.values()):
            due_s = 0.0 if is_last else self._due_s(run, trace)
            if due_s > time.monotonic():
                trace.due_s = min(trace.due_s, due_s)
            else:
                self._add_run(run, trace, 0, (0, sys.maxsize))
        if trace.due_s < _NEVER_S:
            return
        if trace.is_over:
            self._close(trace_id, trace)
        elif all(map(is_ours, trace.spans.values())):
            parents = {span.parent_span_id for span in trace.spans.values()}
            below = [span for span in trace.spans.values() if span.parent_span_id and span.span_id not in parents]
            self._forget(trace, [span for span in below if _is_over(span)])

    def _close(self, trace_id: str, trace: _Trace) -> None:
        """Forget a trace, but for the ids of what it had."""
        self._forget(trace, [*trace.spans.values()])
        for key, stage in trace.stages.items():
            self._remember(hash(key), stage)
        self._open.pop(trace_id, None)

    def _forget(self, trace: _Trace, spans: Iterable[SpanRecord]) -> None:
        for span in spans:
            del trace.spans[span.span_id]
            trace.stages.pop(span.span_id, None)
            self._remember(hash((span.trace_id, span.span_id)), _ENDED)

    def _remember(self, key: int, stage: int) -> None:
        self._recent[key] = stage
        if len(self._recent) > _MOST_RECENT:
            del self._recent[next(iter(self._recent))]

    def _stage(self, trace: _Trace, key: str) -> int:
        return trace.stages.get(key) or self._recent.get(hash(key), 0)

    def _due_s(self, run: AgentRun, trace: _Trace) -> float:
        """Return the time until which some steps wait for what is above them; 0 if that is known."""
        if run.span_id is not None or self._stage(trace, run.run_id):
            return 0.0
        spans = [span for step in run.steps if (span := trace.spans.get(step.span_id or ""))]
        wait_s = _RUN_WAIT_S if all(map(is_ours, spans)) else _PARENT_WAIT_S
        return 0.0 if any(map(_is_outermost, spans)) else trace.began_s + wait_s

    def _add_run(self, run: AgentRun, trace: _Trace, depth: int, within: _Times) -> None:
        """Add the events of a run and of its steps, sorted within the times of what is around it."""
        about = (run.run_id, run.span_id, run.parent_run_id, "agent", run.agent_name)
        started = Event("run_started", *about, "running", run.started_at_ns, None, depth)
        ended = None
        if run.ended_at_ns is not None:
            ended = started.ended(run.status.value, run.ended_at_ns)
        elif run.interrupted is True:
            ended = started.ended(INTERRUPTED, _last_time(run))
        within = _bounded(started, ended, within)
        self._add(started, trace, run.run_id, within)
        depths: dict[int | str | None, int] = {}
        for step in run.steps:
            depths[step.step_id] = depths.get(step.parent_step_id, depth) + 1
            if step.run is not None:
                self._add_run(step.run, trace, depths[step.step_id], within)
            else:
                self._add_step(step, run, trace, depths[step.step_id], within)
        if ended is not None:
            self._add(ended, trace, run.run_id, within)

    def _add_step(self, step: AgentStep, run: AgentRun, trace: _Trace, depth: int, within: _Times) -> None:
        about = (run.run_id, step.span_id, run.parent_run_id, step.kind.value, step.name)
        started = Event("step_started", *about, "running", step.started_at_ns, None, depth)
        span, ended = trace.spans.get(step.span_id or ""), None
        if step.ended_at_ns is not None:
            ended = started.ended("success" if step.error is None else "error", step.ended_at_ns)
        elif span is not None and _is_over(span):
            ended = started.ended(INTERRUPTED, _last_time(run))
        key, within = step.span_id or f"{run.run_id}:{step.step_id}", _bounded(started, ended, within)
        self._add(started, trace, key, within)
        if ended is not None:
            self._add(ended, trace, key, within)

    def _add(self, event: Event, trace: _Trace, key: str, within: _Times) -> None:
        """Add an event unless it was there already; a start is sorted by the first of two times, an end by the second."""
        is_end = event.duration_s is not None
        stage = _ENDED if is_end else _STARTED
        if self._stage(trace, key) < stage:
            trace.stages[key] = stage
            heapq.heappush(self._events, (within[is_end], next(self._number), event))


def _bounded(started: Event, ended: Event | None, within: _Times) -> _Times:
    """Return the times of a run or step within those of what is around it; what has not ended has the end of that."""
    begin = min(max(within[0], started.time_ns), within[1])
    return begin, within[1] if ended is None else min(max(begin, ended.time_ns), within[1])


def _is_over(span: SpanRecord) -> bool:
    """Return whether a span has ended, or its process has."""
    return span.end_ns is not None or span.attributes.get(semconv.INTERRUPTED) is True


def _is_outermost(span: SpanRecord) -> bool:
    """Return whether no span of this store is above a span."""
    return not span.parent_span_id or bool(span.flags & FLAG_REMOTE_PARENT)


def _last_time(run: AgentRun) -> int:
    """Return the last time that is known of a run, in Unix nanoseconds."""
    parts: list[AgentRun | AgentStep] = []
    for each in run.walk():
        parts += [each, *each.steps]
    return max(max(part.started_at_ns, part.ended_at_ns or 0) for part in parts)
