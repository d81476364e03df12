"""LangSmith's OpenTelemetry export: ``langsmith.span.kind``, inputs and outputs of everything in ``gen_ai.prompt``."""

from __future__ import annotations

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, question_in
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "langsmith"
_METADATA = "langsmith.metadata."
_AUTOMATIC = ("seq:step:", "graph:step:", "map:key:", "condition:", "branch:", "langsmith:")
"""How tags begin that LangChain and LangGraph give the parts of a chain or a graph."""
_KINDS = {
    "llm": StepKind.MODEL,
    "tool": StepKind.TOOL,
    "retriever": StepKind.RETRIEVAL,
    "embedding": StepKind.OTHER,
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of LangSmith's OpenTelemetry export by ``langsmith.span.kind``; None where it has none."""
    given = Attributes(span)
    said = given.text("langsmith.span.kind")
    if said is None:
        return None
    kind = _KINDS.get(said)
    name = given.text("langsmith.trace.name") or span.name
    agent = given.text(f"{_METADATA}lc_agent_name")
    if kind is None and said == "chain" and agent == name:
        kind = StepKind.AGENT
    facts = SpanFacts(kind=kind, is_frame=kind is None, dialect=NAME, label=name, agent_name=agent)
    facts.session_id = given.text(*(_METADATA + key for key in ("thread_id", "session_id", "conversation_id")))
    facts.user_id = given.text(f"{_METADATA}user_id")
    facts.tags = tuple(tag for tag in given.tags("langsmith.span.tags") if not tag.startswith(_AUTOMATIC))
    asked, told = given.parsed("gen_ai.prompt"), given.parsed("gen_ai.completion")
    given.take(semconv.OPERATION_NAME)
    if kind is StepKind.MODEL:
        facts.messages = conversation(asked) + conversation(told, "assistant")
        facts.model = given.text(semconv.RESPONSE_MODEL, semconv.REQUEST_MODEL)
        facts.label = facts.model or name
    elif kind is StepKind.TOOL:
        facts.name, facts.input = given.text(semconv.TOOL_NAME) or name, asked
        facts.output = told["output"] if isinstance(told, dict) and told.keys() == {"output"} else told
    elif kind in (StepKind.AGENT, None):
        facts.name = name
        facts.input, facts.output = question_in(asked), answer_in(told)
    else:
        facts.input, facts.output = asked, told
    facts.error = given.error()
    facts.attributes = given.rest
    return facts
