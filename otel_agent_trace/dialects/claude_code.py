"""Claude Code and the Claude Agent SDK: ``span.type``, bare names; their input tokens are without what was cached."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.dialects.parsing.payloads import parsed
from otel_agent_trace.model import StepKind, Usage
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "claude_code"
_KINDS = {"interaction": StepKind.AGENT, "llm_request": StepKind.MODEL, "tool": StepKind.TOOL}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Claude Code or the Claude Agent SDK by ``span.type``; None where that is no type of theirs."""
    given = Attributes(span)
    said = given.text("span.type")
    kind = _KINDS.get(said.removeprefix("claude_code.")) if said is not None else None
    if said is None or (kind is None and not span.name.startswith("claude_code")):
        return None
    call_id = given.text("gen_ai.tool.call.id", "tool_use_id")
    facts = SpanFacts(kind=kind, dialect=NAME, call_id=call_id)
    facts.label = None if kind is StepKind.AGENT else span.name
    facts.session_id = given.text("session.id")
    facts.user_id = given.text("user.id")
    if kind is StepKind.AGENT:
        facts.input = parsed(given.text("user_prompt", "new_context"))
    elif kind is StepKind.TOOL:
        facts.name = given.text("tool_name", "tool.name", "name")
        facts.input, facts.output = given.take("tool_input", "input"), given.take("tool_output", "output")
        if facts.output is None:
            facts.output = _output_in(span)
    elif kind is StepKind.MODEL:
        asked, told = given.parsed("new_context"), given.parsed("response.model_output")
        facts.messages = conversation(asked) + conversation(told, "assistant")
        facts.model = given.text("model")
        facts.usage = _usage(given)
    said_error = given.text("error")
    failed = given.take("success") in (False, "false") or said_error is not None
    facts.error = given.error(failed=failed or None, message=said_error)
    facts.attributes = given.rest
    return facts


def _output_in(span: SpanRecord) -> Any:
    """What a tool gave, where content is recorded: in an event."""
    told = next((event.attributes for event in span.events if event.name == "tool.output"), {})
    return told.get("output", told.get("content"))


def _usage(given: Attributes) -> Usage | None:
    """Cached tokens are counted beside the input there, and as a part of it here."""
    read_tokens, written = given.integer("cache_read_tokens"), given.integer("cache_creation_tokens")
    fresh, output = given.integer("input_tokens"), given.integer("output_tokens")
    if fresh is None and output is None:
        return None
    return Usage(
        input_tokens=(fresh or 0) + (read_tokens or 0) + (written or 0),
        output_tokens=output,
        cache_read_input_tokens=read_tokens,
        cache_write_input_tokens=written,
    )
