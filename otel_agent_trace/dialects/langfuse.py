"""Read spans of Langfuse's SDKs, versions 3 to 5.

Recognised by ``langfuse.observation.type``. Input, output, model and usage of each observation are JSON in
``langfuse.observation.*``, those of the whole trace in ``langfuse.trace.*``.
"""

from __future__ import annotations

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import USER_IDS, Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, question_in
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "langfuse"
_OBSERVATION = "langfuse.observation."
_KINDS = {
    "agent": StepKind.AGENT,
    "tool": StepKind.TOOL,
    "generation": StepKind.MODEL,
    "retriever": StepKind.RETRIEVAL,
    "embedding": StepKind.OTHER,
    "guardrail": StepKind.OTHER,
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of Langfuse by ``langfuse.observation.type``; return None where it has none."""
    attributes = Attributes(span)
    observation_type = attributes.text(f"{_OBSERVATION}type")
    if observation_type is None:
        return None
    kind = _KINDS.get(observation_type.lower())
    facts = SpanFacts(kind=kind, dialect=NAME, label=span.name)
    facts.session_id = attributes.text("session.id", "langfuse.session.id")
    facts.user_id = attributes.text(*USER_IDS, "langfuse.user.id")
    facts.tags = attributes.tags("langfuse.trace.tags")
    facts.prompt_name = attributes.text(f"{_OBSERVATION}prompt.name")
    facts.prompt_version = attributes.text(f"{_OBSERVATION}prompt.version")
    recorded_input = attributes.parsed(f"{_OBSERVATION}input", "langfuse.trace.input")
    recorded_output = attributes.parsed(f"{_OBSERVATION}output", "langfuse.trace.output")
    if kind is StepKind.MODEL:
        facts.set_messages(conversation(recorded_input), conversation(recorded_output, "assistant"))
        facts.model = attributes.quoted(f"{_OBSERVATION}model.name")
        facts.label = facts.model or span.name
        facts.usage = attributes.usage_of(f"{_OBSERVATION}usage_details", f"{_OBSERVATION}usage")
    elif kind in (StepKind.AGENT, None):
        facts.name = span.name if kind is not None else None
        facts.input, facts.output = question_in(recorded_input), answer_in(recorded_output)
    else:
        facts.name = span.name if kind is StepKind.TOOL else None
        facts.input, facts.output = recorded_input, recorded_output
    failed = attributes.text(f"{_OBSERVATION}level") == "ERROR" or span.status_code == semconv.STATUS_ERROR
    facts.error = attributes.error(failed=failed, message=attributes.quoted(f"{_OBSERVATION}status_message"))
    facts.attributes = attributes.rest
    return facts
