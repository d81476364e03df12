"""LiteLLM: the provider's own request and answer in ``llm.PROVIDER...`` of a span inside the call, or inside the caller's."""

from __future__ import annotations

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "litellm"
_ANSWERS = (".choices", ".candidates", ".content")


def read(span: SpanRecord) -> SpanFacts | None:
    """Read the provider's request and answer that LiteLLM leaves in ``llm.PROVIDER...``; None where there is no answer."""
    given = Attributes(span)
    key = next((key for key in given.rest if key.startswith("llm.") and key.endswith(_ANSWERS)), None)
    if key is None or key.count(".") != 2:
        return None
    provider, _, _ = key.rpartition(".")
    told = given.parsed(key)
    asked = given.parsed(f"{provider}.messages", f"{provider}.contents")
    facts = SpanFacts(kind=StepKind.MODEL, dialect=NAME)
    facts.messages = conversation(asked) + conversation({"choices": told}, "assistant")
    facts.model = given.text(f"{provider}.model")
    facts.label = facts.model or span.name
    facts.response_id = given.text(f"{provider}.id")
    facts.usage = given.usage_of(f"{provider}.usage")
    facts.error = given.error()
    facts.attributes = given.rest
    return facts
