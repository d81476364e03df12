"""Number the steps of a run, those of its sub-agents included, in the order in which a tree shows them."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from otel_agent_trace.model import AgentRun, AgentStep, Message, StepError
from otel_agent_trace.runs.conduct import error_of
from otel_agent_trace.runs.step_names import StepNames


class Item(NamedTuple):
    """Hold a line of a run's tree: the run itself, or a step of it or of a sub-agent.

    `number` is its place in the tree, `parent` that of the item which it is below, -1 for the run itself; `part` is the
    run that has the step, and `step` is None for the run itself.
    """

    number: int
    depth: int
    parent: int
    part: AgentRun
    step: AgentStep | None

    @property
    def run(self) -> AgentRun | None:
        """Return the run itself, or that of a sub-agent; None for other steps."""
        return self.part if self.step is None else self.step.run

    @property
    def subject(self) -> AgentRun | AgentStep:
        """Return the run itself, or the step."""
        return self.part if self.step is None else self.step

    @property
    def error(self) -> StepError | None:
        """Return the error of the run or of the step, of which none counts if it was abandoned or paused."""
        return self.part.error if self.step is None else error_of(self.step)


def messages_of(item: Item) -> tuple[Message, ...]:
    """Return the messages of an item; a run itself has none."""
    return () if item.step is None else item.step.messages


class RunItems(Sequence[Item]):
    """Hold the items of a run by number: the run itself is 0, each step stands before those below it.

    Below a step are the steps that name it as their parent, and the steps of its own run.
    """

    def __init__(self, run: AgentRun) -> None:
        self.run = run
        self._items = [Item(0, 0, -1, run, None)]
        pending = [*_children(0, 1, run, _steps_by_parent(run), None)]
        while pending:
            parent, depth, part, place, below = pending.pop()
            step = part.steps[place]
            number = len(self._items)
            self._items.append(Item(number, depth, parent, part, step))
            if step.run is not None:
                pending += _children(number, depth + 1, step.run, _steps_by_parent(step.run), None)
            if place in below:
                pending += _children(number, depth + 1, part, below, place)
        self._ends = self._found_ends()

    @classmethod
    def of(cls, run: AgentRun | RunItems) -> RunItems:
        """Return the items of a run, or those that are given."""
        return run if isinstance(run, RunItems) else cls(run)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, number: int) -> Item:  # type: ignore[override]
        return self._items[number]

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def end(self, number: int) -> int:
        """Return the number after that of the last item below one."""
        return self._ends[number]

    def below(self, number: int) -> Iterator[Item]:
        """Yield the items directly below one, in order."""
        child, end = number + 1, self._ends[number]
        while child < end:
            yield self._items[child]
            child = self._ends[child]

    def path_to(self, number: int) -> list[Item]:
        """Return the items around one, the outermost first, and the item itself."""
        path = [self._items[number]]
        while path[-1].parent >= 0:
            path.append(self._items[path[-1].parent])
        return path[::-1]

    @functools.cached_property
    def names(self) -> StepNames:
        """Return the names of the steps, by which texts show them and `number_of` finds them."""
        return StepNames(self.run)

    def number_of(self, name: str) -> int | None:
        """Return the number of an item by its name, the id of its span, or else its number; None without such a one."""
        found = self.names.find(name)
        subject = None if found is None else found[1]
        for item in self:
            if item.subject is subject or (found is None and item.subject.span_id == name):
                return item.number
        is_number = name.isascii() and name.isdecimal() and len(name) < len(str(2**31))
        return int(name) if is_number and int(name) < len(self) else None

    def _found_ends(self) -> list[int]:
        ends = list(range(1, len(self._items) + 1))
        for item in reversed(self._items):
            if item.parent >= 0:
                ends[item.parent] = max(ends[item.parent], ends[item.number])
        return ends


_Below = dict[int | None, list[int]]
"""Places of steps in their run, by that of the step which they are below; None for the outermost."""


def _children(
    number: int, depth: int, part: AgentRun, below: _Below, place: int | None
) -> Iterator[tuple[int, int, AgentRun, int, _Below]]:
    """Yield what is known of the items below one, the last first."""
    return ((number, depth, part, child, below) for child in reversed(below.get(place, ())))


def _steps_by_parent(run: AgentRun) -> _Below:
    """Return the places of the steps of a run; only an earlier step counts as a parent, so that there is no cycle."""
    below: _Below = defaultdict(list)
    places: dict[int | str, int] = {}
    for place, step in enumerate(run.steps):
        parent = None if step.parent_step_id is None else places.get(step.parent_step_id)
        below[parent].append(place)
        places[step.step_id] = place
    return dict(below)
