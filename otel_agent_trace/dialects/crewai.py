"""CrewAI's own attributes beside OpenInference's: what a crew was asked stands in its inputs, or in its tasks."""

from __future__ import annotations

from typing import Any

from otel_agent_trace.foreign.attributes import Attributes
from otel_agent_trace.foreign.payloads import parsed, sole_text
from otel_agent_trace.meaning import Meaning
from otel_agent_trace.span import SpanRecord

NAME = "crewai"


def read(span: SpanRecord) -> Meaning | None:
    """What crew and task attributes tell, or None where there are none."""
    given = Attributes(span)
    if "crew_key" not in given.rest and "task_key" not in given.rest:
        return None
    meaning = Meaning(kind=None, dialect=NAME)
    inputs, tasks = given.parsed("crew_inputs"), given.parsed("crew_tasks")
    if "task_key" in given.rest:
        meaning.input = _description(parsed(given.rest.get("output.value")))
    elif inputs:
        meaning.input = sole_text(inputs, answered=False)
    elif isinstance(tasks, list) and tasks:
        meaning.input = _description(tasks[-1])
    meaning.attributes = given.rest
    return meaning


def _description(task: Any) -> Any:
    return task.get("description") if isinstance(task, dict) else None
