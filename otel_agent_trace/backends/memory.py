"""Store spans in memory, and read runs from them, open ones too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from otel_agent_trace.backends.exporting import ExportingSink
from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.forks import renewed_in_children
from otel_agent_trace.guard import guarded
from otel_agent_trace.keywords import takes_fields
from otel_agent_trace.model import AgentRun
from otel_agent_trace.pipeline import DataOptions, Decided, Gate, PipelineSpan, Policy, StartedSpan, with_sampling
from otel_agent_trace.sampling import NEVER
from otel_agent_trace.span import LogRecord, Problem, SpanRecord, with_logs

if TYPE_CHECKING:
    from typing_extensions import Unpack


class InMemoryBackend(ExportingSink):
    """Store spans and logs in memory; a `SpanExporter` for any `TracerProvider`, and a source for every reading function.

    A forked child begins with an empty store.

    Args:
        max_runs: how many runs (to be exact, traces) are kept; beyond that, the oldest is dropped and counted. None for
            all.
        policies: policies for spans of the SDK's own processors.
        data: what is done to the data of these spans: `user_ids`, `content`, `mask` and `redact`, as for `configure`.

    Raises:
        ConfigurationError: `max_runs` is not a positive integer, or an argument for policies is not valid.
    """

    journals = keeps_held = True

    @takes_fields(DataOptions)
    def __init__(
        self,
        *,
        max_runs: int | None = None,
        policies: Iterable[Policy | Gate] = (),
        **data: Unpack[DataOptions],
    ) -> None:
        super().__init__(policies, **data)
        if max_runs is not None and (type(max_runs) is not int or max_runs < 1):
            msg = f"max_runs={max_runs!r} must be 1 or more, or None for all runs"
            raise ConfigurationError(msg)
        self._max_runs = max_runs
        self._kept = 0
        self.renew()
        renewed_in_children(self)

    def _copy_settings(self) -> dict[str, Any]:
        return {**super()._copy_settings(), "max_runs": self._max_runs}

    def renew(self) -> None:
        """Begin with an empty store, in a forked child: the parent process has its spans."""
        self._lock = threading.RLock()
        self._ended: dict[int, list[PipelineSpan]] = {}
        self._held: dict[int, list[PipelineSpan]] = {}
        self._open: dict[int, StartedSpan] = {}
        self._logs: dict[str, list[LogRecord]] = {}

    def on_start(self, span: StartedSpan) -> None:
        """Keep a span that has started."""
        self._open[span.context[1]] = span  # atomic, without the lock

    def on_end(self, span: PipelineSpan) -> None:
        """Keep a span that has ended."""
        trace_id, span_id = span.context[:2]  # a tuple: its properties are written in Python
        with self._lock:
            self._ended.setdefault(trace_id, []).append(span)
            self._open.pop(span_id, None)
            self._kept += 1
            if self._max_runs is not None and len(self._ended) > self._max_runs:
                self._drop_oldest()

    def on_hold(self, span: PipelineSpan) -> None:
        """Keep a span that has ended until it is decided whether its trace is kept; `runs` has it meanwhile."""
        trace_id, span_id = span.context[:2]
        with self._lock:
            self._held.setdefault(trace_id, []).append(span)
            self._open.pop(span_id, None)

    def on_hold_log(self, log: LogRecord) -> None:
        """Keep a log record likewise."""
        self.on_log(log)

    def on_decided(self, decided: Decided) -> None:
        """Keep or forget the spans and log records of a trace."""
        threshold = decided.threshold
        with self._lock:
            held = self._held.pop(decided.trace_id, ())
            if threshold == NEVER:
                self._logs.pop(f"{decided.trace_id:032x}", None)
                return
            for span in held:
                self.on_end(span if threshold is None else with_sampling(span, threshold))

    def on_batch(self, spans: Sequence[PipelineSpan]) -> bool:
        """Keep spans that have ended, except those that cannot be kept."""
        for span in spans:
            guarded(self._diagnostics, "span that cannot be kept", self.on_end, span)
        return True

    def on_discard(self, span: PipelineSpan) -> None:
        """Forget a span that has started."""
        with self._lock:
            self._open.pop(span.context[1], None)

    def on_log(self, log: LogRecord) -> None:
        """Keep a log record, for the latest `max_runs` traces with any."""
        with self._lock:
            self._logs.setdefault(log.trace_id, []).append(log)
            if self._max_runs is not None and len(self._logs) > self._max_runs:
                del self._logs[next(iter(self._logs))]

    def _drop_oldest(self) -> None:
        for trace_id in list(self._ended)[: len(self._ended) - (self._max_runs or 0)]:
            if self._ended.pop(trace_id, None) is not None:
                self._diagnostics.count("dropped: max_runs")

    def runs(self) -> list[AgentRun]:
        """Return the outermost runs, oldest first; those in flight have status running."""
        from otel_agent_trace.reading import runs_from_spans  # noqa: PLC0415 - traced programs rarely read traces

        return runs_from_spans(span for spans in self._by_trace() for span in spans)

    def spans(self) -> list[SpanRecord]:
        """Return the spans that have ended, in the order of their ends."""
        with self._lock:
            ended = [span for spans in list(self._ended.values()) for span in spans]
        return self._in_order(ended)

    def logs(self) -> list[LogRecord]:
        """Return the log records, by trace."""
        with self._lock:
            return [log for logs in list(self._logs.values()) for log in logs]

    def _snapshot(self) -> tuple[list[StartedSpan], list[PipelineSpan]]:
        """Return open and ended spans at one moment, so that no step that ends meanwhile is without its run.

        In spite of the lock, a signal handler may trace meanwhile; its spans may be included or not.
        """
        with self._lock:
            ended = [*self._ended.values(), *self._held.values()]
            return list(self._open.values()), [span for spans in ended for span in list(spans)]

    def _in_order(self, ended: list[PipelineSpan]) -> list[SpanRecord]:
        return sorted(self._read(map(_record_of, ended)), key=lambda record: record.end_ns or 0)

    def _read(self, records: Iterable[Callable[[], SpanRecord | None]]) -> list[SpanRecord]:
        """Return spans as records, without those that cannot be converted."""
        read = (guarded(self._diagnostics, "span that cannot be read", record) for record in records)
        return [record for record in read if record is not None]

    def _by_trace(self) -> Iterable[list[SpanRecord]]:
        from otel_agent_trace.runs.assemble import by_trace  # noqa: PLC0415 - as in `runs`
        from otel_agent_trace.sources.named_logs import NamedLogs  # noqa: PLC0415 - likewise

        in_flight, ended = self._snapshot()
        records = [*self._read(span.current for span in in_flight), *self._in_order(ended)]
        with self._lock:
            logs = {trace_id: list(of_trace) for trace_id, of_trace in self._logs.items()}
        named = NamedLogs()
        for log in logs.get("", ()):
            named.add(log)
        for log in named.placed_by(records):
            logs.setdefault(log.trace_id, []).append(log)
        for trace_id, spans in by_trace(records).items():
            yield with_logs(spans, _of_spans(logs.get(trace_id, ()), spans))

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace, open ones too, with their logs as events (see `SpanSource`)."""
        yield from self._by_trace()

    def clear(self) -> None:
        """Forget everything, open spans too."""
        with self._lock:
            self._ended.clear()
            self._held.clear()
            self._open.clear()
            self._logs.clear()

    def stats(self) -> dict[str, int]:
        """Return the number of spans kept, and of those dropped, by reason."""
        return {**({"kept": self._kept} if self._kept else {}), **self._diagnostics.counts()}


def _of_spans(logs: Sequence[LogRecord], spans: Sequence[SpanRecord]) -> Iterable[LogRecord]:
    """Return the log records of a trace; those that name no span, as one of a run or step that they name."""
    from otel_agent_trace.sources.trace_logs import TraceLogs  # noqa: PLC0415 - as in `runs`

    held = TraceLogs()
    for log in logs:
        held.add(log)
    return held.of(spans)


def _record_of(span: PipelineSpan) -> Callable[[], SpanRecord]:
    return lambda: span.record
