"""Read MLflow's own spans, version 3.

Recognised by ``mlflow.spanType``. Every attribute is JSON, texts included (``mlflow.spanInputs``,
``mlflow.spanOutputs``).
"""

from __future__ import annotations

from otel_agent_trace.dialects.parsing.attributes import USER_IDS, Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, conversation, question_in
from otel_agent_trace.dialects.parsing.names import without_method
from otel_agent_trace.dialects.parsing.payloads import model_in, parsed
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "mlflow"
_RUNNER = "AgentRunner"
"""Class of OpenAI Agents whose span is around those of the agents."""
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
    """Read a span of MLflow by ``mlflow.spanType``; return None where it has none."""
    attributes = Attributes(span)
    span_type = attributes.quoted("mlflow.spanType")
    if span_type is None:
        return None
    kind = _KINDS.get(span_type.upper())
    facts = SpanFacts(
        kind=kind, dialect=NAME, label=attributes.quoted("mlflow.spanFunctionName") or without_method(span.name)
    )
    facts.session_id = attributes.quoted("mlflow.trace.session", "session.id")
    metadata = attributes.parsed("metadata")
    if facts.session_id is None and isinstance(metadata, dict) and isinstance(metadata.get("thread_id"), str):
        facts.session_id = metadata["thread_id"]
    facts.user_id = attributes.quoted("mlflow.trace.user", *USER_IDS)
    recorded_input, recorded_output = attributes.parsed("mlflow.spanInputs"), attributes.parsed("mlflow.spanOutputs")
    if kind is StepKind.MODEL:
        facts.set_messages(conversation(recorded_input), conversation(recorded_output, "assistant"))
        facts.requested_model = model_in(recorded_input)
        if facts.requested_model is None:  # LangChain's models
            facts.requested_model = model_in(parsed(attributes.rest.get("invocation_params")))
        facts.model = attributes.quoted("mlflow.llm.model", "model") or facts.requested_model
        facts.usage = attributes.usage_of("mlflow.chat.tokenUsage")
        facts.label = facts.model
    elif kind in (StepKind.AGENT, None):
        facts.name = facts.label if kind is not None and facts.label != _RUNNER else None
        facts.input, facts.output = question_in(recorded_input), answer_in(recorded_output)
        facts.usage = attributes.usage_of("mlflow.chat.tokenUsage")
    else:
        facts.name = span.name.removeprefix("Tool.") if kind is StepKind.TOOL else None  # "Tool.NAME" in DSPy's traces
        facts.input, facts.output = recorded_input, recorded_output
    facts.error = attributes.error()
    facts.attributes = attributes.rest
    return facts
