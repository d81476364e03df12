"""pydantic-ai: ``final_result`` and ``pydantic_ai.all_messages`` of agents, the names of its older formats."""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "pydantic_ai"
_AGENT_KEYS = ("pydantic_ai.all_messages", "all_messages_events", "final_result")
_OWN = ("gen_ai.", "agent_name", "tool_", "events", "logfire.")
_USAGE = {
    "input_tokens": "gen_ai.aggregated_usage.input_tokens",
    "output_tokens": "gen_ai.aggregated_usage.output_tokens",
    "cache_read_input_tokens": "gen_ai.aggregated_usage.cache_read.input_tokens",
    "cache_write_input_tokens": "gen_ai.aggregated_usage.cache_creation.input_tokens",
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of pydantic-ai 1 and 2 (formats 1 to 6) by its own attributes; None where there are none."""
    is_own = span.scope.name.startswith("pydantic-ai") and any(key.startswith(_OWN) for key in span.attributes)
    if not is_own and not any(key in span.attributes for key in _AGENT_KEYS):
        return None
    given = Attributes(span)
    agent = given.text("agent_name")
    facts = SpanFacts(kind=None, dialect=NAME)
    if "events" in given.rest:
        facts.messages = conversation(given.parsed("events"))
    if any(key in given.rest for key in _AGENT_KEYS) or (agent and semconv.OPERATION_NAME not in given.rest):
        _agent(given, facts, agent)
    elif "tool_arguments" in given.rest or (semconv.TOOL_NAME in given.rest and "tool_response" in given.rest):
        facts.kind = StepKind.TOOL
    if semconv.TOOL_NAME in given.rest:
        _tool(given, facts)
    given.take("logfire.json_schema", "logfire.msg")
    facts.attributes = given.rest
    return facts


def _agent(given: Attributes, facts: SpanFacts, agent: str | None) -> None:
    facts.kind, facts.name = StepKind.AGENT, agent
    messages = conversation(given.parsed("pydantic_ai.all_messages", "all_messages_events"))
    new_from = given.integer("pydantic_ai.new_message_index") or 0
    asked = [message.text for message in messages[new_from:] if message.role == "user" and message.text.strip()]
    facts.input = asked[0] if asked else None
    facts.output = parsed(given.take("final_result"))
    facts.model = given.text("model_name")
    facts.usage = given.usage(**_USAGE)
    facts.session_id = given.text(semconv.CONVERSATION_ID)
    metadata = given.parsed("metadata")
    if isinstance(metadata, dict):
        facts.metadata = metadata
        facts.user_id = _text(metadata.get("user_id"))
        facts.session_id = facts.session_id or _text(metadata.get("session_id"))
    facts.error = given.error()


def _tool(given: Attributes, facts: SpanFacts) -> None:
    facts.input, facts.output = given.take("tool_arguments"), given.take("tool_response")
    if given.text("pydantic_ai.tool.deferral.name") is not None:
        facts.kind = StepKind.TOOL


def _text(value: Any) -> str | None:
    return None if value in (None, "") else str(value)
