"""LangSmith's OpenTelemetry export: ``langsmith.span.kind``, inputs and outputs of everything in ``gen_ai.prompt``."""

from __future__ import annotations

from otel_agent_trace import semconv
from otel_agent_trace.foreign.attributes import Attributes
from otel_agent_trace.foreign.conversation import answer_in, conversation, question_in
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord

NAME = "langsmith"
_METADATA = "langsmith.metadata."
_KINDS = {
    "llm": StepKind.MODEL,
    "tool": StepKind.TOOL,
    "retriever": StepKind.RETRIEVAL,
    "embedding": StepKind.OTHER,
}


def read(span: SpanRecord) -> Meaning | None:
    """What the span means, or None where it speaks another language."""
    given = Attributes(span)
    said = given.text("langsmith.span.kind")
    if said is None:
        return None
    kind = _KINDS.get(said)
    name = given.text("langsmith.trace.name") or span.name
    agent = given.text(f"{_METADATA}lc_agent_name")
    if kind is None and said == "chain" and agent == name:
        kind = StepKind.AGENT
    meaning = Meaning(kind=kind, is_frame=kind is None, dialect=NAME, label=name, agent_name=agent)
    meaning.session_id = given.text(*(_METADATA + key for key in ("thread_id", "session_id", "conversation_id")))
    meaning.user_id = given.text(f"{_METADATA}user_id")
    asked, told = given.parsed("gen_ai.prompt"), given.parsed("gen_ai.completion")
    given.take(semconv.OPERATION_NAME)
    if kind is StepKind.MODEL:
        meaning.messages = conversation(asked) + conversation(told, "assistant")
        meaning.model = given.text(semconv.RESPONSE_MODEL, semconv.REQUEST_MODEL)
        meaning.label = meaning.model or name
    elif kind is StepKind.TOOL:
        meaning.name, meaning.input = given.text(semconv.TOOL_NAME) or name, asked
        meaning.output = told["output"] if isinstance(told, dict) and told.keys() == {"output"} else told
    elif kind in (StepKind.AGENT, None):
        meaning.name = name
        meaning.input, meaning.output = question_in(asked), answer_in(told)
    else:
        meaning.input, meaning.output = asked, told
    meaning.error = given.error()
    meaning.attributes = given.rest
    return meaning
