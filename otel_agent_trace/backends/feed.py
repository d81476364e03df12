"""Feeds a `TracerBackend` with runs and steps, out of spans."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from opentelemetry.sdk.trace import ReadableSpan

from otel_agent_trace import dialects, semconv
from otel_agent_trace.backends.contract import TracerBackend
from otel_agent_trace.backends.quiet import is_feeding, quietly
from otel_agent_trace.forks import ForkSafeLock
from otel_agent_trace.formats.sdk_span import SdkReader
from otel_agent_trace.guard import Ledger, guarded
from otel_agent_trace.model import AgentRun, StepKind
from otel_agent_trace.runs import assemble
from otel_agent_trace.span import SpanRecord

_REMEMBERED_TRACES = 128
"""Traces without an open run that are remembered, for steps that end after their run."""


class Feed:
    """A `SpanKeeper` before a `TracerBackend`; holds the spans of open runs, and of the last ones that ended."""

    def __init__(self, backend: TracerBackend) -> None:
        self.backend = backend
        self.ledger = Ledger()
        self._reader = SdkReader()
        self._traces: OrderedDict[str, dict[str, SpanRecord]] = OrderedDict()
        self._open_runs: dict[str, set[str]] = {}
        self._lock = ForkSafeLock()

    def started(self, span: ReadableSpan) -> None:
        """Tell the backend of a run that starts."""
        attributes = span.attributes or {}
        if is_feeding() or attributes.get(semconv.OPERATION_NAME) != semconv.OPERATION_INVOKE_AGENT:
            return
        record = self._reader.record(span)
        with self._lock:
            self._open_runs.setdefault(record.trace_id, set()).add(record.span_id)
            for run in self._runs_in([record]):
                if run.span_id == record.span_id:
                    self._call("start_run", run)

    def keep(self, spans: Sequence[ReadableSpan]) -> None:
        """Tell the backend of steps and runs that ended, but for its own."""
        if is_feeding():
            return
        with self._lock:
            for span in spans:
                self._ended(self._reader.record(span))

    def flush(self, timeout_s: float) -> bool:
        """Flush the backend, where it can be flushed."""
        flush = getattr(self.backend, "flush", None)
        return flush is None or guarded(self.ledger, "flush", flush, timeout_s) is not False

    def close(self) -> None:
        """Close the backend, where it can be closed."""
        close = getattr(self.backend, "close", None)
        if close is not None:
            guarded(self.ledger, "close", close)

    def _ended(self, record: SpanRecord) -> None:
        trace = self._traces.setdefault(record.trace_id, {})
        trace[record.span_id] = record
        self._traces.move_to_end(record.trace_id)
        meaning = dialects.read(record)
        if meaning is not None and meaning.kind is StepKind.AGENT:
            self._open_runs.get(record.trace_id, set()).discard(record.span_id)
            self._end_run(record)
        elif meaning is not None:
            self._log_step(record)
        if record.trace_id not in self._open_runs or not self._open_runs[record.trace_id]:
            self._open_runs.pop(record.trace_id, None)
            self._forget()

    def _log_step(self, record: SpanRecord) -> None:
        for run in assemble([record]):
            for step in run.steps:
                self._call("log_step", run.run_id, step)
        for run in self._runs_above(record):
            self._call("end_run", run)

    def _end_run(self, record: SpanRecord) -> None:
        for run in self._trace_runs(record):
            if run.span_id == record.span_id:
                self._call("end_run", run)
        for run in self._runs_above(record):
            self._call("end_run", run)

    def _runs_above(self, record: SpanRecord) -> list[AgentRun]:
        """The runs that hold a span and had ended before it did: they are said again, with it."""
        trace = self._traces[record.trace_id]
        above: set[str] = set()
        parent_id = record.parent_span_id
        while parent_id is not None and parent_id not in above:
            above.add(parent_id)
            parent = trace.get(parent_id)
            parent_id = parent.parent_span_id if parent is not None else None
        if not any(span_id in trace for span_id in above):
            return []
        return [run for run in self._trace_runs(record) if run.span_id in above and run.ended_at_ns is not None]

    def _trace_runs(self, record: SpanRecord) -> Iterator[AgentRun]:
        return self._runs_in(self._traces[record.trace_id].values())

    @staticmethod
    def _runs_in(records: Iterable[SpanRecord]) -> Iterator[AgentRun]:
        for outer in assemble(records):
            yield from outer.walk()

    def _forget(self) -> None:
        idle = [trace_id for trace_id in self._traces if trace_id not in self._open_runs]
        for trace_id in idle[: max(0, len(idle) - _REMEMBERED_TRACES)]:
            del self._traces[trace_id]

    def _call(self, name: str, *arguments: object) -> None:
        call = getattr(self.backend, name)
        guarded(self.ledger, f"{type(self.backend).__name__}.{name}", quietly, call, *arguments)
