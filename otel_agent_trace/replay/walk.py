"""Walk through the steps of a run in the order in which they happened, those of sub-agents included."""

from __future__ import annotations

from collections.abc import Iterator

from otel_agent_trace.model import AgentRun, AgentStep


def walk_run(run: AgentRun) -> Iterator[tuple[int, AgentStep]]:
    """Yield every step with its depth, from 0; a sub-agent's steps follow the step that called it.

    A step is one deeper than the step it is part of (`AgentStep.parent_step_id`), if that came before it, and a
    sub-agent's step one deeper than the step that called the sub-agent.
    """
    pending = [_steps_with_depth(run, 0)]
    while pending:
        depth_and_step = next(pending[-1], None)
        if depth_and_step is None:
            pending.pop()
            continue
        yield depth_and_step
        depth, step = depth_and_step
        if step.run is not None:
            pending.append(_steps_with_depth(step.run, depth + 1))


def _steps_with_depth(run: AgentRun, base: int) -> Iterator[tuple[int, AgentStep]]:
    depths: dict[int | str | None, int] = {None: base - 1}
    for step in run.steps:
        depth = depths.get(step.parent_step_id, base - 1) + 1
        depths[step.step_id] = depth
        yield depth, step
