"""Langfuse: ``langfuse.observation.type``, input, output, model and usage of each observation as JSON."""

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
    """Read a span of Langfuse 3 to 5 by ``langfuse.observation.type``; None where it has none."""
    given = Attributes(span)
    said = given.text(f"{_OBSERVATION}type")
    if said is None:
        return None
    kind = _KINDS.get(said.lower())
    facts = SpanFacts(kind=kind, dialect=NAME, label=span.name)
    facts.session_id = given.text("session.id", "langfuse.session.id")
    facts.user_id = given.text(*USER_IDS, "langfuse.user.id")
    facts.tags = given.tags("langfuse.trace.tags")
    facts.prompt_name = given.text(f"{_OBSERVATION}prompt.name")
    facts.prompt_version = given.text(f"{_OBSERVATION}prompt.version")
    asked = given.parsed(f"{_OBSERVATION}input", "langfuse.trace.input")
    told = given.parsed(f"{_OBSERVATION}output", "langfuse.trace.output")
    if kind is StepKind.MODEL:
        facts.messages = conversation(asked) + conversation(told, "assistant")
        facts.model = given.quoted(f"{_OBSERVATION}model.name")
        facts.label = facts.model or span.name
        facts.usage = given.usage_of(f"{_OBSERVATION}usage_details", f"{_OBSERVATION}usage")
    elif kind in (StepKind.AGENT, None):
        facts.name = span.name if kind is not None else None
        facts.input, facts.output = question_in(asked), answer_in(told)
    else:
        facts.name = span.name if kind is StepKind.TOOL else None
        facts.input, facts.output = asked, told
    failed = given.text(f"{_OBSERVATION}level") == "ERROR" or span.status_code == semconv.STATUS_ERROR
    facts.error = given.error(failed=failed, message=given.quoted(f"{_OBSERVATION}status_message"))
    facts.attributes = given.rest
    return facts
