"""Haystack: ``haystack.agent...``, ``haystack.component...`` and ``haystack.tool...``."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.foreign.attributes import Attributes
from otel_agent_trace.foreign.conversation import answer_in, conversation, has_messages, question_in
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.messages import usage_from
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord

NAME = "haystack"
_STEP = "haystack.agent.step."


def read(span: SpanRecord) -> Meaning | None:
    """What the span means, or None where it speaks another language."""
    if not any(key.startswith("haystack.") for key in span.attributes):
        return None
    given = Attributes(span)
    meaning = Meaning(kind=None, dialect=NAME, label=given.text("haystack.component.name"))
    if "haystack.tool.name" in given.rest or span.name == "haystack.agent.step.tool":
        _tool(given, meaning)
    elif span.name == "haystack.agent.step.llm":
        _model(given, meaning, given.parsed(f"{_STEP}llm.input"), given.parsed(f"{_STEP}llm.output"))
    elif given.rest.get("haystack.component.type") == "Agent":
        meaning.kind, meaning.name = StepKind.AGENT, meaning.label
    elif span.name == "haystack.agent.run" or "haystack.agent.input" in given.rest:
        meaning.kind = StepKind.AGENT
        meaning.input = question_in(given.parsed("haystack.agent.input"))
        meaning.output = answer_in(given.parsed("haystack.agent.output"))
    else:
        _component(given, meaning)
    if meaning.error is None:
        meaning.error = given.error()
    meaning.attributes = given.rest
    return meaning


def _tool(given: Attributes, meaning: Meaning) -> None:
    meaning.kind, meaning.name = StepKind.TOOL, given.text("haystack.tool.name")
    meaning.input = given.take(f"{_STEP}tool.input", "haystack.tool.input")
    told = given.parsed(f"{_STEP}tool.output", "haystack.tool.output")
    failed = given.take("haystack.tool.error") in (True, "true")
    if failed:
        message = told.get("error", told) if isinstance(told, dict) else told
        meaning.error = given.error(failed=True, message=None if message is None else str(message))
    else:
        meaning.output = told


def _model(given: Attributes, meaning: Meaning, asked: Any, told: Any) -> None:
    meaning.kind = StepKind.MODEL
    meaning.messages = (conversation(asked) if has_messages(asked) else ()) + conversation(told, "assistant")
    meta = _meta(told)
    meaning.model = None if meta.get("model") is None else str(meta["model"])
    meaning.label = meaning.model or meaning.label
    usage = meta.get("usage")
    meaning.usage = usage_from(usage) if isinstance(usage, dict) and usage else None


def _component(given: Attributes, meaning: Meaning) -> None:
    asked, told = given.parsed("haystack.component.input"), given.parsed("haystack.component.output")
    if _meta(told).get("usage"):
        _model(given, meaning, asked, told)
        return
    asked = given.parsed("haystack.pipeline.input_data") if asked is None else asked
    told = given.parsed("haystack.pipeline.output_data") if told is None else told
    meaning.input, meaning.output = question_in(asked), answer_in(told)


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
