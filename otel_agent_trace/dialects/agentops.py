"""Read spans of AgentOps 0.4.

Recognised by ``agentops.span.kind``. Inputs and outputs are in ``agentops.entity.*``, those of tools also in
``tool.*``.
"""

from __future__ import annotations

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.conversation import answer_in, question_in
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "agentops"
_KINDS = {"agent": StepKind.AGENT, "tool": StepKind.TOOL, "llm": StepKind.MODEL}


def read(span: SpanRecord) -> SpanFacts | None:
    """Read a span of AgentOps by ``agentops.span.kind``; return None where it has none."""
    attributes = Attributes(span)
    recorded_kind = attributes.text("agentops.span.kind")
    if recorded_kind is None:
        return None
    kind = _KINDS.get(recorded_kind.lower())
    name = attributes.text("agentops.entity.name", "operation.name")
    facts = SpanFacts(kind=kind, dialect=NAME, label=name or span.name)
    recorded_input, recorded_output = (
        attributes.parsed("agentops.entity.input"),
        attributes.parsed("agentops.entity.output"),
    )
    if kind is StepKind.TOOL:
        facts.name = attributes.text("tool.name") or name
        parameters, result = attributes.parsed("tool.parameters"), attributes.parsed("tool.result")
        facts.input = recorded_input if parameters is None else parameters
        facts.output = recorded_output if result is None else result
    elif kind in (StepKind.AGENT, None):
        facts.name = (attributes.text("agent.name", "agent_name") or name) if kind is not None else None
        facts.input, facts.output = question_in(recorded_input), answer_in(recorded_output)
    failed = attributes.text("tool.status") in ("error", "failed") or span.status_code == semconv.STATUS_ERROR
    facts.error = attributes.error(failed=failed or None, message=attributes.text("error.message"))
    facts.attributes = attributes.rest
    return facts
