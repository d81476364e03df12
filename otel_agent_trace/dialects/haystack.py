"""Haystack: ``haystack.agent...``, ``haystack.component...`` and ``haystack.tool...``."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, has_messages, question_in
from otel_agent_trace.messages import usage_from
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "haystack"
_STEP = "haystack.agent.step."


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Haystack by its ``haystack...`` attributes; None where there are none."""
    if not any(key.startswith("haystack.") for key in span.attributes):
        return None
    given = Attributes(span)
    facts = SpanFacts(kind=None, dialect=NAME, label=given.text("haystack.component.name"))
    if "haystack.tool.name" in given.rest or span.name == "haystack.agent.step.tool":
        _tool(given, facts)
    elif span.name == "haystack.agent.step.llm":
        _model(given, facts, given.parsed(f"{_STEP}llm.input"), given.parsed(f"{_STEP}llm.output"))
    elif given.rest.get("haystack.component.type") == "Agent":
        facts.kind, facts.name = StepKind.AGENT, facts.label
    elif span.name == "haystack.agent.run" or "haystack.agent.input" in given.rest:
        facts.kind = StepKind.AGENT
        facts.input = question_in(given.parsed("haystack.agent.input"))
        facts.output = answer_in(given.parsed("haystack.agent.output"))
    else:
        _component(given, facts)
    if facts.error is None:
        facts.error = given.error()
    facts.attributes = given.rest
    return facts


def _tool(given: Attributes, facts: SpanFacts) -> None:
    facts.kind, facts.name = StepKind.TOOL, given.text("haystack.tool.name")
    facts.input = given.take(f"{_STEP}tool.input", "haystack.tool.input")
    told = given.parsed(f"{_STEP}tool.output", "haystack.tool.output")
    failed = given.take("haystack.tool.error") in (True, "true")
    if failed:
        message = told.get("error", told) if isinstance(told, dict) else told
        facts.error = given.error(failed=True, message=None if message is None else str(message))
    else:
        facts.output = told


def _model(given: Attributes, facts: SpanFacts, asked: Any, told: Any) -> None:
    facts.kind = StepKind.MODEL
    facts.messages = (conversation(asked) if has_messages(asked) else ()) + conversation(told, "assistant")
    meta = _meta(told)
    facts.model = None if meta.get("model") is None else str(meta["model"])
    facts.label = facts.model or facts.label
    usage = meta.get("usage")
    facts.usage = usage_from(usage) if isinstance(usage, dict) and usage else None


def _component(given: Attributes, facts: SpanFacts) -> None:
    asked, told = given.parsed("haystack.component.input"), given.parsed("haystack.component.output")
    if _meta(told).get("usage"):
        _model(given, facts, asked, told)
        return
    asked = given.parsed("haystack.pipeline.input_data") if asked is None else asked
    told = given.parsed("haystack.pipeline.output_data") if told is None else told
    facts.input, facts.output = question_in(asked), answer_in(told)


def _meta(told: Any) -> dict[str, Any]:
    """What the generator says of its answer."""
    replies = told.get("replies") if isinstance(told, dict) else None
    first = replies[0] if isinstance(replies, list) and replies else None
    for message in (first, first.get("message") if isinstance(first, dict) else None):
        meta = (message.get("meta") or message.get("_meta")) if isinstance(message, dict) else None
        if isinstance(meta, dict):
            return meta
    meta = told.get("meta") if isinstance(told, dict) else None
    return meta[0] if isinstance(meta, list) and meta and isinstance(meta[0], dict) else {}
