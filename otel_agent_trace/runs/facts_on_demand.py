"""Explain a run, and each step of it, when it is asked for: to explain a long run as a whole takes minutes."""

from __future__ import annotations

from collections.abc import Iterable

from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.runs.assemble import Assembled, by_trace
from otel_agent_trace.runs.explain import Explainer, Fact, pairs_of, placed, with_probability
from otel_agent_trace.runs.node import Node
from otel_agent_trace.runs.stitch import assembled
from otel_agent_trace.span import SpanRecord

_MOST_SUMMED = 4


class FactsOnDemand:
    """Find where the facts of a run, and of each of its steps, were read, as `explain` does.

    Of a fact that is the sum of many calls, only the first ones are named.

    Args:
        found: an outermost run with its spans.

    Attributes:
        run: the outermost run.
    """

    def __init__(self, found: Assembled) -> None:
        self.run = found.run
        self._records, _, nodes = placed(found)
        self._explainer = Explainer(_MOST_SUMMED)
        self._runs: dict[int, tuple[list[Node], list[tuple[AgentStep, Node]]]] = {}
        self._nodes: dict[int, Node] = {}
        pending = [(found.run, nodes)]
        while pending:
            run, nodes = pending.pop()
            pairs = pairs_of(run, nodes)
            self._runs[id(run)] = nodes, pairs
            self._nodes.update((id(step), node) for step, node in pairs)
            pending += [(step.run, [node]) for step, node in pairs if step.run is not None]

    def of(self, subject: AgentRun | AgentStep) -> tuple[Fact, ...]:
        """Return the facts of the run, or of a step of it or of a sub-agent; those of its run are facts of a sub-agent.

        Raises:
            KeyError: it is none of them.
        """
        if isinstance(subject, AgentStep):
            inner = () if subject.run is None else self.of(subject.run)
            return (*self._explainer.facts_of_step(subject, self._nodes[id(subject)]), *inner)
        nodes, pairs = self._runs[id(subject)]
        facts = self._explainer.facts_of_run(subject, nodes, pairs)
        return with_probability(facts, subject, nodes, self._records) if subject is self.run else facts


def facts_on_demand(spans: Iterable[SpanRecord], run_id: str) -> tuple[AgentRun, FactsOnDemand] | None:
    """Return the run of an id in some spans, which may be that of a sub-agent, and what finds its facts; None if there is none."""
    for found in assembled(by_trace(spans).values()):
        run = next((part for part in found.run.walk() if part.run_id == run_id), None)
        if run is not None:
            return run, FactsOnDemand(found)
    return None
