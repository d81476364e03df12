"""Define a span that another process has ended, and which was received from it."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from otel_agent_trace.pipeline.line_sizes import span_line_bytes
from otel_agent_trace.pipeline.spans import PipelineSpan
from otel_agent_trace.span import SpanRecord


class _Ids(NamedTuple):
    """Hold the ids of a span, as the context of one of the SDK has them, and whether the span is in another process.

    It never is: spans of all processes are received alike.
    """

    trace_id: int
    span_id: int
    is_remote: bool = False


_A_PARENT = _Ids(0, 0)


class Received(msgspec.Struct, eq=False):
    """Have, of a span that was received, what the pipeline reads of a span of the SDK.

    Args:
        record: the span.
        context: its ids.
        parent: None for the root span of a trace.
    """

    record: SpanRecord
    context: Any
    parent: Any

    @classmethod
    def of(cls, record: SpanRecord) -> Received:
        """Return a span whose ids are valid."""
        parent = None if record.parent_span_id is None else _A_PARENT
        return cls(record, _Ids(int(record.trace_id, 16), int(record.span_id, 16)), parent)

    @property
    def _context(self) -> Any:
        """Return the context, by the name that the SDK has for it."""
        return self.context


class ReceivedSpan(PipelineSpan):
    """Represent a span that was received."""

    def estimated_bytes(self) -> int:
        """Return the estimated size of its line in bytes; one that a policy dropped has none."""
        return 0 if self._record is None else span_line_bytes(self._record)
