"""The policies, applied to spans of the SDK before they are kept or sent."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_agent_trace.backends.portions import portions
from otel_agent_trace.guard import Ledger, guarded
from otel_agent_trace.processing import user_ids
from otel_agent_trace.processing.user_ids import UserIds


def applied(span: ReadableSpan, mode: UserIds) -> ReadableSpan:
    """The span as it may be kept: itself, or a copy without the user ids that the mode forbids."""
    attributes = span.attributes
    if mode == "plain" or attributes is None or not user_ids.offends(attributes, mode):
        return span
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=user_ids.applied(attributes, mode),
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


class PolicyExporter(SpanExporter):
    """Applies the policies before another exporter, and gives it no more at once than receivers take."""

    def __init__(self, exporter: SpanExporter, mode: UserIds) -> None:
        self._exporter, self._mode = exporter, mode
        self._ledger = Ledger()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export what may be sent; a portion that cannot be sent is the exporter's loss, and costs no other one."""
        allowed = [applied(span, self._mode) for span in spans]
        sent = [guarded(self._ledger, "sending", self._exporter.export, portion) for portion in portions(allowed)]
        return SpanExportResult.SUCCESS if set(sent) <= {SpanExportResult.SUCCESS} else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the exporter."""
        return self._exporter.force_flush(timeout_millis)
