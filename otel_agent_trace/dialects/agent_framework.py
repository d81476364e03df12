"""Microsoft's Agent Framework: the GenAI conventions, and workflows whose spans have words of their own."""

from __future__ import annotations

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "agent_framework"


def read(span: SpanRecord) -> SpanFacts | None:
    """Read the spans of Agent Framework's workflows, ``workflow.run`` and its executors, as frames; None for others."""
    is_workflow = span.name == "workflow.run" and any(key.startswith("workflow.") for key in span.attributes)
    if not is_workflow and "workflow.name" not in span.attributes:
        return None
    given = Attributes(span)
    facts = SpanFacts(kind=None, is_frame=True, dialect=NAME, name=given.text("workflow.name"))
    facts.error = given.error()
    facts.attributes = given.rest
    return facts
