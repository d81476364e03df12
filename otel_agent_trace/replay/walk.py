"""A run in the order in which it happened, the steps of sub-agents among its own."""

from __future__ import annotations

from collections.abc import Iterator

from otel_agent_trace.model import AgentRun, AgentStep


def walk_run(run: AgentRun) -> Iterator[tuple[int, AgentStep]]:
    """Every step with its depth: a sub-agent's steps follow the step that called it.

    A step is one deeper than the step it is part of (`AgentStep.parent_step_id`), if that came before it, and a
    sub-agent's step one deeper than the step that called the sub-agent.
    """
    pending = [_in_order(run, 0)]
    while pending:
        placed = next(pending[-1], None)
        if placed is None:
            pending.pop()
            continue
        yield placed
        depth, step = placed
        if step.run is not None:
            pending.append(_in_order(step.run, depth + 1))


def _in_order(run: AgentRun, base: int) -> Iterator[tuple[int, AgentStep]]:
    depths: dict[int | str | None, int] = {None: base - 1}
    for step in run.steps:
        depth = depths.get(step.parent_step_id, base - 1) + 1
        depths[step.step_id] = depth
        yield depth, step
