"""Read spans of LangSmith's OpenTelemetry export (LangChain and LangGraph traced by LangSmith).

Recognised by ``langsmith.span.kind``. Inputs and outputs of every kind of span are JSON in ``gen_ai.prompt`` and
``gen_ai.completion``.
"""

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
"""Beginnings of the tags that LangChain and LangGraph give the parts of a chain or a graph by themselves."""
_KINDS = {
    "llm": StepKind.MODEL,
    "tool": StepKind.TOOL,
    "retriever": StepKind.RETRIEVAL,
    "embedding": StepKind.OTHER,
}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of LangSmith by ``langsmith.span.kind``; return None where it has none."""
    attributes = Attributes(span)
    recorded_kind = attributes.text("langsmith.span.kind")
    if recorded_kind is None:
        return None
    kind = _KINDS.get(recorded_kind)
    name = attributes.text("langsmith.trace.name") or span.name
    agent = attributes.text(f"{_METADATA}lc_agent_name")
    if kind is None and recorded_kind == "chain" and agent == name:  # LangChain's create_agent, and graphs named by it
        kind = StepKind.AGENT
    facts = SpanFacts(kind=kind, is_frame=kind is None, dialect=NAME, label=name, agent_name=agent)
    facts.session_id = attributes.text(*(_METADATA + key for key in ("thread_id", "session_id", "conversation_id")))
    facts.user_id = attributes.text(f"{_METADATA}user_id")
    facts.tags = tuple(tag for tag in attributes.tags("langsmith.span.tags") if not tag.startswith(_AUTOMATIC))
    recorded_input, recorded_output = attributes.parsed("gen_ai.prompt"), attributes.parsed("gen_ai.completion")
    attributes.take(semconv.OPERATION_NAME)
    if kind is StepKind.MODEL:
        facts.set_messages(conversation(recorded_input), conversation(recorded_output, "assistant"))
        facts.requested_model = attributes.text(semconv.REQUEST_MODEL)
        facts.model = attributes.text(semconv.RESPONSE_MODEL) or facts.requested_model
        facts.label = facts.model or name
    elif kind is StepKind.TOOL:
        facts.name, facts.input = attributes.text(semconv.TOOL_NAME) or name, recorded_input
        facts.output = (
            recorded_output["output"]
            if isinstance(recorded_output, dict) and recorded_output.keys() == {"output"}
            else recorded_output
        )
    elif kind in (StepKind.AGENT, None):
        facts.name = name
        facts.input, facts.output = question_in(recorded_input), answer_in(recorded_output)
    else:
        facts.input, facts.output = recorded_input, recorded_output
    facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts
