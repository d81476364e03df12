"""A run as a tree: each step under the step, or the sub-agent, that called it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console, Group
from rich.text import Text
from rich.tree import Tree

from otel_agent_trace.cli import styles
from otel_agent_trace.cli.figures import plural
from otel_agent_trace.cli.labelled import Rows, Wrapped
from otel_agent_trace.cli.run_text import ending_rows, fact_rows, question_rows, run_title
from otel_agent_trace.cli.step_text import step_rows, step_title
from otel_agent_trace.model import AgentRun, AgentStep

_SHOWN_STEPS = 200
_DEEPEST = 10
_LABEL_WIDTH = 8
_INDENT = 2


def print_run(run: AgentRun, console: Console, *, full: bool) -> None:
    """What is known of a run, its question, its steps, and how it ended."""
    console.print(run_title(run))
    for rows in (fact_rows(run, full=full), question_rows(run, full=full)):
        console.print(Rows(rows, indent=_INDENT, label_width=_LABEL_WIDTH))
        console.print()
    console.print(steps_tree(run, full=full))
    console.print()
    console.print(Rows(ending_rows(run, full=full), indent=_INDENT, label_width=_LABEL_WIDTH))


def steps_tree(run: AgentRun, *, full: bool) -> Tree:
    """The steps, all of them or the first and the last."""
    root = Tree(Text("steps" if run.steps else "no steps"), guide_style=styles.FAINT)
    placed = list(_walk(run))
    left_out = 0 if full else max(0, len(placed) - _SHOWN_STEPS)
    gap = range(_SHOWN_STEPS // 2, _SHOWN_STEPS // 2 + left_out)
    nodes: dict[_Place, _Node] = {}
    for position, (step, place, parents) in enumerate(placed):
        parent = next((nodes[place] for place in parents if place in nodes), _Node(root, 0))
        if position not in gap:
            nodes[place] = parent.add(_step_text(step, run, full=full))
        elif position == gap.start:
            root.add(Text(f"… {plural(left_out, 'step')} left out (--full shows them)", styles.FAINT))
    return root


class _Place(NamedTuple):
    """Where a step stands: in which run of the walk, under which id."""

    run: int
    step_id: int | str


class _Node(NamedTuple):
    tree: Tree
    depth: int

    def add(self, label: Group) -> _Node:
        """A child; so deep that it would find no room it is put beside its parent instead."""
        child = self.tree.add(label)
        return _Node(child, self.depth + 1) if self.depth < _DEEPEST else self


def _walk(run: AgentRun) -> Iterator[tuple[AgentStep, _Place, tuple[_Place, ...]]]:
    """Every step with its place and the places it may hang under, the nearest first."""
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


def _step_text(step: AgentStep, run: AgentRun, *, full: bool) -> Group:
    rows = list(step_rows(step, full=full))
    title = Wrapped(step_title(step, run.started_at_ns))
    return Group(title, Rows(rows, indent=_INDENT)) if rows else Group(title)
