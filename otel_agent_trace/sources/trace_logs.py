"""Hold the log records of one trace until its spans are complete, and find the span of those that name only the trace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from otel_agent_trace.model import AgentRun
from otel_agent_trace.runs.stitch import runs_of
from otel_agent_trace.span import LogRecord, SpanRecord

MOST_LOGS_OF_A_SPAN = 1000
"""Lines of a log that are kept of one span, as many as our own tracer records of a run; further ones are counted."""


class TraceLogs:
    """Hold the log records of a trace; events, such as those with the messages of a model, are kept all.

    Attributes:
        dropped: the number of records that were not kept.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._logs: list[LogRecord] = []
        self._counts = Counter[str]()

    def add(self, log: LogRecord) -> None:
        """Keep a record, unless its span has too many."""
        if log.is_entry:
            self._counts[log.span_id] += 1
            if self._counts[log.span_id] > MOST_LOGS_OF_A_SPAN:
                self.dropped += 1
                return
        self._logs.append(log)

    def of(self, spans: Sequence[SpanRecord]) -> list[LogRecord]:
        """Return the records; those that name no span are records of the run, if the spans are one run."""
        if all(log.span_id or log.response_id for log in self._logs):
            return self._logs
        runs = [*runs_of([list(spans)])]
        return self._logs if len(runs) != 1 else [_of_run(runs[0], log) for log in self._logs]


def _of_run(run: AgentRun, log: LogRecord) -> LogRecord:
    """Return a record that names only its trace as one of the run; without a span of it, as one of the step before it."""
    if log.span_id or log.response_id:
        return log
    steps = [step for step in run.steps if step.span_id]
    before = [step for step in steps if step.started_at_ns <= log.time_ns] or steps[:1]
    span_id = run.span_id or next((step.span_id for step in reversed(before)), None)
    return log if span_id is None else msgspec.structs.replace(log, span_id=span_id)
