"""Read spans of Google's Genkit, which its JavaScript, Go and Python libraries write alike.

Recognised by any ``genkit:*`` attribute; the kind of a span is in ``genkit:metadata:subtype``, else in ``genkit:type``.
Inputs and outputs are JSON in ``genkit:input`` and ``genkit:output``, the tokens of a call within its output.
"""

from __future__ import annotations

from typing import Any

from otel_agent_trace.dialects.parsing.attributes import Attributes, usage_in
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, question_in
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "genkit"
_KINDS = {
    "agent": StepKind.AGENT,
    "model": StepKind.MODEL,
    "background-model": StepKind.MODEL,
    "tool": StepKind.TOOL,
    "tool.v2": StepKind.TOOL,
    "retriever": StepKind.RETRIEVAL,
    "embedder": StepKind.OTHER,
    "reranker": StepKind.OTHER,
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Genkit by its ``genkit:*`` attributes; return None where there are none."""
    if not any(key.startswith("genkit:") for key in span.attributes):
        return None
    attributes = Attributes(span)
    recorded_kind = attributes.text("genkit:metadata:subtype", "genkit:type") or ""
    name = attributes.text("genkit:name") or span.name
    facts = SpanFacts(kind=_KINDS.get(recorded_kind), dialect=NAME)
    facts.session_id = attributes.text("genkit:sessionId")
    recorded_input, recorded_output = attributes.parsed("genkit:input"), attributes.parsed("genkit:output")
    if facts.kind is StepKind.MODEL:
        _read_model_call(facts, name, recorded_input, recorded_output)
    elif facts.kind in (StepKind.AGENT, None):
        facts.is_function = recorded_kind == "flow"  # a flow is a traced function, which may or may not call models
        facts.name = name if facts.is_function or facts.kind is not None else None
        facts.input, facts.output = question_in(recorded_input), answer_in(recorded_output)
    else:
        facts.name, facts.input, facts.output = name, recorded_input, recorded_output
    facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts


def _read_model_call(facts: SpanFacts, name: str, request: Any, response: Any) -> None:
    facts.messages = conversation(request) + conversation(response, "assistant")
    facts.requested_model = name.partition("/")[2] or name  # `googleai/gemini-2.5-flash`: the plugin stands before it
    raw = response.get("raw") if isinstance(response, dict) else None
    answered = raw.get("model", raw.get("modelVersion")) if isinstance(raw, dict) else None
    facts.model = answered if isinstance(answered, str) and answered else facts.requested_model
    facts.label = facts.model
    facts.usage = usage_in(response.get("usage")) if isinstance(response, dict) else None
