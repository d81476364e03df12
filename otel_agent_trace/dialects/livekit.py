"""LiveKit's voice agents: ``lk...``; their requests to models speak the GenAI conventions."""

from __future__ import annotations

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "livekit"
_TOOL = "lk.function_tool."


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of LiveKit Agents by its ``lk...`` attributes; None where there are none."""
    if not any(key.startswith("lk.") for key in span.attributes):
        return None
    given = Attributes(span)
    facts = SpanFacts(kind=None, dialect=NAME, error=given.error())
    if f"{_TOOL}name" in given.rest:
        _tool(given, facts)
    else:
        facts.name = given.text("lk.agent_name", "lk.agent_label")
        facts.input = given.take("lk.user_input")
    facts.attributes = given.rest
    return facts


def _tool(given: Attributes, facts: SpanFacts) -> None:
    facts.kind = StepKind.TOOL
    facts.name, facts.call_id = given.text(f"{_TOOL}name"), given.text(f"{_TOOL}id")
    facts.input = given.take(f"{_TOOL}arguments")
    told = given.take(f"{_TOOL}output")
    if given.take(f"{_TOOL}is_error") in (True, "true"):
        facts.error = given.error(failed=True, message=None if told is None else str(told))
    else:
        facts.output = told
