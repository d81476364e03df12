"""Read spans of Vercel's AI SDK up to version 6 (version 7 follows the GenAI conventions).

Recognised by ``ai.operationId``. Prompts, answers and tool calls are in ``ai.prompt*``, ``ai.response.*`` and
``ai.toolCall.*``.
"""

from __future__ import annotations

from typing import Any

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation, question_in
from otel_agent_trace.dialects.parsing.payloads import compact_json, parsed
from otel_agent_trace.dialects.parsing.texts import is_cut
from otel_agent_trace.model import Message, StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts
from otel_agent_trace.values import Truncated

NAME = "vercel_ai"
_RUNS = ("ai.generateText", "ai.streamText", "ai.generateObject", "ai.streamObject")
_USAGE = {
    "input_tokens": ("ai.usage.inputTokens", "ai.usage.promptTokens", "gen_ai.usage.input_tokens"),
    "output_tokens": ("ai.usage.outputTokens", "ai.usage.completionTokens", "gen_ai.usage.output_tokens"),
    "cache_read_input_tokens": ("ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens"),
    "cache_write_input_tokens": "ai.usage.inputTokenDetails.cacheWriteTokens",
    "total": "ai.usage.totalTokens",
    "reasoning_output_tokens": ("ai.usage.reasoningTokens", "ai.usage.outputTokenDetails.reasoningTokens"),
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Vercel's AI SDK by ``ai.operationId``; return None where it has none."""
    attributes = Attributes(span)
    operation = attributes.text("ai.operationId")
    if operation is None:
        return None
    facts = SpanFacts(
        kind=_kind_of_operation(operation),
        dialect=NAME,
        label=None if _kind_of_operation(operation) is StepKind.AGENT else operation,
    )
    function = attributes.text("ai.telemetry.functionId", "resource.name")
    facts.session_id = attributes.text("ai.telemetry.metadata.sessionId", "ai.telemetry.metadata.conversationId")
    facts.user_id = attributes.text("ai.telemetry.metadata.userId")
    facts.tags = attributes.tags("ai.telemetry.metadata.tags")
    if facts.kind is StepKind.TOOL:
        facts.name, facts.call_id = attributes.text("ai.toolCall.name"), attributes.text("ai.toolCall.id")
        facts.input, facts.output = attributes.parsed("ai.toolCall.args"), attributes.parsed("ai.toolCall.result")
    else:
        _read_generation(attributes, facts, function)
    facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts


def _kind_of_operation(operation: str) -> StepKind | None:
    if operation in _RUNS:
        return StepKind.AGENT
    if operation == "ai.toolCall":
        return StepKind.TOOL
    if operation.endswith((".doGenerate", ".doStream")):
        return StepKind.MODEL
    return StepKind.OTHER if operation.startswith("ai.embed") else None


def _read_generation(attributes: Attributes, facts: SpanFacts, function: str | None) -> None:
    sent = conversation(attributes.parsed("ai.prompt.messages")) or _prompt_messages(attributes)
    text, calls = attributes.take("ai.response.text"), attributes.parsed("ai.response.toolCalls")
    found = attributes.take("ai.response.object")
    facts.requested_model = attributes.text("ai.model.id", "gen_ai.request.model")
    facts.model = attributes.text("ai.response.model", "gen_ai.response.model") or facts.requested_model
    facts.usage = attributes.usage(**_USAGE)
    if facts.kind is StepKind.AGENT:
        facts.name = function
        facts.input = question_in([{"role": m.role, "parts": list(m.parts)} for m in sent]) if sent else None
        facts.output = text if text is not None else parsed(found)
        return
    answer = {"role": "assistant", "content": text, "tool_calls": calls}
    facts.messages = sent + (conversation([answer]) if text or calls else _written_object(found))
    facts.response_id = attributes.text("ai.response.id", "gen_ai.response.id")
    facts.label = facts.model or facts.label


def _written_object(found: Any) -> tuple[Message, ...]:
    """Return the message in which a model wrote an object: its text, since any object is an answer, and no message."""
    if found is None:
        return ()
    text = found if type(found) is str else compact_json(found)
    content = Truncated(text, None, "bytes") if is_cut(text) else text
    return (Message(role="assistant", parts=({"type": "text", "content": content},)),)


def _prompt_messages(attributes: Attributes) -> tuple[Message, ...]:
    value: Any = attributes.parsed("ai.prompt")
    if not isinstance(value, dict):
        return conversation(value) if value is not None else ()
    system = conversation(value.get("system"), "system") if value.get("system") else ()
    return system + conversation(value.get("messages") or value.get("prompt"))
