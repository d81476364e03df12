"""The policies, applied to spans of the SDK before they are kept or sent."""

from __future__ import annotations

from opentelemetry.sdk.trace import ReadableSpan

from otel_agent_trace.policies import user_ids
from otel_agent_trace.policies.user_ids import UserIds


def applied(span: ReadableSpan, mode: UserIds) -> ReadableSpan:
    """The span as it may be kept: itself, or a copy without the user ids that the mode forbids."""
    attributes = span.attributes
    if mode == "plain" or attributes is None or not user_ids.violates(attributes, mode):
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
