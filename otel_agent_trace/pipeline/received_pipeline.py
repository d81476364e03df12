"""Pass spans and logs of other processes, which were received from them, through the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from otel_agent_trace.pipeline.pipeline import DROPPED_BY_A_POLICY, Pipeline
from otel_agent_trace.pipeline.received_spans import Received, ReceivedSpan
from otel_agent_trace.pipeline.received_traces import ReceivedTraces
from otel_agent_trace.pipeline.spans import PipelineSpan
from otel_agent_trace.policies.gate import Gate
from otel_agent_trace.span import LogRecord, SpanRecord


class ReceivedPipeline(Pipeline):
    """Pass received spans and logs through policies and a gate, as `Pipeline` does, to sinks; called by one thread."""

    _held: ReceivedTraces | None

    def _holding(self, gate: Gate) -> ReceivedTraces:
        return ReceivedTraces(gate, self, self._diagnostics)

    @property
    def holds(self) -> bool:
        """Return whether there is a gate, so that `look` is to be called from time to time."""
        return self._held is not None

    def on_record(self, record: SpanRecord) -> None:
        """Pass on a span that has valid ids; of those at once, root spans are to be last, as a decision follows."""
        admitted = self._policies.of_record(record)
        if admitted is not None:
            self._pass(admitted)
            return
        self._diagnostics.count(DROPPED_BY_A_POLICY)
        if self._held is not None:
            self._held.on_end(ReceivedSpan(self._policies, Received.of(record), None, None), is_discarded=True)

    def begin(self, dropped: Iterable[int], spans: Sequence[SpanRecord], logs: Sequence[LogRecord]) -> None:
        """Go on where another process has ended, after the policies.

        Args:
            dropped: the ids of traces that it has dropped.
            spans: the spans that it has held.
            logs: the log records that it has held.
        """
        assert self._held is not None  # noqa: S101 - for type checkers
        for trace_id in dropped:
            self._held.remember_dropped(trace_id)
        for span in spans:
            self._pass(span)
        for log in logs:
            self._held.on_log(log)

    def _pass(self, record: SpanRecord) -> None:
        if self._held is None:
            self.deliver("on_end", PipelineSpan(self._policies, None, None, record))
        else:
            self._held.on_end(ReceivedSpan(self._policies, Received.of(record), None, record), is_discarded=False)

    def look(self) -> None:
        """Decide about traces that have waited long enough for their root spans."""
        if self._held is not None:
            self._held.look_at_waiting()
