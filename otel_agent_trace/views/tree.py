"""Describe the steps of a run as a tree: each under the step, or the sub-agent, that called it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.views.figures import plural
from otel_agent_trace.views.rows import Branch, Cell
from otel_agent_trace.views.steps import step_rows, step_title

_SHOWN_STEPS = 200
_DEEPEST = 10


def steps_tree(run: AgentRun, *, full: bool) -> Branch:
    """Return the steps as a tree below one root: all of them with `full`, else the first and last hundred."""
    root = Branch((Cell("steps" if run.steps else "no steps"),), (), [])
    placed = list(_walk(run))
    left_out = 0 if full else max(0, len(placed) - _SHOWN_STEPS)
    gap = range(_SHOWN_STEPS // 2, _SHOWN_STEPS // 2 + left_out)
    nodes: dict[_Place, _Node] = {}
    for position, (step, place, parents) in enumerate(placed):
        parent = next((nodes[place] for place in parents if place in nodes), _Node(root, 0))
        if position not in gap:
            nodes[place] = parent.add(_step_branch(step, run, full=full))
        elif position == gap.start:
            root.children.append(Branch((Cell(f"… {plural(left_out, 'step')} left out", "faint"),), (), [], left_out))
    return root


class _Place(NamedTuple):
    """Identify a step: by its id, and by the number of its run in the walk, since ids repeat from run to run."""

    run: int
    step_id: int | str


class _Node(NamedTuple):
    branch: Branch
    depth: int

    def add(self, child: Branch) -> _Node:
        """Add a child and return its node; below the deepest level, its own children are added beside it."""
        self.branch.children.append(child)
        return _Node(child, self.depth + 1) if self.depth < _DEEPEST else self


def _walk(run: AgentRun) -> Iterator[tuple[AgentStep, _Place, tuple[_Place, ...]]]:
    """Yield every step with its place and the places of its possible parents, the nearest first."""
    runs = 0
    pending: list[tuple[Iterator[AgentStep], int, tuple[_Place, ...]]] = [(iter(run.steps), 0, ())]
    while pending:
        steps, number, above = pending[-1]
        step = next(steps, None)
        if step is None:
            pending.pop()
            continue
        place = _Place(number, step.step_id)
        own = () if step.parent_step_id is None else (_Place(number, step.parent_step_id),)
        yield step, place, own + above
        if step.run is not None:
            runs += 1
            pending.append((iter(step.run.steps), runs, (place, *above)))


def _step_branch(step: AgentStep, run: AgentRun, *, full: bool) -> Branch:
    return Branch(step_title(step, run.started_at_ns), tuple(step_rows(step, full=full)), [])
