"""LiveKit's voice agents: ``lk...``; their requests to models speak the GenAI conventions."""

from __future__ import annotations

from otel_agent_trace.foreign.attributes import Attributes
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord

NAME = "livekit"
_TOOL = "lk.function_tool."


def read(span: SpanRecord) -> Meaning | None:
    """What the span means, or None where it speaks another language."""
    if not any(key.startswith("lk.") for key in span.attributes):
        return None
    given = Attributes(span)
    meaning = Meaning(kind=None, dialect=NAME, error=given.error())
    if f"{_TOOL}name" in given.rest:
        _tool(given, meaning)
    else:
        meaning.name = given.text("lk.agent_name", "lk.agent_label")
        meaning.input = given.take("lk.user_input")
    meaning.attributes = given.rest
    return meaning


def _tool(given: Attributes, meaning: Meaning) -> None:
    meaning.kind = StepKind.TOOL
    meaning.name, meaning.call_id = given.text(f"{_TOOL}name"), given.text(f"{_TOOL}id")
    meaning.input = given.take(f"{_TOOL}arguments")
    told = given.take(f"{_TOOL}output")
    if given.take(f"{_TOOL}is_error") in (True, "true"):
        meaning.error = given.error(failed=True, message=None if told is None else str(told))
    else:
        meaning.output = told
