"""CrewAI's own attributes beside OpenInference's: what a crew was asked stands in its inputs, or in its tasks."""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.payloads import parsed, sole_text
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "crewai"


def read(span: SpanRecord) -> SpanFacts | None:
    """Read what crew and task attributes of CrewAI tell beside OpenInference or OpenLLMetry; None where there are none."""
    given = Attributes(span)
    facts = SpanFacts(kind=None, dialect=NAME)
    if span.name.endswith(".llm") and semconv.REQUEST_MODEL in given.rest:
        facts.kind = StepKind.MODEL
        return facts
    if any(key.startswith("crewai.") for key in given.rest):
        _traceloop(given, facts)
        return facts
    if "crew_key" not in given.rest and "task_key" not in given.rest:
        return None
    inputs, tasks = given.parsed("crew_inputs"), given.parsed("crew_tasks")
    if "task_key" in given.rest:
        facts.input = _description(parsed(given.rest.get("output.value")))
    elif inputs:
        facts.input = sole_text(inputs, answered=False)
    elif isinstance(tasks, list) and tasks:
        facts.input = _description(tasks[-1])
    facts.attributes = given.rest
    return facts


def _traceloop(given: Attributes, facts: SpanFacts) -> None:
    """The attributes of OpenLLMetry's spans of crews."""
    facts.name = given.text("crewai.agent.role", "crewai.task.agent")
    agents = given.parsed("crewai.crew.agents")
    if facts.name is None and isinstance(agents, list) and len(agents) == 1 and isinstance(agents[0], dict):
        facts.name = None if agents[0].get("role") is None else str(agents[0]["role"])
    tasks = given.parsed("crewai.crew.tasks")
    facts.input = (
        _description(tasks[-1]) if isinstance(tasks, list) and tasks else given.take("crewai.task.description")
    )
    facts.output = given.take("crewai.crew.result")
    facts.attributes = given.rest


def _description(task: Any) -> Any:
    return task.get("description") if isinstance(task, dict) else None
