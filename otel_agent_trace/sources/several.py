"""Read several sources as one, and merge the spans of a trace that is in several of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from otel_agent_trace.query import RunQuery
from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.sources.named_logs import NamedLogs
from otel_agent_trace.sources.trace_logs import TraceLogs
from otel_agent_trace.span import (
    Capabilities,
    LogRecord,
    Problem,
    SpanRecord,
    SpanSource,
    capabilities_of,
    logs_without_spans,
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

    capabilities = Capabilities(filters=frozenset({"since"}), logs=True)

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

    def dropped(self) -> list[DroppedTraces]:
        """Return how many traces sampling has dropped from the sources that count them, by agent, status and hour."""
        counting: tuple[Any, ...] = tuple(source for source in self._sources if hasattr(source, "dropped"))
        return [count for source in counting for count in source.dropped()]

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace, once, from all sources that have some."""
        return self.traces_and_logs(on_problem, lambda log: None)

    def traces_and_logs(
        self, on_problem: Callable[[Problem], None], on_log: Callable[[LogRecord], None]
    ) -> Iterator[list[SpanRecord]]:
        """Yield what `traces` yields, and call `on_log` with each log record that belongs to no span of the sources."""
        if not self._sources:
            return
        first, *others = self._sources
        held: dict[str, list[SpanRecord]] = {}
        for source in others:
            for spans in traces_and_logs(source, on_problem, on_log):
                held.setdefault(spans[0].trace_id, []).extend(spans)
        logs: defaultdict[str, TraceLogs] = defaultdict(TraceLogs)
        named_logs = NamedLogs()

        def keep(log: LogRecord) -> None:
            if log.trace_id in held:
                logs[log.trace_id].add(log)
            elif log.response_id is not None or log.is_of_run_only:
                named_logs.add(log)
            else:
                on_log(log)

        def completed(trace_id: str, spans: list[SpanRecord]) -> list[SpanRecord]:
            found = logs.pop(trace_id, TraceLogs()).of(spans)
            for log in logs_without_spans(spans, found):
                on_log(log)
            return with_logs(spans, found + named_logs.taken_by(spans))

        for spans in traces_and_logs(first, on_problem, keep):
            yield completed(spans[0].trace_id, spans + held.pop(spans[0].trace_id, []))
        for log in named_logs.placed_by(span for spans in held.values() for span in spans):
            logs[log.trace_id].add(log)
        for trace_id, spans in held.items():
            yield completed(trace_id, spans)
        for log in named_logs.left():
            on_log(log)
