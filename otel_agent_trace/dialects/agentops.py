"""AgentOps: ``agentops.span.kind`` and ``agentops.entity...``; tools in ``tool...``."""

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
    """Read a span of AgentOps 0.4 by ``agentops.span.kind``; None where it has none."""
    given = Attributes(span)
    said = given.text("agentops.span.kind")
    if said is None:
        return None
    kind = _KINDS.get(said.lower())
    name = given.text("agentops.entity.name", "operation.name")
    facts = SpanFacts(kind=kind, dialect=NAME, label=name or span.name)
    asked, told = given.take("agentops.entity.input"), given.take("agentops.entity.output")
    if kind is StepKind.TOOL:
        facts.name = given.text("tool.name") or name
        given_input, result = given.take("tool.parameters"), given.take("tool.result")
        facts.input = asked if given_input is None else given_input
        facts.output = told if result is None else result
    elif kind in (StepKind.AGENT, None):
        facts.name = (given.text("agent.name", "agent_name") or name) if kind is not None else None
        facts.input, facts.output = question_in(asked), answer_in(told)
    failed = given.text("tool.status") in ("error", "failed") or span.status_code == semconv.STATUS_ERROR
    facts.error = given.error(failed=failed or None, message=given.text("error.message"))
    facts.attributes = given.rest
    return facts
