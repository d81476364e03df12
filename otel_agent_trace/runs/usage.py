"""Sum the tokens of a run and of all runs below it.

Usage is reported on several levels: on a model call, on a call that wraps it, on the run (for all its calls) and on the
runs around it. All sums are over the innermost calls, so that no token counts twice. A run's own figure is used only
where no call in it, or in the runs below it, has one.
"""

from __future__ import annotations

from otel_agent_trace.model import TOKEN_FIELDS, AgentRun, AgentStep, StepKind, Usage


def usage_of(run: AgentRun) -> Usage:
    """Return the tokens of a run and all runs below it; an empty `Usage` where none were reported."""
    return _usage_and_origin(run)[0]


def counting_calls(run: AgentRun) -> list[AgentStep]:
    """Return the model calls of this run alone that have tokens and wrap no other call that has some."""
    calls = [step for step in run.steps if step.kind is StepKind.MODEL and _has_counts(step.usage)]
    wrappers = _ancestors(calls, run.steps)
    return [step for step in calls if step.step_id not in wrappers]


def _usage_and_origin(run: AgentRun) -> tuple[Usage, bool]:
    """Return the tokens of a run, and whether any call in it or below it has some."""
    by_call = [step.usage for step in counting_calls(run) if step.usage is not None]
    below = [_usage_and_origin(step.run) for step in run.steps if step.run is not None]
    is_of_calls = bool(by_call) or any(any_below for _, any_below in below)
    if not is_of_calls and run.usage is not None and _has_counts(run.usage):
        return run.usage, False
    return sum((*by_call, *(usage for usage, _ in below)), Usage()), is_of_calls


def _has_counts(usage: Usage | None) -> bool:
    return usage is not None and any(getattr(usage, name) is not None for name in TOKEN_FIELDS)


def _ancestors(steps: list[AgentStep], run_steps: tuple[AgentStep, ...]) -> set[int | str]:
    parents = {step.step_id: step.parent_step_id for step in run_steps}
    found: set[int | str] = set()
    for step in steps:
        parent = step.parent_step_id
        while parent is not None and parent != step.step_id and parent not in found:
            found.add(parent)
            parent = parents.get(parent)
    return found
