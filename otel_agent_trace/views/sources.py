"""Find for each item of a run where its facts were read from."""

from __future__ import annotations

from otel_agent_trace.model import AgentRun
from otel_agent_trace.runs.facts_on_demand import FactsOnDemand
from otel_agent_trace.views.explanation import FactRow, rows_of_facts
from otel_agent_trace.views.items import Item, RunItems


class Sources:
    """Hold where the facts of each item of a run were read.

    Args:
        items: the items of the run.
        explained: the run as it was read for its facts; it may have gone on since, or not yet.
        facts: finds the facts of that.
    """

    def __init__(self, items: RunItems, explained: AgentRun, facts: FactsOnDemand) -> None:
        self._items, self._explained, self._facts = items, RunItems(explained), facts

    def of(self, number: int) -> list[FactRow]:
        """Return rows for the facts of an item; none if it is not among those that were read for their facts."""
        if number >= len(self._explained) or _identity(self._explained[number]) != _identity(self._items[number]):
            return []
        return [*rows_of_facts(self._facts.of(self._explained[number].subject))]


def _identity(item: Item) -> tuple[object, ...]:
    step = item.step
    return (item.part.run_id,) if step is None else (item.depth, step.span_id, step.step_id, step.kind, step.name)
