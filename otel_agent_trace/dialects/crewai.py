"""Read the attributes of CrewAI beside those of OpenInference or OpenLLMetry.

Recognised by ``crew_key`` and ``task_key`` (OpenInference's instrumentation of CrewAI) and by ``crewai.*``
(OpenLLMetry's). A crew's question is in its inputs, or in the description of its tasks.
"""

from __future__ import annotations

from typing import Any

from otel_agent_trace import semconv
from otel_agent_trace.dialects.parsing.attributes import Attributes
from otel_agent_trace.dialects.parsing.payloads import parsed, sole_text
from otel_agent_trace.model import StepKind
from otel_agent_trace.span import SpanRecord
from otel_agent_trace.span_facts import SpanFacts

NAME = "crewai"
_KEYS = frozenset({"crew_key", "task_key", "crew_tasks"})


def read(span: SpanRecord) -> SpanFacts | None:
    """Read the crew and task attributes of CrewAI; return None where there are none."""
    attributes = Attributes(span)
    facts = SpanFacts(kind=None, dialect=NAME)
    if span.name.endswith(".llm") and semconv.REQUEST_MODEL in attributes.rest:  # OpenLLMetry's model calls of a crew
        facts.kind = StepKind.MODEL
        return facts
    if any(key.startswith("crewai.") for key in attributes.rest):
        _read_openllmetry(attributes, facts)
        return facts
    if _KEYS.isdisjoint(attributes.rest) and not span.name.startswith("Task._execute"):
        return None
    inputs, tasks = attributes.parsed("crew_inputs"), attributes.parsed("crew_tasks")
    if span.name.startswith("Task._execute") or "task_key" in attributes.rest:
        result = parsed(attributes.rest.get("output.value"))
        facts.input = _task_description(result)
        facts.name = _agent_of_task(result) or attributes.text("agent_role")
    elif inputs:
        facts.input = sole_text(inputs, answered=False)
    elif isinstance(tasks, list) and tasks:
        facts.input = _task_description(tasks[-1])
    facts.attributes = attributes.rest
    return facts


def _read_openllmetry(attributes: Attributes, facts: SpanFacts) -> None:
    """Read the ``crewai.*`` attributes that OpenLLMetry writes for crews, tasks and agents."""
    facts.name = attributes.text("crewai.agent.role", "crewai.task.agent")
    agents = attributes.parsed("crewai.crew.agents")
    if facts.name is None and isinstance(agents, list) and len(agents) == 1 and isinstance(agents[0], dict):
        facts.name = None if agents[0].get("role") is None else str(agents[0]["role"])
    tasks = attributes.parsed("crewai.crew.tasks")
    facts.input = (
        _task_description(tasks[-1])
        if isinstance(tasks, list) and tasks
        else attributes.take("crewai.task.description")
    )
    facts.output = attributes.take("crewai.crew.result")
    facts.attributes = attributes.rest


def _agent_of_task(result: Any) -> str | None:
    """Return the role of the agent that a task was done by, as its result has it."""
    role = result.get("agent") if isinstance(result, dict) else None
    return role if isinstance(role, str) and role else None


def _task_description(task: Any) -> Any:
    return task.get("description") if isinstance(task, dict) else None
