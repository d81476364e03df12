"""Read a source through policies, which mask or remove what must not be passed on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.sampling import DroppedTraces
from otel_agent_trace.sources import name_of
from otel_agent_trace.span import (
    Capabilities,
    LogRecord,
    Problem,
    SpanRecord,
    SpanSource,
    capabilities_of,
    traces_and_logs,
)


class MaskedSource:
    """Yield the spans and logs of a source after policies; the source itself stays as it is.

    Args:
        source: the source.
        policies: functions of a `SpanRecord` or `LogRecord` that return one, or None to leave it out.
    """

    def __init__(self, source: SpanSource, policies: Iterable[Callable[[Any], Any]]) -> None:
        self._source, self._policies = source, tuple(policies)
        self.name = name_of(source)
        self.capabilities = Capabilities(logs=capabilities_of(source).logs)

    def dropped(self) -> list[DroppedTraces]:
        """Return how many traces sampling has dropped from the source, with the names of agents after the policies."""
        counting: Any = self._source
        counts = counting.dropped() if hasattr(counting, "dropped") else []
        return [count._replace(agent=self._agent_of(count)) for count in counts]

    def _agent_of(self, count: DroppedTraces) -> str | None:
        span = self._admitted(SpanRecord("", "", None, "", 0, None, {semconv.AGENT_NAME: count.agent}))
        return None if span is None else span.attributes.get(semconv.AGENT_NAME)

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace."""
        yield from self.traces_and_logs(on_problem, lambda _: None)

    def traces_and_logs(
        self, on_problem: Callable[[Problem], None], on_log: Callable[[LogRecord], None]
    ) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace, and pass log records whose spans are elsewhere to `on_log`."""

        def pass_on(log: LogRecord) -> None:
            admitted = self._admitted(log)
            if admitted is not None:
                on_log(admitted)

        for spans in traces_and_logs(self._source, on_problem, pass_on):
            yield [admitted for span in spans if (admitted := self._admitted(span)) is not None]

    def _admitted(self, record: Any) -> Any:
        for policy in self._policies:
            if record is None:
                return None
            record = policy(record)
        return record
