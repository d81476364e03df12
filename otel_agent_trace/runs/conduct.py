"""Find out what is known of all calls of an outermost run together: loops, retries, and whether a tool failed."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from otel_agent_trace.model import AgentRun, AgentStep, StepError, StepKind
from otel_agent_trace.runs.names import model_name, name_or_unknown
from otel_agent_trace.runs.repeats import has_loop, retries_among


class Conduct(NamedTuple):
    """Hold what is known of all calls of an outermost run together.

    Attributes:
        loops: a call of each tool that was called again and again with the same input, by its name.
        retries: the calls that are retries by kind and name of what was called, where there are any.
        has_tool_errors: whether a call of a tool failed.
    """

    loops: Mapping[str, AgentStep]
    retries: Mapping[tuple[StepKind, str], list[AgentStep]]
    has_tool_errors: bool

    @property
    def retry_count(self) -> int:
        """Return the number of calls that are retries."""
        return sum(map(len, self.retries.values()))


def conduct_of(run: AgentRun) -> Conduct:
    """Return what is known of the calls of a run and of all runs below it together."""
    tools, models = defaultdict[str, list[AgentStep]](list), defaultdict[str, list[AgentStep]](list)
    for part in run.walk():
        for step in part.steps:
            if step.kind is StepKind.TOOL:
                tools[name_or_unknown(step.name)].append(step)
            elif step.kind is StepKind.MODEL:
                models[model_name(step)].append(step)
    by_kind = ((StepKind.TOOL, tools), (StepKind.MODEL, models))
    return Conduct(
        loops={name: calls[0] for name, calls in tools.items() if has_loop(calls)},
        retries={
            (kind, name): retries
            for kind, by_name in by_kind
            for name, calls in by_name.items()
            if (retries := retries_among(calls, has_failed))
        },
        has_tool_errors=any(map(has_failed, itertools.chain.from_iterable(tools.values()))),
    )


def error_of(step: AgentStep) -> StepError | None:
    """Return the error of a step: none if it was abandoned or paused; a sub-agent's if the step has none."""
    if step.abandoned or is_paused(step):
        return None
    return step.run.error if step.error is None and step.run is not None else step.error


def has_failed(step: AgentStep) -> bool:
    """Return whether a step has an error that counts."""
    return (step.error is not None or step.run is not None) and error_of(step) is not None


def is_paused(step: AgentStep) -> bool:
    """Return whether a step waits for an answer."""
    return step.error is None and step.interrupted_for is not None
