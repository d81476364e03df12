"""OpenLLMetry (Traceloop): ``traceloop.span.kind`` and ``traceloop.entity...``; model calls in the GenAI conventions."""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, question_in
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "traceloop"
_KINDS = {"agent": StepKind.AGENT, "tool": StepKind.TOOL}
_PROPERTIES = "traceloop.association.properties."
_MODEL_TYPES = ("chat", "completion")


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of OpenLLMetry by ``traceloop...`` or ``llm.request.type``; None where there are none."""
    if not any(key.startswith("traceloop.") or key == "llm.request.type" for key in span.attributes):
        return None
    given = Attributes(span)
    said = (given.text("traceloop.span.kind") or "").lower()
    kind = _KINDS.get(said)
    if not said and given.text("llm.request.type") in _MODEL_TYPES:
        kind = StepKind.MODEL
    facts = SpanFacts(kind=kind, dialect=NAME)
    facts.session_id = given.text(*(_PROPERTIES + key for key in ("session_id", "thread_id", "conversation_id")))
    facts.user_id = given.text(f"{_PROPERTIES}user_id")
    facts.tags = given.tags(f"{_PROPERTIES}tags")
    facts.prompt_name, facts.prompt_version = given.text("traceloop.prompt.key"), given.text("traceloop.prompt.version")
    entity = given.text("traceloop.entity.name")
    if said == "task" and entity is not None and entity == given.rest.get(f"{_PROPERTIES}lc_agent_name"):
        # A graph in a graph. Its nodes inherit that property, but are called something else.
        said, facts.kind = "agent", StepKind.AGENT
    if said == "task" and "tool.name" in given.rest:
        said, facts.kind = "tool", StepKind.TOOL
    asked = given.take("traceloop.entity.input", "gen_ai.task.input")
    told = given.take("traceloop.entity.output", "gen_ai.task.output")
    if said == "tool":
        _tool(given, facts, _tool_name(told) or entity, asked, told)
    elif said in ("agent", "workflow"):
        if said == "agent":
            named = span.name.removesuffix(".agent") if span.name.endswith(".agent") else None
            facts.name = entity or given.text(semconv.AGENT_NAME) or named
        facts.label = _agent_in(told) or entity
        facts.input, facts.output = question_in(asked), answer_in(told)
    if said and facts.error is None:
        facts.error = given.error()
    facts.attributes = given.rest
    return facts


def _tool(given: Attributes, facts: SpanFacts, name: str | None, asked: Any, told: Any) -> None:
    arguments = given.take("tool.arguments")
    facts.name = given.text("tool.name") or name
    facts.input = asked if arguments is None else arguments
    facts.output = _out_of_envelope(asked, told)
    result = parsed(told) if type(told) is str and '"tool_output"' in told else None
    if isinstance(result, dict):
        facts.call_id = result["tool_id"] if isinstance(result.get("tool_id"), str) else None
        output = facts.output = result.get("tool_output")
        if isinstance(output, dict) and output.get("is_error") is True:
            words = output.get("raw_output")
            facts.error = given.error(failed=True, message=words if isinstance(words, str) else None)
            facts.output = None


def _out_of_envelope(asked: Any, told: Any) -> Any:
    """The result of a call by MCP, which stands in an envelope where the arguments do too."""
    request = parsed(asked) if type(asked) is str and '"tool_name"' in asked else None
    result = parsed(told) if isinstance(request, dict) and request.keys() == {"tool_name", "arguments"} else None
    return result["result"] if isinstance(result, dict) and result.keys() == {"result"} else told


def _agent_in(told: Any) -> str | None:
    """The agent that answered, where the answer of a workflow tells it."""
    if type(told) is not str or '"current_agent_name"' not in told:
        return None
    result = parsed(told)
    inner = result.get("result", result) if isinstance(result, dict) else None
    name = inner.get("current_agent_name") if isinstance(inner, dict) else None
    return name if isinstance(name, str) else None


def _tool_name(told: Any) -> str | None:
    """The name of the tool where its result tells it; the entity is then called by its class."""
    if type(told) is not str or '"tool_name"' not in told:
        return None
    result = parsed(told)
    name = result.get("tool_name") if isinstance(result, dict) and "raw_output" in result else None
    return name if isinstance(name, str) else None
