"""Read several sources as one, and merge the spans of a trace that is in several of them."""

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
    """Read several sources as one; a `SpanSource`.

    The first source is streamed, the spans of the others are held in memory. These are mostly backends, which hold them
    in memory themselves, since all files together are one source; of several servers it is all but the first. Log
    records of the first source are added as events to the spans of the others.

    Args:
        sources: the sources.
    """

    capabilities = Capabilities(filters=frozenset({"since"}))

    def __init__(self, sources: Sequence[SpanSource]) -> None:
        self._sources = tuple(sources)

    def narrowed(self, query: RunQuery) -> SeveralSources:
        """Return the sources with the filter `since`.

        With any other filter, one source could leave out spans of a trace that another one yields.
        """
        readers: tuple[Any, ...] = self._sources
        return SeveralSources(
            [reader.narrowed(query) if "since" in capabilities_of(reader).filters else reader for reader in readers]
        )

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace, once, from all sources that have some."""
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
