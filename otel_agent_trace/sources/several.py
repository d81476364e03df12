"""Many sources read as one: a trace that lies in several of them is put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from otel_agent_trace.query import RunQuery
from otel_agent_trace.span import (
    Capabilities,
    LogRecord,
    Problem,
    SpanRecord,
    SpanSource,
    capabilities_of,
    traces_and_logs,
    with_logs,
)


class SeveralSources:
    """A `SpanSource` over others.

    The first is streamed; the spans of the others are held in memory meanwhile (they are backends and the like, which
    hold theirs in memory as well; all files together are one source). Of several servers that is all but the first. Log
    records of the first become events of the spans of the others.
    """

    capabilities = Capabilities(filters=frozenset({"since"}))

    def __init__(self, sources: Sequence[SpanSource]) -> None:
        self._sources = tuple(sources)

    def narrowed(self, query: RunQuery) -> SeveralSources:
        """Return the same without what is too old.

        By all else, one source may leave out what belongs to a trace of another.
        """
        readers: tuple[Any, ...] = self._sources
        return SeveralSources(
            [reader.narrowed(query) if "since" in capabilities_of(reader).filters else reader for reader in readers]
        )

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace, once."""
        if not self._sources:
            return
        first, *others = self._sources
        held: dict[str, list[SpanRecord]] = {}
        for source in others:
            for spans in source.traces(on_problem):
                held.setdefault(spans[0].trace_id, []).extend(spans)
        logs: dict[str, list[LogRecord]] = {}

        def keep(log: LogRecord) -> None:
            if log.trace_id in held:
                logs.setdefault(log.trace_id, []).append(log)

        for spans in traces_and_logs(first, on_problem, keep):
            trace_id = spans[0].trace_id
            yield with_logs(spans + held.pop(trace_id, []), logs.pop(trace_id, ()))
        for trace_id, spans in held.items():
            yield with_logs(spans, logs.get(trace_id, ()))
