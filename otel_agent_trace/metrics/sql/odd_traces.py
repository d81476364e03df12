"""Read the traces that SQL leaves to the readers, and find out whether others have to be read with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Protocol

from otel_agent_trace.metrics.strata import Strata
from otel_agent_trace.query import RunQuery
from otel_agent_trace.runs.assemble import assemble
from otel_agent_trace.runs.resume import is_paused
from otel_agent_trace.runs.stitch import may_be_joined
from otel_agent_trace.span import Problem, SpanRecord

TracesOf = Callable[[Any, Callable[[Problem], None]], Iterable[list[SpanRecord]]]
"""Function that returns the traces of a source with some ids, or with the runs of some numbers."""


class CountedSpans(Protocol):
    """Count the usual traces of a source, and name the others."""

    def odd(self) -> set[str]:
        """Return the ids of the traces that have to be read."""

    def add_resuming(self) -> bool:
        """Make those that may resume another one odd too; return whether there are any that were not."""

    def count(self, query: RunQuery, strata: Strata, *, replays: bool) -> None:
        """Count the runs in all other traces that a query selects."""


class OddTraces:
    """Read some traces of a source; a `SpanSource`.

    Args:
        names: the ids of the traces, or the numbers of their runs.
        traces_of: returns them.
    """

    def __init__(self, names: Collection[Any], traces_of: TracesOf) -> None:
        self._names, self._traces_of = names, traces_of
        self.is_linked = False
        """True if one was interrupted, or may be part of a run with others; this is known when all were read."""

    def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        """Yield the spans of each trace."""
        for spans in self._traces_of(self._names, on_problem) if self._names else ():
            if not self.is_linked:
                runs = assemble(spans)
                self.is_linked = may_be_joined(spans, runs) or any(map(is_paused, runs))
            yield spans


def among(source: Any) -> TracesOf:
    """Return a function that finds traces in a source by reading all."""

    def traces_of(trace_ids: set[str], on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
        return (spans for spans in source.traces(on_problem) if spans and spans[0].trace_id in trace_ids)

    return traces_of
