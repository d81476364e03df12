"""Read spans of Spring AI, whose model calls follow the GenAI conventions.

Recognised by ``spring.ai.kind``. Chat clients are agents; tools, also those served by MCP, are in ``spring.ai.*``.
"""

from __future__ import annotations

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "spring_ai"
_PREFIX = "spring.ai."


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Spring AI by ``spring.ai.kind``; return None where it has none."""
    attributes = Attributes(span)
    recorded_kind = attributes.text(f"{_PREFIX}kind")
    if recorded_kind is None:
        return None
    facts = SpanFacts(kind=None, dialect=NAME)
    if recorded_kind in ("tool_call", "mcp_server_tool_call"):
        facts.kind = StepKind.TOOL
        facts.name = attributes.text(f"{_PREFIX}tool.definition.name")
        facts.call_id = attributes.text(f"{_PREFIX}tool.call.id")
        facts.input = attributes.parsed(f"{_PREFIX}tool.call.arguments", f"{_PREFIX}mcp.server.tool.call.arguments")
        facts.output = attributes.parsed(f"{_PREFIX}tool.call.result", f"{_PREFIX}mcp.server.tool.call.result")
    elif recorded_kind == "chat_client":
        facts.kind = StepKind.AGENT
        facts.session_id = attributes.text(f"{_PREFIX}chat.client.conversation.id")
        facts.input = attributes.take(f"{_PREFIX}chat.client.user.text")
    else:
        facts.is_frame = True
    attributes.take(semconv.OPERATION_NAME)
    facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts
