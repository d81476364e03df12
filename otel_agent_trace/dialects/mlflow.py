"""MLflow's own spans: ``mlflow.spanType``, ``mlflow.spanInputs``; every value is JSON, texts too."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.foreign.attributes import USER_IDS, Attributes
from otel_agent_trace.foreign.conversation import answer_in, conversation, question_in
from otel_agent_trace.foreign.names import without_method
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord

NAME = "mlflow"
_KINDS = {
    "AGENT": StepKind.AGENT,
    "TOOL": StepKind.TOOL,
    "LLM": StepKind.MODEL,
    "CHAT_MODEL": StepKind.MODEL,
    "RETRIEVER": StepKind.RETRIEVAL,
    "EMBEDDING": StepKind.OTHER,
    "RERANKER": StepKind.OTHER,
}


def read(span: SpanRecord) -> Meaning | None:
    """What the span means, or None where it speaks another language."""
    given = Attributes(span)
    said = given.quoted("mlflow.spanType")
    if said is None:
        return None
    kind = _KINDS.get(said.upper())
    meaning = Meaning(
        kind=kind, dialect=NAME, label=given.quoted("mlflow.spanFunctionName") or without_method(span.name)
    )
    meaning.session_id = given.quoted("mlflow.trace.session", "session.id")
    metadata = given.parsed("metadata")
    if meaning.session_id is None and isinstance(metadata, dict) and isinstance(metadata.get("thread_id"), str):
        meaning.session_id = metadata["thread_id"]
    meaning.user_id = given.quoted("mlflow.trace.user", *USER_IDS)
    asked, told = given.parsed("mlflow.spanInputs"), given.parsed("mlflow.spanOutputs")
    if kind is StepKind.MODEL:
        meaning.messages = conversation(asked) + conversation(told, "assistant")
        meaning.model = given.quoted("mlflow.llm.model", "model") or _asked_model(asked)
        meaning.usage = given.usage_of("mlflow.chat.tokenUsage")
        meaning.label = meaning.model or span.name
    elif kind in (StepKind.AGENT, None):
        meaning.name = meaning.label if kind is not None else None
        meaning.input, meaning.output = question_in(asked), answer_in(told)
        meaning.usage = given.usage_of("mlflow.chat.tokenUsage")
    else:
        meaning.name = span.name.removeprefix("Tool.") if kind is StepKind.TOOL else None
        meaning.input, meaning.output = asked, told
    meaning.error = given.error()
    meaning.attributes = given.rest
    return meaning


def _asked_model(request: Any) -> str | None:
    model = request.get("model") if isinstance(request, dict) else None
    return model if isinstance(model, str) else None
