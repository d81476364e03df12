"""Spring AI: ``spring.ai.kind``; its model calls speak the GenAI conventions."""

from __future__ import annotations

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "spring_ai"
_PREFIX = "spring.ai."


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Spring AI by ``spring.ai.kind``; None where it has none."""
    given = Attributes(span)
    said = given.text(f"{_PREFIX}kind")
    if said is None:
        return None
    facts = SpanFacts(kind=None, dialect=NAME)
    if said in ("tool_call", "mcp_server_tool_call"):
        facts.kind = StepKind.TOOL
        facts.name = given.text(f"{_PREFIX}tool.definition.name")
        facts.call_id = given.text(f"{_PREFIX}tool.call.id")
        facts.input = given.take(f"{_PREFIX}tool.call.arguments", f"{_PREFIX}mcp.server.tool.call.arguments")
        facts.output = given.take(f"{_PREFIX}tool.call.result", f"{_PREFIX}mcp.server.tool.call.result")
    elif said == "chat_client":
        facts.kind = StepKind.AGENT
        facts.session_id = given.text(f"{_PREFIX}chat.client.conversation.id")
        facts.input = given.take(f"{_PREFIX}chat.client.user.text")
    else:
        facts.is_frame = True
    given.take(semconv.OPERATION_NAME)
    facts.error = given.error()
    facts.attributes = given.rest
    return facts
