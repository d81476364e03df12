"""Find the tools and sub-agents that caused a model call: what it costs is theirs too."""

from __future__ import annotations

from collections.abc import Iterable

from otel_agent_trace.model import AgentRun, AgentStep, StepKind
from otel_agent_trace.runs.names import name_or_unknown


def tools_around(around: Iterable[AgentStep]) -> dict[str, AgentStep]:
    """Return the steps of tools by name: one of each, so that a tool that calls itself is charged once."""
    return {name_or_unknown(step.name): step for step in around if step.kind is StepKind.TOOL}


def agents_around(run: AgentRun, around: Iterable[AgentStep]) -> dict[str, AgentStep]:
    """Return the steps of sub-agents by the agent's name, one of each, without the agent of the outermost run."""
    found = {name_or_unknown(step.run.agent_name): step for step in around if step.run is not None}
    found.pop(name_or_unknown(run.agent_name), None)
    return found
