"""Describe the steps of a run as a tree: each under the step, or the sub-agent, that called it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.views.figures import plural
from otel_agent_trace.views.items import Item, RunItems
from otel_agent_trace.views.rows import Branch, Cell
from otel_agent_trace.views.steps import step_rows, step_title

SHOWN_STEPS = 200
"""Number of steps that are shown of a longer run."""
_DEEPEST = 10


def steps_tree(run: AgentRun, *, full: bool, most_steps: int = SHOWN_STEPS) -> Branch:
    """Return the steps as a tree below one root: all of them with `full`, else as many of the first as of the last."""
    root = Branch((Cell("steps" if run.steps else "no steps"),), (), [])
    items = RunItems(run)
    left_out = 0 if full else max(0, len(items) - 1 - most_steps)
    gap = range(1 + most_steps // 2, 1 + most_steps // 2 + left_out)
    nodes = {0: _Node(root, 0)}
    for item in items:
        if item.step is None:
            continue
        if item.number not in gap:
            parent = next(nodes[number] for number in _numbers_above(items, item) if number in nodes)
            nodes[item.number] = parent.add(_step_branch(item.step, items, full=full))
        elif item.number == gap.start:
            root.children.append(Branch((Cell(f"… {plural(left_out, 'step')} left out", "faint"),), (), [], left_out))
    return root


class _Node(NamedTuple):
    branch: Branch
    depth: int

    def add(self, child: Branch) -> _Node:
        """Add a child and return its node; below the deepest level, its own children are added beside it."""
        self.branch.children.append(child)
        return _Node(child, self.depth + 1) if self.depth < _DEEPEST else self


def _numbers_above(items: RunItems, item: Item) -> Iterator[int]:
    """Yield the numbers of the items around one, the nearest first."""
    while item.parent >= 0:
        yield item.parent
        item = items[item.parent]


def _step_branch(step: AgentStep, items: RunItems, *, full: bool) -> Branch:
    title = step_title(step, items.run.started_at_ns, items.names.of(step))
    return Branch(title, tuple(step_rows(step, full=full)), [])
