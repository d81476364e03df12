"""Read spans of Claude Code and of the Claude Agent SDK.

Recognised by ``span.type``. All other attributes have bare names (``tool_name``, ``input_tokens``); ``input_tokens``
leave out the cached tokens.
"""

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
    """Read a span by a ``span.type`` of Claude Code or the Claude Agent SDK; return None where it has none."""
    attributes = Attributes(span)
    recorded_type = attributes.text("span.type")
    kind = _KINDS.get(recorded_type.removeprefix("claude_code.")) if recorded_type is not None else None
    if recorded_type is None or (kind is None and not span.name.startswith("claude_code")):
        return None
    call_id = attributes.text("gen_ai.tool.call.id", "tool_use_id")
    facts = SpanFacts(kind=kind, dialect=NAME, call_id=call_id)
    facts.label = None if kind is StepKind.AGENT else span.name
    facts.session_id = attributes.text("session.id")
    facts.user_id = attributes.text("user.id")
    if kind is StepKind.AGENT:
        facts.input = parsed(attributes.text("user_prompt", "new_context"))
    elif kind is StepKind.TOOL:
        facts.name = attributes.text("tool_name", "tool.name", "name")
        facts.input, facts.output = attributes.parsed("tool_input", "input"), attributes.parsed("tool_output", "output")
        if facts.output is None:
            facts.output = parsed(_tool_output(span))
    elif kind is StepKind.MODEL:
        request, answer = attributes.parsed("new_context"), attributes.parsed("response.model_output")
        facts.messages = conversation(request) + conversation(answer, "assistant")
        facts.model = attributes.text("model")
        facts.usage = _usage(attributes)
    error_text = attributes.text("error")
    failed = attributes.take("success") in (False, "false") or error_text is not None
    facts.error = attributes.error(failed=failed or None, message=error_text)
    facts.attributes = attributes.rest
    return facts


def _tool_output(span: SpanRecord) -> Any:
    """Return a tool's output from the event ``tool.output``, which Claude Code writes where it records content."""
    output = next((event.attributes for event in span.events if event.name == "tool.output"), {})
    return output.get("output", output.get("content"))


def _usage(attributes: Attributes) -> Usage | None:
    """Return the tokens of a model call, cached ones included in the input.

    Claude Code reports cached tokens beside the input, the GenAI conventions count them as a part of it.
    """
    read_tokens, written = attributes.integer("cache_read_tokens"), attributes.integer("cache_creation_tokens")
    fresh, output = attributes.integer("input_tokens"), attributes.integer("output_tokens")
    if fresh is None and output is None:
        return None
    return Usage(
        input_tokens=(fresh or 0) + (read_tokens or 0) + (written or 0),
        output_tokens=output,
        cache_read_input_tokens=read_tokens,
        cache_write_input_tokens=written,
    )
