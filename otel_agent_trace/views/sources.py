"""Find for each item of a run where its facts were read from."""

from __future__ import annotations

from collections.abc import Iterator

from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.runs.explain import Fact, RunExplanation
from otel_agent_trace.views.explanation import FactRow, left_out_lines, rows_of_facts, unread_lines
from otel_agent_trace.views.items import Item, RunItems
from otel_agent_trace.views.rows import Line

_NOT_UNDERSTOOD, _LEFT_OUT = "not understood", "not in the run"


class Sources:
    """Hold where the facts of each item of a run were read.

    Args:
        items: the items of the run.
        explanation: the facts of the run; it may have gone on since, and then has items that are not explained.
    """

    def __init__(self, items: RunItems, explanation: RunExplanation) -> None:
        self._items, self._explanation = items, explanation
        self._explained = RunItems(explanation.run)
        self._facts = {id(subject): facts for subject, facts in _facts_by_subject(explanation)}

    def of(self, number: int) -> list[FactRow]:
        """Return rows for the facts of an item; for the run itself also what is in its spans, but not in the run."""
        if number >= len(self._explained):
            return []
        explained = self._explained[number]
        if _identity(explained) != _identity(self._items[number]):
            return []
        rows = [*rows_of_facts(self._facts.get(id(explained.subject), ()))]
        if number == 0:
            rows += (_row(_NOT_UNDERSTOOD, line) for line in unread_lines(self._explanation.unread))
            rows += (_row(_LEFT_OUT, line) for line in left_out_lines(self._explanation.left_out))
        return rows


def _facts_by_subject(explanation: RunExplanation) -> Iterator[tuple[AgentRun | AgentStep, tuple[Fact, ...]]]:
    """Yield the run and each step, those of sub-agents included, with their facts."""
    yield explanation.run, explanation.facts
    pending = [explanation]
    while pending:
        for step in pending.pop().steps:
            if step.run is None:
                yield step.step, step.facts
            else:
                yield step.step, (*step.facts, *step.run.facts)
                pending.append(step.run)


def _identity(item: Item) -> tuple[object, ...]:
    step = item.step
    return (item.part.run_id,) if step is None else (item.depth, step.span_id, step.step_id, step.kind, step.name)


def _row(fact: str, line: Line) -> FactRow:
    span, text = line
    return FactRow(fact, place=text.text.strip(), span=span.text)
