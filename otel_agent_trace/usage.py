"""Sum the tokens of a run and of all runs below it.

Usage is reported on several levels: on a model call, on a call that wraps it, on the run (for all its calls) and on the
runs around it. All sums are over the innermost calls, so that no token counts twice. A run's own figure is used only
where no call in it, or in the runs below it, has one.
"""

from __future__ import annotations

from typing import NamedTuple

from otel_agent_trace.model import TOKEN_FIELDS, AgentRun, AgentStep, StepKind, Usage


class CountedPart(NamedTuple):
    """Hold what tokens are counted from: a model call, or a run that reports its tokens only as a whole.

    `around` are the steps around it, also those of the runs around its run, in no particular order.
    """

    part: AgentStep | AgentRun
    around: tuple[AgentStep, ...] = ()


def usage_of(run: AgentRun) -> Usage:
    """Return the tokens of a run and all runs below it; an empty `Usage` where none were reported."""
    return sum_of(counted_parts(run), run)


def sum_of(parts: list[CountedPart], run: AgentRun) -> Usage:
    """Return the tokens of the parts of a run; where that is the run itself, with their details."""
    usages = [counted.part.usage for counted in parts if counted.part.usage is not None]
    is_whole = len(parts) == 1 and parts[0].part is run
    return usages[0] if is_whole else sum(usages, Usage())


def counting_calls(run: AgentRun) -> list[AgentStep]:
    """Return the model calls of this run alone that have tokens and wrap no other call that has some."""
    calls = [step for step in run.steps if step.kind is StepKind.MODEL and has_counts(step.usage)]
    wrappers = _ancestors(calls, run.steps)
    return [step for step in calls if step.step_id not in wrappers]


def counted_parts(run: AgentRun, around: tuple[AgentStep, ...] = ()) -> list[CountedPart]:
    """Return what the tokens of a run and of all runs below it are counted from, each part once.

    Args:
        run: the run.
        around: the steps around it, which the parts have too.
    """
    by_id = {step.step_id: step for step in run.steps}
    found = [CountedPart(step, (*around, *_around(step, by_id))) for step in counting_calls(run)]
    for step in run.steps:
        if step.run is not None:
            found += counted_parts(step.run, (*around, *_around(step, by_id), step))
    if has_counts(run.usage) and not any(isinstance(counted.part, AgentStep) for counted in found):
        return [CountedPart(run, around)]
    return found


def has_counts(usage: Usage | None) -> bool:
    """Return whether tokens were reported."""
    return usage is not None and any(getattr(usage, name) is not None for name in TOKEN_FIELDS)


def _around(step: AgentStep, by_id: dict[int | str, AgentStep]) -> list[AgentStep]:
    """Return the steps around a step in its run."""
    found: dict[int | str, AgentStep] = {}
    parent = step.parent_step_id
    while parent is not None and parent not in found and parent in by_id:
        found[parent] = by_id[parent]
        parent = by_id[parent].parent_step_id
    return [*found.values()]


def _ancestors(steps: list[AgentStep], run_steps: tuple[AgentStep, ...]) -> set[int | str]:
    parents = {step.step_id: step.parent_step_id for step in run_steps}
    found: set[int | str] = set()
    for step in steps:
        parent = step.parent_step_id
        while parent is not None and parent != step.step_id and parent not in found:
            found.add(parent)
            parent = parents.get(parent)
    return found
