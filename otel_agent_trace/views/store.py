"""Describe a store, and what happens in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from otel_agent_trace.sources.run_events import Event
from otel_agent_trace.sources.status import StoreStatus
from otel_agent_trace.views.figures import duration_text, plural, time_text, when_text
from otel_agent_trace.views.rows import Cell, Line, Row
from otel_agent_trace.views.values_text import one_line

_ID_CHARS = 8
_STATUS_CHARS = len("interrupted")
_NAME_CHARS = 80
_INDENT = 2


def status_rows(status: StoreStatus) -> Iterator[Row]:
    """Yield rows for the files of a store, its runs, journals, index, binary parts, sampling and damage."""
    segments, journals, index, media = status.segments, status.journals, status.index, status.media
    yield Row("segments", f"{segments.closed:,} closed, {segments.live:,} live, {plural(status.bytes, 'byte')}")
    yield Row("runs", f"{status.runs:,}, {plural(status.spans, 'span')}")
    if status.first_ns is not None and status.last_ns is not None:
        yield Row("time", f"{time_text(status.first_ns)} to {time_text(status.last_ns)}")
    unknown = f", {journals.unknown:,} of processes that cannot be known" if journals.unknown else ""
    yield Row("journals", f"{journals.alive:,} alive, {journals.dead:,} dead{unknown}")
    yield Row("index", plural(index.bytes, "byte") if index.present else "none")
    yield Row("media", f"{plural(media.parts, 'part')}, {plural(media.bytes, 'byte')}")
    if status.sampling.bytes:
        dropped = status.sampling.dropped
        what = "no counts, as runs were removed" if dropped is None else f"{plural(dropped, 'trace')} dropped"
        yield Row("sampling", f"{what}, {plural(status.sampling.bytes, 'byte')}")
    yield Row("damage", f"{status.damage:,}" if status.damage else "none", "failed" if status.damage else "")
    for problem in status.damaged:
        yield Row("", str(problem), "failed")
    for problem in status.unreadable:
        yield Row("unreadable", str(problem), "failed")


def event_line(event: Event, now: datetime) -> Line:
    """Return time, run, and status of an event, and the kind and name of the run or step, indented by its depth."""
    is_start = event.duration_s is None
    status = "started" if is_start else event.status
    name = one_line(event.name or f"(unnamed {event.kind})")[:_NAME_CHARS]
    return (
        Cell(f"{when_text(event.time_ns, now)}  ", "faint"),
        Cell(f"{one_line(event.run_id)[:_ID_CHARS].ljust(_ID_CHARS)}  ", "id"),
        Cell(f"{status.ljust(_STATUS_CHARS)}  ", "running" if is_start else event.status),
        Cell(" " * _INDENT * event.depth),
        Cell(f"{event.kind} ", event.kind),
        Cell(name, "strong"),
        Cell("" if is_start else f"  {duration_text(event.duration_s)}"),
    )
