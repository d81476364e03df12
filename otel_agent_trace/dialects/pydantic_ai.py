"""Read spans of pydantic-ai 1 and 2, in its instrumentation formats 1 to 6.

Recognised by ``final_result``, ``pydantic_ai.all_messages`` or ``all_messages_events`` of agents, else by the scope
``pydantic-ai``. Only names of its own are read here; those of the GenAI conventions are left to `genai`.
"""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation, last_content
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
    """Read a span of pydantic-ai by the attributes of its own; return None where there are none."""
    is_own = span.scope.name.startswith("pydantic-ai") and any(key.startswith(_OWN) for key in span.attributes)
    if not is_own and not any(key in span.attributes for key in _AGENT_KEYS):
        return None
    attributes = Attributes(span)
    agent = attributes.text("agent_name")
    facts = SpanFacts(kind=None, dialect=NAME)
    if "events" in attributes.rest:
        facts.messages = conversation(attributes.parsed("events"))
    if any(key in attributes.rest for key in _AGENT_KEYS) or (agent and _is_of_agent(attributes)):
        _read_agent_run(attributes, facts, agent)
    elif "tool_arguments" in attributes.rest or (
        semconv.TOOL_NAME in attributes.rest and "tool_response" in attributes.rest
    ):
        facts.kind = StepKind.TOOL
    if semconv.TOOL_NAME in attributes.rest:
        _read_tool_execution(attributes, facts)
    attributes.take("logfire.json_schema", "logfire.msg")
    facts.attributes = attributes.rest
    return facts


def _is_of_agent(attributes: Attributes) -> bool:
    """Return whether a span that names an agent is one of its runs, also where messages and result were not recorded."""
    return attributes.rest.get(semconv.OPERATION_NAME) in (None, semconv.OPERATION_INVOKE_AGENT)


def _read_agent_run(attributes: Attributes, facts: SpanFacts, agent: str | None) -> None:
    facts.kind, facts.name = StepKind.AGENT, agent
    messages = conversation(attributes.parsed("pydantic_ai.all_messages", "all_messages_events"))
    new_from = attributes.integer("pydantic_ai.new_message_index") or 0
    questions = (last_content([message], "user") for message in messages[new_from:])
    facts.input = next((question for question in questions if question is not None), None)
    facts.output = parsed(attributes.take("final_result"))
    facts.interrupted_for = _deferred_calls(facts.output)
    facts.model = attributes.text("model_name")
    facts.usage = attributes.usage(**_USAGE)
    facts.session_id = attributes.text(semconv.CONVERSATION_ID)
    metadata = attributes.parsed("metadata")
    if isinstance(metadata, dict):
        facts.metadata = metadata
        facts.user_id = _text_or_none(metadata.get("user_id"))
        facts.session_id = facts.session_id or _text_or_none(metadata.get("session_id"))
    facts.error = attributes.error()


def _read_tool_execution(attributes: Attributes, facts: SpanFacts) -> None:
    facts.input, facts.output = attributes.parsed("tool_arguments"), attributes.parsed("tool_response")
    if attributes.text("pydantic_ai.tool.deferral.name") is not None:  # a tool whose call waits for approval
        facts.kind = StepKind.TOOL
        facts.interrupted_for = {"name": attributes.rest.get(semconv.TOOL_NAME), "arguments": parsed(facts.input)}


def _deferred_calls(result: Any) -> Any:
    """Return the calls that a result asks a person to approve, or others to make (``DeferredToolRequests``)."""
    if not isinstance(result, dict) or not result.keys() >= {"calls", "approvals"}:
        return None
    calls = [call for key in ("approvals", "calls") if isinstance(result[key], list) for call in result[key]]
    return [
        {"id": call.get("tool_call_id"), "name": call.get("tool_name"), "arguments": parsed(call.get("args"))}
        for call in calls
        if isinstance(call, dict)
    ] or None


def _text_or_none(value: Any) -> str | None:
    return None if value in (None, "") else str(value)
