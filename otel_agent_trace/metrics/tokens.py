"""Which tokens count: those of the innermost model calls, and none twice.

Usage is told on several levels: by a model call, by a call that wraps it, by the run (for all its calls) and by the
runs around it. The innermost calls are what everything else sums up. A run's own figure stands in only where no call in
it, or in the runs below it, says anything.
"""

from __future__ import annotations

from otel_agent_trace.model import TOKEN_FIELDS, AgentRun, AgentStep, StepKind, Usage


def used_tokens(run: AgentRun) -> Usage:
    """The tokens of a run and all runs below it."""
    return _used(run)[0]


def counting_calls(run: AgentRun) -> list[AgentStep]:
    """The model calls of this very run that say their tokens and wrap no other that does."""
    calls = [step for step in run.steps if step.kind is StepKind.MODEL and _tells(step.usage)]
    wrappers = _ancestors(calls, run.steps)
    return [step for step in calls if step.step_id not in wrappers]


def _used(run: AgentRun) -> tuple[Usage, bool]:
    """The tokens of a run, and whether any call in it or below it told some."""
    told = [step.usage for step in counting_calls(run) if step.usage is not None]
    below = [_used(step.run) for step in run.steps if step.run is not None]
    by_calls = bool(told) or any(call_told for _, call_told in below)
    if not by_calls and run.usage is not None and _tells(run.usage):
        return run.usage, False
    return sum((*told, *(usage for usage, _ in below)), Usage()), by_calls


def _tells(usage: Usage | None) -> bool:
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
