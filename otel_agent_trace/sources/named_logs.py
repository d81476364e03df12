"""Find the places of log records that name a model's response, or a run, in place of a span, as late evaluations do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.runs.scores_by_id import began_last_before
from otel_agent_trace.span import LogRecord, SpanRecord

MARK = b"gen_ai.evaluation"
"""Bytes in every file, in any format, that holds an evaluation."""
MOST_RECORDS = 100_000
"""Records that are kept until what they name is read; further ones are counted."""
_TRACE_ID_DIGITS = 32


class NamedLogs:
    """Hold log records by the response or the run that they name, until it is read.

    Attributes:
        dropped: the number of records that were not kept.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._by_response: dict[str, list[LogRecord]] = {}
        self._by_run: dict[str, list[LogRecord]] = {}
        self._count = 0

    def add(self, log: LogRecord) -> None:
        """Keep a record that names a response, or a run in any trace; others are ignored."""
        if log.response_id is None and not log.is_of_run_only:
            return
        if self._count >= MOST_RECORDS:
            self.dropped += 1
            return
        held, name = (self._by_run, log.run_id) if log.response_id is None else (self._by_response, log.response_id)
        held.setdefault(str(name), []).append(log)
        self._count += 1

    def placed_by(self, spans: Iterable[SpanRecord]) -> list[LogRecord]:
        """Return and forget the records of runs that are in some traces, as records of these traces.

        A run belongs to the trace of its spans; of several runs of one id it is the one that began last before the record.
        Records of responses that name one of the spans are forgotten too: they belong to it. The spans are not iterated
        over if no record depends on them.
        """
        named = {(log.trace_id, log.span_id) for logs in self._by_response.values() for log in logs if log.is_of_span}
        if not named and not self._by_run:
            return []
        runs = _Runs(self._by_run)
        known = set[tuple[str, str]]()
        for span in spans:
            runs.note(span)
            if named and (span.trace_id, span.span_id) in named:
                known.add((span.trace_id, span.span_id))
        for response_id, logs in self._by_response.items():
            self._by_response[response_id] = [log for log in logs if (log.trace_id, log.span_id) not in known]
        return [
            msgspec.structs.replace(log, trace_id=began_last_before(log.time_ns, begun))
            for run_id, begun in runs.begun().items()
            for log in self._by_run.pop(run_id)
        ]

    def taken_by(self, spans: Sequence[SpanRecord]) -> list[LogRecord]:
        """Return the records of the responses in some spans, as records of these spans, and forget them."""
        if not self._by_response:
            return []
        return [
            msgspec.structs.replace(log, trace_id=span.trace_id, span_id=span.span_id)
            for span in spans
            if type(response_id := span.attributes.get(semconv.RESPONSE_ID)) is str
            for log in self._by_response.pop(response_id, ())
        ]

    def left(self) -> list[LogRecord]:
        """Return the records of responses that no span has, and of runs that are in no trace."""
        return [log for held in (self._by_response, self._by_run) for logs in held.values() for log in logs]


class _Runs:
    """Find the traces in which runs of some ids are, and when they began.

    Spans of our own tracer have the id of their run; the runs of others have ids that begin with that of their trace.
    """

    def __init__(self, run_ids: Iterable[str]) -> None:
        self._named: dict[str, dict[str, int]] = {run_id: {} for run_id in run_ids}
        self._of_traces: dict[str, dict[str, int]] = {run_id[:_TRACE_ID_DIGITS]: {} for run_id in run_ids}

    def note(self, span: SpanRecord) -> None:
        """Note the run, and the trace, of a span."""
        run_id = span.attributes.get(semconv.RUN_ID)
        named = self._named.get(run_id) if type(run_id) is str else None
        for begun in (named, self._of_traces.get(span.trace_id)):
            if begun is not None:
                begun[span.trace_id] = min(span.start_ns, begun.get(span.trace_id, span.start_ns))

    def begun(self) -> dict[str, dict[str, int]]:
        """Return for each run that was found when it began, in Unix nanoseconds, in each of its traces."""
        found = {run_id: begun or self._of_traces[run_id[:_TRACE_ID_DIGITS]] for run_id, begun in self._named.items()}
        return {run_id: begun for run_id, begun in found.items() if begun}
