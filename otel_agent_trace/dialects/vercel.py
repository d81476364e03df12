"""Vercel's AI SDK up to version 6: ``ai.operationId``, ``ai.prompt``, ``ai.response...``, ``ai.toolCall...``."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation, question_in
from otel_agent_trace.model import Message, StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "vercel_ai"
_RUNS = ("ai.generateText", "ai.streamText", "ai.generateObject", "ai.streamObject")
_USAGE = {
    "input_tokens": ("ai.usage.inputTokens", "ai.usage.promptTokens", "gen_ai.usage.input_tokens"),
    "output_tokens": ("ai.usage.outputTokens", "ai.usage.completionTokens", "gen_ai.usage.output_tokens"),
    "cache_read_input_tokens": ("ai.usage.cachedInputTokens", "ai.usage.inputTokenDetails.cacheReadTokens"),
    "cache_write_input_tokens": "ai.usage.inputTokenDetails.cacheWriteTokens",
    "reasoning_output_tokens": ("ai.usage.reasoningTokens", "ai.usage.outputTokenDetails.reasoningTokens"),
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Vercel's AI SDK up to 6 by ``ai.operationId``; None where it has none."""
    given = Attributes(span)
    operation = given.text("ai.operationId")
    if operation is None:
        return None
    facts = SpanFacts(
        kind=_kind(operation), dialect=NAME, label=None if _kind(operation) is StepKind.AGENT else operation
    )
    function = given.text("ai.telemetry.functionId", "resource.name")
    facts.session_id = given.text("ai.telemetry.metadata.sessionId", "ai.telemetry.metadata.conversationId")
    facts.user_id = given.text("ai.telemetry.metadata.userId")
    facts.tags = given.tags("ai.telemetry.metadata.tags")
    if facts.kind is StepKind.TOOL:
        facts.name, facts.call_id = given.text("ai.toolCall.name"), given.text("ai.toolCall.id")
        facts.input, facts.output = given.take("ai.toolCall.args"), given.take("ai.toolCall.result")
    else:
        _generation(given, facts, function)
    facts.error = given.error()
    facts.attributes = given.rest
    return facts


def _kind(operation: str) -> StepKind | None:
    if operation in _RUNS:
        return StepKind.AGENT
    if operation == "ai.toolCall":
        return StepKind.TOOL
    if operation.endswith((".doGenerate", ".doStream")):
        return StepKind.MODEL
    return StepKind.OTHER if operation.startswith("ai.embed") else None


def _generation(given: Attributes, facts: SpanFacts, function: str | None) -> None:
    sent = conversation(given.parsed("ai.prompt.messages")) or _prompt(given)
    text, calls = given.take("ai.response.text"), given.parsed("ai.response.toolCalls")
    found = given.parsed("ai.response.object")
    facts.model = given.text("ai.response.model", "ai.model.id", "gen_ai.response.model", "gen_ai.request.model")
    facts.usage = given.usage(**_USAGE)
    if facts.kind is StepKind.AGENT:
        facts.name = function
        facts.input = question_in([{"role": m.role, "parts": list(m.parts)} for m in sent]) if sent else None
        facts.output = text if text is not None else found
        return
    answer = {"role": "assistant", "content": text, "tool_calls": calls}
    facts.messages = sent + (conversation([answer]) if text or calls else conversation(found, "assistant"))
    facts.response_id = given.text("ai.response.id", "gen_ai.response.id")
    facts.label = facts.model or facts.label


def _prompt(given: Attributes) -> tuple[Message, ...]:
    value: Any = given.parsed("ai.prompt")
    if not isinstance(value, dict):
        return conversation(value) if value is not None else ()
    system = conversation(value.get("system"), "system") if value.get("system") else ()
    return system + conversation(value.get("messages") or value.get("prompt"))
