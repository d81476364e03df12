"""MLflow's own spans: ``mlflow.spanType``, ``mlflow.spanInputs``; every value is JSON, texts too."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.dialects.parsing.attributes import USER_IDS, Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, question_in
from otel_agent_trace.dialects.parsing.names import without_method
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

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


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of MLflow 3 by ``mlflow.spanType``; None where it has none."""
    given = Attributes(span)
    said = given.quoted("mlflow.spanType")
    if said is None:
        return None
    kind = _KINDS.get(said.upper())
    facts = SpanFacts(
        kind=kind, dialect=NAME, label=given.quoted("mlflow.spanFunctionName") or without_method(span.name)
    )
    facts.session_id = given.quoted("mlflow.trace.session", "session.id")
    metadata = given.parsed("metadata")
    if facts.session_id is None and isinstance(metadata, dict) and isinstance(metadata.get("thread_id"), str):
        facts.session_id = metadata["thread_id"]
    facts.user_id = given.quoted("mlflow.trace.user", *USER_IDS)
    asked, told = given.parsed("mlflow.spanInputs"), given.parsed("mlflow.spanOutputs")
    if kind is StepKind.MODEL:
        facts.messages = conversation(asked) + conversation(told, "assistant")
        facts.model = given.quoted("mlflow.llm.model", "model") or _asked_model(asked)
        facts.usage = given.usage_of("mlflow.chat.tokenUsage")
        facts.label = facts.model or span.name
    elif kind in (StepKind.AGENT, None):
        facts.name = facts.label if kind is not None else None
        facts.input, facts.output = question_in(asked), answer_in(told)
        facts.usage = given.usage_of("mlflow.chat.tokenUsage")
    else:
        facts.name = span.name.removeprefix("Tool.") if kind is StepKind.TOOL else None
        facts.input, facts.output = asked, told
    facts.error = given.error()
    facts.attributes = given.rest
    return facts


def _asked_model(request: Any) -> str | None:
    model = request.get("model") if isinstance(request, dict) else None
    return model if isinstance(model, str) else None
