"""Find the spans of log records that name the response of a model in place of a span, as late evaluations do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from otel_agent_trace import semconv
from otel_agent_trace.span import LogRecord, SpanRecord

MARK = b"gen_ai.evaluation"
"""Bytes in every file, in any format, that holds an evaluation."""
MOST_RECORDS = 100_000
"""Records that are kept until their response is read; further ones are counted."""


class ResponseLogs:
    """Hold log records by the id of their response, until the span that has it is read.

    Attributes:
        dropped: the number of records that were not kept.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._by_response: dict[str, list[LogRecord]] = {}
        self._count = 0

    def add(self, log: LogRecord) -> None:
        """Keep a record that names a response; others are ignored."""
        if log.response_id is None:
            return
        if self._count >= MOST_RECORDS:
            self.dropped += 1
            return
        self._by_response.setdefault(log.response_id, []).append(log)
        self._count += 1

    def forget_those_of(self, spans: Iterable[SpanRecord]) -> None:
        """Forget the records that name one of the spans: they belong to it, whichever response they name.

        The spans are not iterated over if no record names any.
        """
        named = {(log.trace_id, log.span_id) for log in self.left() if log.is_of_span}
        if not named:
            return
        known = named.intersection((span.trace_id, span.span_id) for span in spans)
        for response_id, logs in self._by_response.items():
            self._by_response[response_id] = [log for log in logs if (log.trace_id, log.span_id) not in known]

    def taken_by(self, spans: Sequence[SpanRecord]) -> list[LogRecord]:
        """Return the records of the responses in some spans, as records of these spans, and forget them."""
        if not self._by_response:
            return []
        return [
            msgspec.structs.replace(log, trace_id=span.trace_id, span_id=span.span_id)
            for span in spans
            for log in self._by_response.pop(str(span.attributes.get(semconv.RESPONSE_ID)), ())
        ]

    def left(self) -> list[LogRecord]:
        """Return the records whose response no span has."""
        return [log for logs in self._by_response.values() for log in logs]
