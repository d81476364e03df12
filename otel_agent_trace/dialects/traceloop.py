"""Read spans of OpenLLMetry and of Traceloop's SDK.

Recognised by any ``traceloop.*`` attribute or by ``llm.request.type``. Workflows, agents, tasks and tools are in
``traceloop.entity.*``; model calls follow the GenAI conventions of several versions.
"""

from __future__ import annotations

import re
from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, question_in
from otel_agent_trace.dialects.parsing.payloads import message_in, parsed
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "traceloop"
_KINDS = {"agent": StepKind.AGENT, "tool": StepKind.TOOL}
_NO_NAME = "haystack_pipeline"  # OpenLLMetry calls every pipeline of Haystack so
_PROPERTIES = "traceloop.association.properties."
_MODEL_TYPES = ("chat", "completion")
_CLASS = re.compile(r"[A-Z]\w*|\w+(\.\w+)+")


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span by its ``traceloop.*`` attributes or ``llm.request.type``; return None where there are none."""
    if not any(key.startswith("traceloop.") or key == "llm.request.type" for key in span.attributes):
        return None
    attributes = Attributes(span)
    entity_kind = (attributes.text("traceloop.span.kind") or "").lower()
    kind = _KINDS.get(entity_kind)
    if not entity_kind and attributes.text("llm.request.type") in _MODEL_TYPES:
        kind = StepKind.MODEL
    facts = SpanFacts(kind=kind, dialect=NAME)
    facts.session_id = attributes.text(*(_PROPERTIES + key for key in ("session_id", "thread_id", "conversation_id")))
    facts.user_id = attributes.text(f"{_PROPERTIES}user_id")
    facts.tags = attributes.tags(f"{_PROPERTIES}tags")
    facts.prompt_name, facts.prompt_version = (
        attributes.text("traceloop.prompt.key"),
        attributes.text("traceloop.prompt.version"),
    )
    entity = attributes.text("traceloop.entity.name")
    entity = None if entity == _NO_NAME else entity
    if facts.kind is StepKind.MODEL or not entity_kind:
        facts.agent_name = _workflow_around(attributes)
    if entity_kind == "task" and entity is not None and entity == attributes.rest.get(f"{_PROPERTIES}lc_agent_name"):
        # A LangGraph graph within a graph: its nodes inherit the property, but have entity names of their own.
        entity_kind, facts.kind = "agent", StepKind.AGENT
    is_tool = "tool.name" in attributes.rest or attributes.rest.get(semconv.OPERATION_NAME) == "execute_tool"
    if entity_kind == "task" and is_tool:
        entity_kind, facts.kind = "tool", StepKind.TOOL
    recorded_input = attributes.take("traceloop.entity.input", "gen_ai.task.input")
    recorded_output = attributes.take("traceloop.entity.output", "gen_ai.task.output")
    if entity_kind == "tool":
        _read_tool_entity(
            attributes, facts, _tool_name_in_result(recorded_output) or entity, recorded_input, recorded_output
        )
    elif entity_kind in ("agent", "workflow"):
        if entity_kind == "agent":
            named = span.name.removesuffix(".agent") if span.name.endswith(".agent") else None
            facts.name = entity or attributes.text(semconv.AGENT_NAME) or named
        facts.label = _answering_agent(recorded_output) or entity
        facts.input, facts.output = question_in(recorded_input), answer_in(recorded_output)
        facts.agent_name = facts.name or _name_in_answer(recorded_output)
        if span.scope.name.startswith("@") and type(recorded_input) is str and '"tool_calls"' in recorded_input:
            facts.messages = conversation(parsed(recorded_input))  # in JavaScript the calls are nowhere else
    if entity_kind and facts.error is None:
        facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts


def _workflow_around(attributes: Attributes) -> str | None:
    """Return the name of the workflow that a call belongs to, whose own span may be missing; None for a class."""
    name = attributes.rest.get("traceloop.workflow.name")
    is_name = type(name) is str and not _CLASS.fullmatch(name) and semconv.AGENT_NAME not in attributes.rest
    return name if is_name else None


def _read_tool_entity(
    attributes: Attributes, facts: SpanFacts, name: str | None, recorded_input: Any, recorded_output: Any
) -> None:
    arguments = attributes.parsed("tool.arguments")
    facts.name = attributes.text("tool.name") or name
    facts.input = parsed(_argument_object(recorded_input)) if arguments is None else arguments
    facts.output = _unwrapped_mcp_result(recorded_input, recorded_output)
    result = parsed(recorded_output) if type(recorded_output) is str and '"tool_output"' in recorded_output else None
    if isinstance(result, dict):
        facts.call_id = result["tool_id"] if isinstance(result.get("tool_id"), str) else None
        output = facts.output = result.get("tool_output")
        if isinstance(output, dict) and output.get("is_error") is True:
            message = output.get("raw_output")
            facts.error = attributes.error(failed=True, message=message if isinstance(message, str) else None)
            facts.output = None


def _argument_object(recorded_input: Any) -> Any:
    """Return the arguments in ``{"args": [TEXT]}`` where the text is an object: LangChain in JavaScript passes JSON."""
    if type(recorded_input) is not str or not recorded_input.startswith('{"args":["{'):
        return recorded_input
    values = parsed(recorded_input)
    arguments = parsed(values["args"][0]) if values.keys() == {"args"} and len(values["args"]) == 1 else None
    return arguments if isinstance(arguments, dict) else recorded_input


def _unwrapped_mcp_result(recorded_input: Any, recorded_output: Any) -> Any:
    """Return an MCP call's result without ``{"result": ...}``, which OpenLLMetry adds where it wraps arguments too."""
    request = parsed(recorded_input) if type(recorded_input) is str and '"tool_name"' in recorded_input else None
    result = (
        parsed(recorded_output) if isinstance(request, dict) and request.keys() == {"tool_name", "arguments"} else None
    )
    return result["result"] if isinstance(result, dict) and result.keys() == {"result"} else parsed(recorded_output)


def _answering_agent(recorded_output: Any) -> str | None:
    """Return the agent that answered, where a workflow's result names it (``current_agent_name``, LlamaIndex)."""
    if type(recorded_output) is not str or '"current_agent_name"' not in recorded_output:
        return None
    result = parsed(recorded_output)
    inner = result.get("result", result) if isinstance(result, dict) else None
    name = inner.get("current_agent_name") if isinstance(inner, dict) else None
    return name if isinstance(name, str) else None


def _name_in_answer(recorded_output: Any) -> str | None:
    """Return the agent's name from the last message in a result, where LangChain names each answer after its agent."""
    if type(recorded_output) is not str or '"name"' not in recorded_output:
        return None
    messages = conversation(recorded_output)
    return messages[-1].name if messages and messages[-1].role == "assistant" else None


def _tool_name_in_result(recorded_output: Any) -> str | None:
    """Return the tool's name from its result, else None.

    OpenLLMetry names LlamaIndex's tools, and those of LangChain in JavaScript, by their class.
    """
    if type(recorded_output) is not str or "name" not in recorded_output:
        return None
    result = parsed(recorded_output)
    message = message_in(result) if isinstance(result, dict) else {}
    name = (
        message.get("name")
        if "tool_call_id" in message
        else message.get("tool_name")
        if "raw_output" in message
        else None
    )
    return name if isinstance(name, str) and name else None
