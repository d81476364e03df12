"""Find the runs that a query asks for: the one answer for those who read, explain, measure and export them."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from otel_agent_trace.errors import AmbiguousRunError, RunNotFoundError
from otel_agent_trace.model import AgentRun, at_time
from otel_agent_trace.query import LAST, RunQuery, age, trace_ids_of
from otel_agent_trace.runs.stitch import Assembled, assembled
from otel_agent_trace.span import Problem, SpanRecord, SpanSource, capabilities_of

T = TypeVar("T")
OnProblem = Callable[[Problem], None]
_SHOWN_RUNS = 5
_NEIGHBOURS_NS = 1200 * 10**9
"""Calls in traces of their own that go on with each other are closer than that: a pause of ten minutes, and the call."""


def search(source: SpanSource, query: RunQuery, on_problem: OnProblem, keep: Callable[[Assembled], T]) -> Iterator[T]:
    """Yield what is to be kept of each outermost run that fits, in the order that the query asks for.

    Without an order runs come as they are completed while reading, in bounded memory. With one, what is kept of `limit`
    runs is held, or of all without a limit; a source that gives the newest first is not read further than it takes.
    """
    if query.run_id == LAST:
        query = query.but(run_id=None, sort="time", limit=1 if query.limit is None else min(query.limit, 1))
    if query.order is None:
        return islice(map(keep, _fitting(source, query, on_problem)), query.limit)
    return iter(_in_order(source, query, query.order, on_problem, keep))


def _fitting(
    source: SpanSource, query: RunQuery, on_problem: OnProblem, reading: _EarlyEnd | None = None
) -> Iterator[Assembled]:
    """Yield the runs that fit, in the order of the source."""
    for found in _assembled(source, query, on_problem, reading):
        if query.matches(found.run, found.spans):
            yield found


def _assembled(
    source: SpanSource, query: RunQuery, on_problem: OnProblem, reading: _EarlyEnd | None
) -> Iterator[Assembled]:
    """Yield the runs of a source but for those that it leaves out itself; where it has only runs, they come without spans."""
    reader: Any = source
    if capabilities_of(source).runs:
        return (Assembled(run, ()) for run in reader.runs())
    traces = narrowed(source, query).traces(on_problem)
    return assembled(traces) if reading is None else reading.noted(assembled(reading.until(traces)))


def narrowed(source: SpanSource, query: RunQuery) -> SpanSource:
    """Return the source without what it can tell to be of no use.

    Times are taken further: a run that goes on over several traces must be seen whole to be told from another.
    """
    filters = capabilities_of(source).filters
    changes: dict[str, Any] = {name: value for name, value in query.given().items() if name in filters}
    if "since" in changes and query.since_ns is not None:
        changes["since"] = at_time(query.since_ns - _NEIGHBOURS_NS)
    if "until" in changes and query.until_ns is not None:
        changes["until"] = at_time(query.until_ns + _NEIGHBOURS_NS)
    reader: Any = source
    narrow: SpanSource = reader.narrowed(RunQuery(**changes)) if changes else source
    return narrow


# ── in order ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_order(
    source: SpanSource,
    query: RunQuery,
    order: Callable[[AgentRun], tuple[Any, ...]],
    on_problem: OnProblem,
    keep: Callable[[Assembled], T],
) -> list[T]:
    first: _First[T] = _First(query.limit)
    if query.limit == 0:
        return []
    early = _EarlyEnd(first) if order is age and capabilities_of(source).newest_first else None
    for found in _fitting(source, query, on_problem, early):
        first.add(order(found.run), keep(found))
    return first.kept()


class _First(Generic[T]):
    """What comes first in an order, so many or all; of equal ones what came first."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._heap: list[tuple[tuple[Any, ...], int, T]] = []
        self._counter = itertools.count()

    def add(self, key: tuple[Any, ...], item: T) -> None:
        """Keep an item, unless there are enough that come before it."""
        entry = (key, -next(self._counter), item)
        if self._limit is None or len(self._heap) < self._limit:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def kept(self) -> list[T]:
        """Return the items in their order."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]

    def last_key(self) -> tuple[Any, ...] | None:
        """Return the key of the last one, once there are enough."""
        return self._heap[0][0] if len(self._heap) == self._limit else None


class _EarlyEnd:
    """Ends the reading of a source that gives the newest traces first, when no newer run can come."""

    def __init__(self, first: _First[Any]) -> None:
        self._first = first
        self._held: set[str] = set()

    def until(self, traces: Iterable[list[SpanRecord]]) -> Iterator[list[SpanRecord]]:
        """Yield traces until as many runs are found as are wanted, and all that comes is older.

        While there are traces of which no run has come, one that goes on with them may still be read.
        """
        for spans in traces:
            self._held.update(span.trace_id for span in spans[:1])
            yield spans
            key = self._first.last_key() if spans else None
            latest_ns = max((span.start_ns for span in spans), default=0) + (_NEIGHBOURS_NS if self._held else 0)
            if key is not None and key[0] > latest_ns:
                return

    def noted(self, runs: Iterable[Assembled]) -> Iterator[Assembled]:
        """Yield runs, and note that they have come."""
        for found in runs:
            self._held.difference_update(span.trace_id for span in found.spans)
            yield found


# ── one run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Found(NamedTuple):
    """A run that was asked for by its id, which may be that of a sub-agent, and the outermost run that it is part of."""

    run: AgentRun
    whole: Assembled


def find(source: SpanSource, query: RunQuery, on_problem: OnProblem, name: str) -> Found:
    """Return the one run that `query.run_id` names, or without an id the only one that fits.

    Args:
        source: what is read.
        query: which runs are looked at, and which of them is meant.
        on_problem: is told what cannot be read.
        name: what the source is called in messages.

    Raises:
        RunNotFoundError: no run has that id, or there is none at all.
        AmbiguousRunError: several runs fit.
    """
    found = [*search(source, query, on_problem, lambda found: found)]
    if query.run_id == LAST:
        candidates = [Found(each.run, each) for each in found]
    else:
        named = [*_named(found, query.run_id)]
        candidates = [each for each, is_exact in named if is_exact] or [each for each, _ in named]
    if not candidates:
        what = "no runs" if query.run_id in (None, LAST) else f"no run {query.run_id!r}"
        raise RunNotFoundError(f"{what} in {name}")
    if len(candidates) > 1:
        raise AmbiguousRunError(_several(name, query.run_id, [each.run for each in candidates]))
    return _with_neighbours(source, candidates[0], query, on_problem)


def _named(runs: Iterable[Assembled], run_id: str | None) -> Iterator[tuple[Found, bool]]:
    """Yield the runs that an id may mean, each with whether it is exactly that."""
    for whole in runs:
        outer = whole.run
        if run_id is None:
            yield Found(outer, whole), False
            continue
        begun = False
        for run in outer.walk():
            ids = (run.run_id, *trace_ids_of(outer)) if run is outer else (run.run_id,)
            if run_id in ids:
                yield Found(run, whole), True
            elif not begun and any(known.startswith(run_id) for known in ids):  # ids below often begin like it
                begun = run is outer
                yield Found(run, whole), False


def _with_neighbours(source: SpanSource, found: Found, query: RunQuery, on_problem: OnProblem) -> Found:
    """Read around a run that a source gave by its id alone, as long as calls of other traces turn out to be part of it."""
    filters = capabilities_of(source).filters
    reader: Any = source
    while "run_id" in filters and query.run_id != LAST and _may_go_on(found.whole.run):
        run = found.whole.run
        times: dict[str, Any] = {
            "since": at_time(run.started_at_ns - _NEIGHBOURS_NS),
            "until": at_time(_latest_ns(run) + _NEIGHBOURS_NS),
            "service": query.service,
        }
        around = reader.narrowed(RunQuery(**{name: value for name, value in times.items() if name in filters}))
        ids = set(trace_ids_of(run))
        wider = next((each for each in assembled(around.traces(on_problem)) if ids & set(trace_ids_of(each.run))), None)
        if wider is None or set(trace_ids_of(wider.run)) <= ids:
            break
        found = Found(wider.run, wider)
    return found


def _may_go_on(run: AgentRun) -> bool:
    """Return whether calls in other traces may be part of a run: no agent's span is around its own."""
    return run.span_id is None and run.agent_name is None


def _latest_ns(run: AgentRun) -> int:
    return max(step.ended_at_ns or step.started_at_ns for step in run.steps) if run.steps else run.started_at_ns


def _several(name: str, run_id: str | None, runs: list[AgentRun]) -> str:
    shown = ", ".join(run.run_id for run in runs[:_SHOWN_RUNS])
    more = f" and {len(runs) - _SHOWN_RUNS} more" if len(runs) > _SHOWN_RUNS else ""
    what = "is not enough" if run_id is None else f"fits {len(runs)} runs"
    asked = "no run id" if run_id is None else repr(run_id)
    return f"{asked} {what} in {name}: {shown}{more}"
