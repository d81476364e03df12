"""Convert span records to spans of the SDK, for exporters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceState

from otel_agent_trace.span import Link, LogRecord, SpanRecord


def readable_of(span: ReadableSpan, before: SpanRecord | None, record: SpanRecord) -> ReadableSpan:
    """Return a copy of a span of the SDK with the content of a record.

    Args:
        span: the span of the record; its ids, and the fields that are the same in both records, are used as they are.
        before: the record of the span before policies changed it; None if the span may have changed since.
        record: the content of the copy.
    """

    def is_same(field: str) -> bool:
        return before is not None and getattr(before, field) is getattr(record, field)

    has_same_status = is_same("status_code") and is_same("status_message")
    return ReadableSpan(
        name=record.name,
        context=span.context if is_same("trace_state") else _context(span.context, record.trace_state),
        parent=span.parent,
        resource=span.resource if is_same("resource") else resource_of(record),
        attributes=span.attributes if is_same("attributes") else _attributes(record.attributes),
        events=span.events if is_same("events") else _events(record),
        links=span.links if is_same("links") else _links(record.links, span.links or ()),
        kind=span.kind if is_same("kind") else SpanKind(record.kind - 1),
        status=span.status if has_same_status else _status(record),
        start_time=span.start_time if is_same("start_ns") else record.start_ns,
        end_time=span.end_time if is_same("end_ns") else record.end_ns,
        instrumentation_scope=span.instrumentation_scope if is_same("scope") else scope_of(record),
    )


def _context(context: SpanContext | None, trace_state: str) -> SpanContext | None:
    """Return a context with another trace state."""
    if context is None or context.trace_state.to_header() == trace_state:
        return context
    state = TraceState.from_header([trace_state])
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags, state)


def _attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes with arrays as tuples, as the SDK has them."""
    return {key: tuple(value) if type(value) is list else value for key, value in attributes.items()}


def resource_of(record: SpanRecord | LogRecord) -> Resource:
    """Return the resource of a record as an object of the SDK."""
    return Resource(_attributes(record.resource.attributes), record.resource.schema_url)


def scope_of(record: SpanRecord | LogRecord) -> InstrumentationScope:
    """Return the scope of a record as an object of the SDK."""
    scope = record.scope
    return InstrumentationScope(scope.name, scope.version, scope.schema_url, _attributes(scope.attributes))


def _events(record: SpanRecord) -> list[Event]:
    return [Event(event.name, _attributes(event.attributes), event.time_ns) for event in record.events]


def _links(links: Iterable[Link], given: Iterable[trace.Link]) -> list[trace.Link]:
    contexts = {(link.context.trace_id, link.context.span_id): link.context for link in given}
    made = []
    for link in links:
        ids = (int(link.trace_id, 16), int(link.span_id, 16))
        made.append(trace.Link(contexts.get(ids) or SpanContext(*ids, is_remote=True), _attributes(link.attributes)))
    return made


def _status(record: SpanRecord) -> Status:
    code = StatusCode(record.status_code)
    return Status(code, (record.status_message or None) if code is StatusCode.ERROR else None)
