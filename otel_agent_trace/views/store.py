"""Describe a store, and what happens in it."""

from __future__ import annotations

from collections.abc import Iterator

from otel_agent_trace.sources.status import StoreStatus
from otel_agent_trace.views.figures import plural, time_text
from otel_agent_trace.views.rows import Row


def status_rows(status: StoreStatus) -> Iterator[Row]:
    """Yield rows for the files of a store, its runs, journals, index, binary parts and damage."""
    segments, journals, index, media = status.segments, status.journals, status.index, status.media
    yield Row("segments", f"{segments.closed:,} closed, {segments.live:,} live, {plural(status.bytes, 'byte')}")
    yield Row("runs", f"{status.runs:,}, {plural(status.spans, 'span')}")
    if status.first_ns is not None and status.last_ns is not None:
        yield Row("time", f"{time_text(status.first_ns)} to {time_text(status.last_ns)}")
    unknown = f", {journals.unknown:,} of processes that cannot be known" if journals.unknown else ""
    yield Row("journals", f"{journals.alive:,} alive, {journals.dead:,} dead{unknown}")
    yield Row("index", plural(index.bytes, "byte") if index.present else "none")
    yield Row("media", f"{plural(media.parts, 'part')}, {plural(media.bytes, 'byte')}")
    yield Row("damage", f"{status.damage:,}" if status.damage else "none", "failed" if status.damage else "")
    for problem in status.damaged:
        yield Row("", str(problem), "failed")
    for problem in status.unreadable:
        yield Row("unreadable", str(problem), "failed")
