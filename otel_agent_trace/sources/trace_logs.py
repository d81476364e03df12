"""Hold the log records of one trace until its spans are complete, and find the span of those that name none of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.model import AgentRun
from otel_agent_trace.runs.scores_by_id import named_item, named_run
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
        """Return the records; those that name no span, or one that is not here, are records of a run if there is one.

        It is the run whose id they name; for those that name none it is the only run of the trace.
        """
        if all(log.span_id and log.run_id is None for log in self._logs):
            return self._logs
        known = {span.span_id for span in spans}
        if not any(_is_loose(log) and log.span_id not in known for log in self._logs):
            return self._logs
        runs = [*runs_of([list(spans)])]
        return [_of_run(runs, spans, log) if _is_loose(log) and log.span_id not in known else log for log in self._logs]


def _is_loose(log: LogRecord) -> bool:
    """Return whether a record may belong to a run though its span is not known."""
    return log.response_id is None and (not log.span_id or log.run_id is not None)


def _of_run(runs: Sequence[AgentRun], spans: Sequence[SpanRecord], log: LogRecord) -> LogRecord:
    """Return a record as one of the run, or the step, that it names, else of the only run of its trace."""
    run = named_run(runs, log.run_id, log.time_ns) if log.run_id is not None else None
    if run is None:
        return _of_only_run(runs[0], log) if len(runs) == 1 and log.run_id in (None, log.trace_id) else log
    item = named_item(run, log.attributes)
    if run.span_id is not None and (item is None or item.span_id is not None):
        return log if item is None else msgspec.structs.replace(log, span_id=item.span_id)
    names = {**log.attributes, semconv.SCORE_BY_ID: True}  # without a span, it may have further steps in other traces
    return msgspec.structs.replace(log, span_id=spans[0].span_id, attributes=names)


def _of_only_run(run: AgentRun, log: LogRecord) -> LogRecord:
    """Return a record as one of a run; without a span of it, as one of the step before it."""
    steps = [step for step in run.steps if step.span_id]
    before = [step for step in steps if step.started_at_ns <= log.time_ns] or steps[:1]
    span_id = run.span_id or next((step.span_id for step in reversed(before)), None)
    return log if span_id is None else msgspec.structs.replace(log, span_id=span_id)
