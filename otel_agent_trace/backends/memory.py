"""Runs in memory, also those that are still running."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_agent_trace.backends.policy import applied
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.guard import Diagnostics, guarded
from otel_agent_trace.model import AgentRun
from otel_agent_trace.policies.user_ids import UserIds, check_mode
from otel_agent_trace.reading import runs_from_spans
from otel_agent_trace.runs.assemble import by_trace
from otel_agent_trace.span import Problem, SpanRecord


class InMemoryBackend(SpanExporter):
    """Keeps spans in memory; a `SpanExporter` for any `TracerProvider`, and a source for every reading function.

    A forked child begins with none.

    Args:
        max_runs: how many runs (traces, to be exact) are kept; when there are more, the oldest is dropped and counted.
        user_ids: what happens to plain user ids that come through the SDK's own processors.

    Raises:
        ConfigurationError: `max_runs` is no positive number.
    """

    def __init__(self, *, max_runs: int | None = None, user_ids: UserIds = "pseudonym") -> None:
        self._mode = check_mode(user_ids)
        if max_runs is not None and (type(max_runs) is not int or max_runs < 1):
            msg = f"max_runs={max_runs!r} is no number of runs: 1 or more, or None for all"
            raise ConfigurationError(msg)
        self._max_runs = max_runs
        self._reader = SdkReader()
        self._diagnostics = Diagnostics()
        self._kept = 0
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Begin anew, in a forked child: what its parent has is the parent's to tell."""
        self._lock = threading.RLock()
        self._ended: dict[int, list[ReadableSpan]] = {}
        self._open: dict[int, tuple[ReadableSpan, UserIds]] = {}

    def started(self, span: ReadableSpan, mode: UserIds) -> None:
        """Remember a span that is being written."""
        with self._lock:
            self._open[span.context.span_id] = span, mode

    def keep(self, spans: Sequence[ReadableSpan], mode: UserIds) -> None:
        """Keep spans that have ended."""
        allowed = [applied(span, mode) for span in spans]
        with self._lock:
            for span in allowed:
                context = span.context
                self._ended.setdefault(context.trace_id, []).append(span)
                self._open.pop(context.span_id, None)
                self._kept += 1
            if self._max_runs is not None and len(self._ended) > self._max_runs:
                self._drop_oldest()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep spans that come from the SDK's own processors, after the policies."""
        for span in spans:
            guarded(self._diagnostics, "span that cannot be kept", self.keep, (span,), self._mode)
        return SpanExportResult.SUCCESS

    def _drop_oldest(self) -> None:
        for trace_id in list(self._ended)[: len(self._ended) - (self._max_runs or 0)]:
            if self._ended.pop(trace_id, None) is not None:
                self._diagnostics.count("dropped: max_runs")

    def runs(self) -> list[AgentRun]:
        """The outermost runs, oldest first; those in flight have status running."""
        return runs_from_spans(self._records())

    def spans(self) -> list[SpanRecord]:
        """The spans that have ended, in the order of their ends."""
        return self._in_order(self._snapshot()[1])

    def _snapshot(self) -> tuple[list[tuple[ReadableSpan, UserIds]], list[ReadableSpan]]:
        """What is open and what has ended at one moment: a step that ended between two looks would lack its run.

        A signal handler may trace meanwhile, in spite of the lock; what it begins and ends is seen or not.
        """
        with self._lock:
            return list(self._open.values()), [span for spans in list(self._ended.values()) for span in spans]

    def _in_order(self, ended: list[ReadableSpan]) -> list[SpanRecord]:
        return sorted(self._read(ended), key=lambda record: record.end_ns or 0)

    def _read(self, spans: Iterable[ReadableSpan]) -> list[SpanRecord]:
        """The spans as records; one that cannot be one costs no other."""
        records = (guarded(self._diagnostics, "span that cannot be read", self._reader.record, span) for span in spans)
        return [record for record in records if record is not None]

    def _records(self) -> list[SpanRecord]:
        in_flight, ended = self._snapshot()
        return [*self._read(applied(span, mode) for span, mode in in_flight), *self._in_order(ended)]

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """The spans of each trace, open ones included (see `SpanSource`)."""
        yield from by_trace(self._records()).values()

    def clear(self) -> None:
        """Forget everything, also what is in flight."""
        with self._lock:
            self._ended.clear()
            self._open.clear()

    def stats(self) -> dict[str, int]:
        """How many spans were kept, and what was dropped, by reason."""
        return {**({"kept": self._kept} if self._kept else {}), **self._diagnostics.counts()}

    def shutdown(self) -> None:
        """Nothing is pending; what is kept stays readable."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is pending."""
        return True
