"""Find the spans of log records that name the response of a model in place of a span, as late evaluations do."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.span import LogRecord, SpanRecord

MARK = b"gen_ai.evaluation"
"""Bytes in every file, in any format, that holds an evaluation."""
MOST_RECORDS = 100_000
"""Records that are kept until their response is read; further ones are left out."""


class ResponseLogs:
    """Hold log records by the id of their response, until the span that has it is read."""

    def __init__(self) -> None:
        self._by_response: dict[str, list[LogRecord]] = {}
        self._count = 0

    def add(self, log: LogRecord) -> None:
        """Keep a record that names a response in place of a span; others are ignored."""
        response_id = log.response_id
        if response_id is not None and self._count < MOST_RECORDS:
            self._by_response.setdefault(response_id, []).append(log)
            self._count += 1

    def taken_by(self, spans: Sequence[SpanRecord]) -> list[LogRecord]:
        """Return the records of the responses in some spans, as records of these spans, and forget them."""
        if not self._by_response:
            return []
        return [
            msgspec.structs.replace(log, trace_id=span.trace_id, span_id=span.span_id)
            for span in spans
            for log in self._by_response.pop(span.attributes.get(semconv.RESPONSE_ID, ""), ())
        ]

    def left(self) -> list[LogRecord]:
        """Return the records whose response no span has."""
        return [log for logs in self._by_response.values() for log in logs]
