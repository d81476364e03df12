"""Read the workflow spans of Microsoft's Agent Framework, all other spans of which follow the GenAI conventions.

Recognised by ``workflow.name``, or by the span name ``workflow.run`` with any ``workflow.*`` attribute.
"""

from __future__ import annotations

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "agent_framework"


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of a workflow or of one of its executors as a frame; return None for any other span."""
    is_workflow = span.name == "workflow.run" and any(key.startswith("workflow.") for key in span.attributes)
    if not is_workflow and (
        "workflow.name" not in span.attributes or "span.type" in span.attributes
    ):  # the latter: Monocle
        return None
    attributes = Attributes(span)
    facts = SpanFacts(kind=None, is_frame=True, dialect=NAME, name=attributes.text("workflow.name"))
    facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts
