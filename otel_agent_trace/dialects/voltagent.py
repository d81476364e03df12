"""Read spans of VoltAgent.

Recognised by ``entity.type`` beside ``entity.id``; all spans of an agent have those of the agent, and their own kind in
``span.type``. The span of a model call is around all steps of it, and around the tools in them.
"""

from __future__ import annotations

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, question_in
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "voltagent"
_KINDS = {
    "agent": StepKind.AGENT,
    "tool": StepKind.TOOL,
    "llm": StepKind.MODEL,
    "retriever": StepKind.RETRIEVAL,
    "embedding": StepKind.OTHER,
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span by ``entity.type`` and ``entity.id``; return None where it lacks one of them."""
    if "entity.type" not in span.attributes or "entity.id" not in span.attributes:
        return None
    attributes = Attributes(span)
    entity = attributes.text("entity.type")
    kind = _KINDS.get(attributes.text("span.type") or entity or "")
    agent = attributes.text("subagent.name", "entity.name", "subagent.id", "entity.id")
    facts = SpanFacts(kind=kind, dialect=NAME, is_frame=kind is None, label=attributes.text("span.label"))
    facts.agent_name = agent if entity == "agent" else None
    facts.session_id = attributes.text("conversation.id")
    facts.user_id = attributes.text(semconv.USER_ID)
    given, gave = attributes.parsed("input"), attributes.parsed("output")
    if kind is StepKind.AGENT:
        facts.name = agent
        facts.input, facts.output = question_in(given), answer_in(gave)
        facts.usage = attributes.usage(**_usage_under("usage"))
    elif kind is StepKind.MODEL:
        sent = attributes.parsed("llm.messages")
        facts.messages = () if sent is None else conversation(sent)
        facts.model = attributes.text("llm.model")
        facts.label = facts.model
        facts.usage = attributes.usage(**_usage_under("llm.usage"))
    else:
        facts.name, facts.call_id = attributes.text("tool.name"), attributes.text("tool.call.id")
        facts.input, facts.output = given, gave
    facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts


def _usage_under(prefix: str) -> dict[str, str]:
    return {
        "input_tokens": f"{prefix}.prompt_tokens",
        "output_tokens": f"{prefix}.completion_tokens",
        "cache_read_input_tokens": f"{prefix}.cached_tokens",
        "reasoning_output_tokens": f"{prefix}.reasoning_tokens",
        "total": f"{prefix}.total_tokens",
    }
