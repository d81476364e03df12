"""Read spans of Monocle (``monocle_apptrace``), which traces many frameworks in one scheme.

Recognised by ``span.type`` beside ``entity.*``. The entities of a span are numbered: the tool, the agent, the model that
take part in it, each with a type (``agent.langgraph``, ``model.llm.gpt-4o``) and a name. Inputs, outputs and tokens are
in its events ``data.input``, ``data.output`` and ``metadata``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_agent_trace.dialects.parsing.attributes import Attributes, usage_in
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, question_in
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.model import Message, StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "monocle"
_KINDS = {
    "workflow": None,
    **dict.fromkeys(("agentic.turn", "agentic.request", "agentic.invocation"), StepKind.AGENT),
    **dict.fromkeys(("agentic.tool.invocation", "agentic.mcp.invocation"), StepKind.TOOL),
    **dict.fromkeys(("inference", "inference.framework"), StepKind.MODEL),
    "retrieval": StepKind.RETRIEVAL,
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Monocle by its ``span.type`` and entities; return None where it has none."""
    attributes = Attributes(span)
    span_type = attributes.text("span.type")
    if span_type not in _KINDS or not any(key.startswith(("entity.", "monocle")) for key in attributes.rest):
        return None
    entities = [entity for entity in _listed(attributes.under("entity")) if isinstance(entity, dict)]
    facts = SpanFacts(kind=_KINDS[span_type], dialect=NAME)
    facts.session_id = attributes.text("scope.agentic.session")
    recorded_input = _content(span, "data.input", "input", "query")
    recorded_output = _content(span, "data.output", "response", "output")
    if facts.kind is StepKind.MODEL:
        facts.messages = _messages(recorded_input, "user") + _messages(recorded_output, "assistant")
        metadata = _event(span, "metadata")
        facts.requested_model = _name_of(entities, "model.")
        facts.model = parsed(metadata.get("model")) or facts.requested_model
        facts.label = facts.model or span.name
        facts.usage = usage_in(metadata)
    elif facts.kind is StepKind.TOOL:
        facts.name = _name_of(entities, "tool.", "mcp.")
        facts.input, facts.output = recorded_input, recorded_output
    elif facts.kind is StepKind.RETRIEVAL:
        facts.label = _name_of(entities, "vectorstore.") or span.name
        facts.input, facts.output = recorded_input, recorded_output
    else:
        facts.name = _name_of(entities, "agent.")
        facts.input, facts.output = question_in(recorded_input), answer_in(recorded_output)
    facts.agent_name = _name_of(entities, "agent.")
    facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts


def _listed(entities: Any) -> list[Any]:
    """Return the entities in order of their numbers, which begin with 1; there may be other keys, such as a count."""
    if isinstance(entities, dict):
        numbers = sorted((key for key in entities if key.isdigit()), key=int)
        return [entities[number] for number in numbers]
    return entities if isinstance(entities, list) else []


def _name_of(entities: list[dict[str, Any]], *types: str) -> str | None:
    """Return the name of the first entity of one of these types, if it has one."""
    named = (entity.get("name") for entity in entities if str(entity.get("type", "")).startswith(types))
    return next((name for name in named if isinstance(name, str) and name), None)


def _event(span: SpanRecord, name: str) -> Mapping[str, Any]:
    return next((event.attributes for event in span.events if event.name == name), {})


def _content(span: SpanRecord, event: str, *keys: str) -> Any:
    """Return the first of some attributes of an event; a list with one value stands for the value."""
    attributes = _event(span, event)
    value = next((attributes[key] for key in keys if key in attributes), None)
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _messages(value: Any, role: str) -> tuple[Message, ...]:
    """Return messages, each of which Monocle writes as an object with the role as its only key."""
    items = value if isinstance(value, list | tuple) else (value,)
    return tuple(message for item in items for message in conversation(_message(parsed(item)), role))


def _message(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((role, content),) = value.items()
    calls = _calls_in(value) or _calls_in(parsed(content))
    return {"role": "assistant", "tool_calls": calls} if calls else {"role": role, "content": content}


def _calls_in(content: Any) -> list[dict[str, Any]]:
    """Return the tool calls that a message consists of; none where it has anything else."""
    if isinstance(content, dict):
        content = content.get("tools", [content])
    calls = [_call(item) for item in content] if isinstance(content, list) else []
    return [call for call in calls if call] if all(calls) else []


def _call(item: Any) -> dict[str, Any]:
    data = {str(key).removeprefix("tool_"): part for key, part in item.items()} if isinstance(item, dict) else {}
    return data if "name" in data and ("args" in data or "arguments" in data) else {}
