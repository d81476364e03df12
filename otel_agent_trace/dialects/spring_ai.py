"""Spring AI: ``spring.ai.kind``; its model calls speak the GenAI conventions."""

from __future__ import annotations

from otel_agent_trace import semconv
from otel_agent_trace.foreign.attributes import Attributes
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord

NAME = "spring_ai"
_PREFIX = "spring.ai."


def read(span: SpanRecord) -> Meaning | None:
    """What the span means, or None where it speaks another language."""
    given = Attributes(span)
    said = given.text(f"{_PREFIX}kind")
    if said is None:
        return None
    meaning = Meaning(kind=None, dialect=NAME)
    if said in ("tool_call", "mcp_server_tool_call"):
        meaning.kind = StepKind.TOOL
        meaning.name = given.text(f"{_PREFIX}tool.definition.name")
        meaning.call_id = given.text(f"{_PREFIX}tool.call.id")
        meaning.input = given.take(f"{_PREFIX}tool.call.arguments", f"{_PREFIX}mcp.server.tool.call.arguments")
        meaning.output = given.take(f"{_PREFIX}tool.call.result", f"{_PREFIX}mcp.server.tool.call.result")
    elif said == "chat_client":
        meaning.kind = StepKind.AGENT
        meaning.session_id = given.text(f"{_PREFIX}chat.client.conversation.id")
        meaning.input = given.take(f"{_PREFIX}chat.client.user.text")
    else:
        meaning.is_frame = True
    given.take(semconv.OPERATION_NAME)
    meaning.error = given.error()
    meaning.attributes = given.rest
    return meaning
