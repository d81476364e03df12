"""LiteLLM: the provider's own request and answer in ``llm.PROVIDER...`` of a span inside the call, or inside the caller's."""

from __future__ import annotations

from otel_agent_trace.foreign.attributes import Attributes
from otel_agent_trace.foreign.conversation import conversation
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord

NAME = "litellm"
_ANSWERS = (".choices", ".candidates", ".content")


def read(span: SpanRecord) -> Meaning | None:
    """What the span means, or None where it holds no answer of a provider."""
    given = Attributes(span)
    key = next((key for key in given.rest if key.startswith("llm.") and key.endswith(_ANSWERS)), None)
    if key is None or key.count(".") != 2:
        return None
    provider, _, _ = key.rpartition(".")
    told = given.parsed(key)
    asked = given.parsed(f"{provider}.messages", f"{provider}.contents")
    meaning = Meaning(kind=StepKind.MODEL, dialect=NAME)
    meaning.messages = conversation(asked) + conversation({"choices": told}, "assistant")
    meaning.model = given.text(f"{provider}.model")
    meaning.label = meaning.model or span.name
    meaning.response_id = given.text(f"{provider}.id")
    meaning.usage = given.usage_of(f"{provider}.usage")
    meaning.error = given.error()
    meaning.attributes = given.rest
    return meaning
