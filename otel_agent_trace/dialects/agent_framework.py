"""Microsoft's Agent Framework: the GenAI conventions, and workflows whose spans have words of their own."""

from __future__ import annotations

from otel_agent_trace.foreign.attributes import Attributes
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.span import SpanRecord

NAME = "agent_framework"


def read(span: SpanRecord) -> Meaning | None:
    """What a span of a workflow means, or None where it is none."""
    is_workflow = span.name == "workflow.run" and any(key.startswith("workflow.") for key in span.attributes)
    if not is_workflow and "workflow.name" not in span.attributes:
        return None
    given = Attributes(span)
    meaning = Meaning(kind=None, is_frame=True, dialect=NAME, name=given.text("workflow.name"))
    meaning.error = given.error()
    meaning.attributes = given.rest
    return meaning
