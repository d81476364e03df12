"""Read spans of LiveKit Agents, whose requests to models follow the GenAI conventions.

Recognised by any ``lk.*`` attribute; tools by ``lk.function_tool.*``.
"""

from __future__ import annotations

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "livekit"
_FUNCTION_TOOL = "lk.function_tool."


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of LiveKit Agents by its ``lk.*`` attributes; return None where there are none."""
    if not any(key.startswith("lk.") for key in span.attributes):
        return None
    attributes = Attributes(span)
    facts = SpanFacts(kind=None, dialect=NAME, error=attributes.error())
    if f"{_FUNCTION_TOOL}name" in attributes.rest:
        _read_function_tool(attributes, facts)
    else:
        facts.name = attributes.text("lk.agent_name", "lk.agent_label")
        facts.input = attributes.take("lk.user_input")
    facts.attributes = attributes.rest
    return facts


def _read_function_tool(attributes: Attributes, facts: SpanFacts) -> None:
    facts.kind = StepKind.TOOL
    facts.name, facts.call_id = attributes.text(f"{_FUNCTION_TOOL}name"), attributes.text(f"{_FUNCTION_TOOL}id")
    facts.input = attributes.parsed(f"{_FUNCTION_TOOL}arguments")
    output = attributes.parsed(f"{_FUNCTION_TOOL}output")
    if attributes.take(f"{_FUNCTION_TOOL}is_error") in (True, "true"):
        facts.error = attributes.error(failed=True, message=None if output is None else str(output))
    else:
        facts.output = output
