"""Read the raw requests and responses of providers that LiteLLM's OpenTelemetry callback records.

Recognised by the scope ``litellm`` and an attribute ``llm.PROVIDER.choices``, ``.candidates`` or ``.content``. LiteLLM
writes what it knows of the last call on the caller's span; each single call is only in a span
``raw_gen_ai_request`` below it.
"""

from __future__ import annotations

from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import conversation
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "litellm"
_ANSWERS = (".choices", ".candidates", ".content")


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a provider's request and response from ``llm.PROVIDER.*``; return None where there is no response."""
    attributes = Attributes(span)
    key = next((key for key in attributes.rest if key.startswith("llm.") and key.endswith(_ANSWERS)), None)
    if key is None or key.count(".") != 2:
        return None
    provider, _, _ = key.rpartition(".")
    answer = attributes.parsed(key)
    request = attributes.parsed(f"{provider}.messages", f"{provider}.contents")
    facts = SpanFacts(kind=StepKind.MODEL, dialect=NAME)
    facts.set_messages(conversation(request), conversation({"choices": answer}, "assistant"))
    facts.model = attributes.text(f"{provider}.model")
    facts.label = facts.model or span.name
    facts.response_id = attributes.text(f"{provider}.id")
    facts.usage = attributes.usage_of(f"{provider}.usage")
    facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts
