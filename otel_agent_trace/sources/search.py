"""Search a source for the runs that a query selects, for readers, explanations, metrics and exports alike."""

from __future__ import annotations

import enum
import heapq
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from otel_agent_trace.errors import AmbiguousRunError, RunNotFoundError
from otel_agent_trace.keys import KEY_VARIABLE, key_id, known_keys
from otel_agent_trace.model import AgentRun, at_time
from otel_agent_trace.policies.user_ids import key_id_of
from otel_agent_trace.query import LAST, RunQuery, age, trace_ids_of
from otel_agent_trace.runs.assemble import Assembled
from otel_agent_trace.runs.stitch import assembled
from otel_agent_trace.sources.census import Census, noting_times
from otel_agent_trace.span import Notice, Problem, SpanRecord, SpanSource, capabilities_of, traces_and_logs

T = TypeVar("T")
OnProblem = Callable[[Problem], None]
_SHOWN_RUNS = 5
_SHOWN_KEYS = 5
_NEIGHBOURS_NS = 1200 * 10**9
"""Longest time between traces that may belong to one run: a pause of ten minutes, and as much for the call itself."""


def search(
    source: SpanSource,
    query: RunQuery,
    on_problem: OnProblem,
    keep: Callable[[Assembled], T],
    census: Census | None = None,
) -> Iterator[T]:
    """Yield the result of `keep` for each outermost run that matches, in the order of the query.

    Without an order runs are yielded as they are completed while reading, in bounded memory. With one, the results of
    `limit` runs are held in memory, or of all without a limit; a source that yields the newest traces first is read only
    as far as needed.

    Args:
        source: the source to read.
        query: the filters, the order and the limit.
        on_problem: called with each `Problem` of reading.
        keep: called with each run and its spans; returns what is needed of them.
        census: counts what is read, for whoever has to explain that nothing was found.
    """
    reading = _Reading(source, on_problem, census)
    if query.run_id == LAST:
        query = query.but(run_id=None, sort="time", limit=1 if query.limit is None else min(query.limit, 1))
    if query.order is None:
        limit = None if query.limit is None else min(query.limit, sys.maxsize)  # `islice` takes no greater number
        return islice(map(keep, _matching(reading, query)), limit)
    return iter(_first_in_order(reading, query, query.order, keep))


class _Reading(NamedTuple):
    """Hold what is read, and who is informed about it."""

    source: SpanSource
    on_problem: OnProblem
    census: Census | None


def _matching(reading: _Reading, query: RunQuery, stop: _EarlyStop | None = None) -> Iterator[Assembled]:
    """Yield the runs that match the query, in the order of the source."""
    keys = UserKeys(query)
    for found in _assembled(reading, query, stop):
        if reading.census is not None:
            reading.census.note_run(found.spans)
        if query.matches(found.run, found.spans):
            yield found
        else:
            keys.note(found)
    keys.report(reading.on_problem)


class UserKeys:
    """Count the runs that only the filter by user leaves out, and whose user id was made with another key than its own.

    Whether they are runs of that user cannot be known: an id has another pseudonym under each key.
    """

    def __init__(self, query: RunQuery) -> None:
        self._query = query
        self._own = {key for form in query.user_ids if (key := key_id_of(form)) is not None}
        self._others = Counter[str]()

    def note(self, found: Assembled) -> None:
        """Count a run that does not match."""
        key = key_id_of(found.run.user_id) if self._query.user_id is not None else None
        is_other = key is not None and key not in self._own and (key in self._others or len(self._others) < _SHOWN_KEYS)
        if is_other and self._query.but(user_id=None).matches(found.run, found.spans):
            self._others[str(key)] += 1

    def report(self, on_problem: OnProblem) -> None:
        """Report the ids of the keys, if there are other ones than that of the filter."""
        if not self._others:
            return
        runs = ", ".join(f"{count} under the key {key}" for key, count in self._others.most_common())
        own_keys = [key for key in map(key_id, known_keys()) if key in self._own] or [*self._own]
        own = f"that of the id asked for is {own_keys[0]}" if own_keys else "there is no key here"
        how = f"set {KEY_VARIABLE} to the key with that id, or give the pseudonym itself"
        reason = f"runs whose user ids are pseudonyms cannot be compared: {runs}; {own}: to find them, {how}"
        on_problem(Notice("user_id", 0, reason))


def _assembled(reading: _Reading, query: RunQuery, stop: _EarlyStop | None) -> Iterator[Assembled]:
    """Yield the runs of a source, to which the filters are passed that it supports; without spans if it has only runs."""
    reader: Any = reading.source
    if capabilities_of(reader).runs:
        return (Assembled(run, ()) for run in reader.runs())
    on_problem = reading.on_problem
    is_whole = reading.census is not None and reading.census.keeps_places and capabilities_of(reader).whole_queries
    narrowed = reader if is_whole else with_filters(reader, query)
    if reading.census is None:
        traces = noting_times(narrowed.traces(on_problem), on_problem)
    else:
        logged = traces_and_logs(narrowed, on_problem, reading.census.note_log)
        traces = reading.census.watch(noting_times(logged, on_problem))
    return assembled(traces) if stop is None else stop.watch_runs(assembled(stop.limit_traces(traces)))


def with_filters(source: SpanSource, query: RunQuery) -> SpanSource:
    """Return the source with those filters of a query that it supports itself.

    One that takes whole queries is given the query as it is. For others times are extended by 20 minutes in both
    directions: a run that continues in further traces must be read as a whole, to be matched as a whole.
    """
    reader: Any = source
    capabilities = capabilities_of(source)
    if capabilities.whole_queries:
        whole: SpanSource = reader.narrowed(query)
        return whole
    filters = capabilities.filters
    changes: dict[str, Any] = {name: value for name, value in query.given().items() if name in filters}
    if "since" in changes and query.since_ns is not None:
        changes["since"] = at_time(query.since_ns - _NEIGHBOURS_NS)
    if "until" in changes and query.until_ns is not None:
        changes["until"] = at_time(query.until_ns + _NEIGHBOURS_NS)
    narrow: SpanSource = reader.narrowed(RunQuery(**changes)) if changes else source
    return narrow


# ── in order ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _first_in_order(
    reading: _Reading, query: RunQuery, order: Callable[[AgentRun], tuple[Any, ...]], keep: Callable[[Assembled], T]
) -> list[T]:
    first: _First[T] = _First(query.limit)
    if query.limit == 0:
        return []
    stop = _EarlyStop(first) if order is age and capabilities_of(reading.source).newest_first else None
    for found in _matching(reading, query, stop):
        first.add(order(found.run), keep(found))
    return first.items()


class _First(Generic[T]):
    """Hold the first `limit` items in an order, or all items; of equal ones those that were added first."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._heap: list[tuple[tuple[Any, ...], int, T]] = []
        self._counter = itertools.count()

    def add(self, key: tuple[Any, ...], item: T) -> None:
        """Add an item, and drop the last one where there are more than the limit."""
        entry = (key, -next(self._counter), item)
        if self._limit is None or len(self._heap) < self._limit:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def items(self) -> list[T]:
        """Return the items in order."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]

    def last_key(self) -> tuple[Any, ...] | None:
        """Return the key of the last item, or None if there are fewer than the limit."""
        return self._heap[0][0] if len(self._heap) == self._limit else None


class _EarlyStop:
    """Stop reading a source that yields the newest traces first, as soon as no newer run can follow."""

    def __init__(self, first: _First[Any]) -> None:
        self._first = first
        self._pending: set[str] = set()

    def limit_traces(self, traces: Iterable[list[SpanRecord]]) -> Iterator[list[SpanRecord]]:
        """Yield traces until there are `limit` runs, and all further traces are older.

        As long as there are traces whose run is not complete, a trace that continues it may follow, and is not too old.
        """
        for spans in traces:
            self._pending.update(span.trace_id for span in spans[:1])
            yield spans
            key = self._first.last_key() if spans else None
            latest_ns = max((span.start_ns for span in spans), default=0) + (_NEIGHBOURS_NS if self._pending else 0)
            if key is not None and key[0] > latest_ns:
                return

    def watch_runs(self, runs: Iterable[Assembled]) -> Iterator[Assembled]:
        """Yield runs, and record that their traces are complete."""
        for found in runs:
            self._pending.difference_update(span.trace_id for span in found.spans)
            yield found


# ── one run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Found(NamedTuple):
    """Hold a run that was found by its id, which may be that of a sub-agent, and the outermost run that contains it."""

    run: AgentRun
    whole: Assembled


def find(source: SpanSource, query: RunQuery, on_problem: OnProblem, name: str, census: Census | None = None) -> Found:
    """Return the run that `query.run_id` names, or without an id the only run that matches.

    Args:
        source: the source to read.
        query: the filters, and the id of the run.
        on_problem: called with each `Problem` of reading.
        name: the name of the source for messages.
        census: counts what is read.

    Raises:
        RunNotFoundError: no run has that id, or the source has no run.
        AmbiguousRunError: several runs match.
    """
    census = census or Census()
    found = [*search(source, query, on_problem, lambda found: found, census)]
    if query.run_id == LAST:
        candidates = [Found(each.run, each) for each in found]
    else:
        named = [*_runs_with_id(found, query.run_id)]
        closest = min((match for _, match in named), default=_Match.BEGINNING)
        candidates = [each for each, match in named if match is closest]
    if not candidates:
        raise RunNotFoundError(nothing_found_text(query, name, None if capabilities_of(source).runs else census))
    if len(candidates) > 1:
        raise AmbiguousRunError(_ambiguity_message(name, query.run_id, [each.run for each in candidates]))
    return _with_neighbours(source, candidates[0], query, on_problem)


def nothing_found_text(query: RunQuery, name: str, census: Census | None = None) -> str:
    """Return the sentence that no run of the source called `name` matches a query, with the id and the service it names.

    Where a census of what was read found no run at all, the sentence has the spans that were read instead.
    """
    what = "no runs" if query.run_id in (None, LAST) else f"no run {query.run_id!r}"
    of_service = "" if query.service is None else f" of service {query.service!r}"
    if census is not None and (census.spans or census.logs) and not census.runs:
        return f"{what}{of_service} in {name}, which has {census.text()}"
    others = query.but(run_id=None, service=None)
    return f"{what}{of_service} in {name}{' match the filters' if others.is_filter else ''}"


class _Match(enum.IntEnum):
    """Define how an id fits a run, the closest first: runs without a span above them in one trace share its id."""

    RUN_ID = 0
    TRACE_ID = 1
    BEGINNING = 2


def _runs_with_id(runs: Iterable[Assembled], run_id: str | None) -> Iterator[tuple[Found, _Match]]:
    """Yield each run whose id, or one of whose trace ids, begins with `run_id`, and how it fits."""
    for whole in runs:
        outer = whole.run
        if run_id is None:
            yield Found(outer, whole), _Match.BEGINNING
            continue
        is_outer_found = False
        for run in outer.walk():
            trace_ids = trace_ids_of(outer) if run is outer else ()
            if run_id == run.run_id:
                yield Found(run, whole), _Match.RUN_ID
            elif run_id in trace_ids:
                yield Found(run, whole), _Match.TRACE_ID
            # The ids of sub-agents begin with the trace id, as that of the outermost run often does.
            elif not is_outer_found and any(known.startswith(run_id) for known in (run.run_id, *trace_ids)):
                is_outer_found = run is outer
                yield Found(run, whole), _Match.BEGINNING


def _with_neighbours(source: SpanSource, found: Found, query: RunQuery, on_problem: OnProblem) -> Found:
    """Return a run with the calls in other traces that belong to it, for a source that was asked for its id only.

    The source is read around the time of the run again, as long as this adds traces to it.
    """
    filters = capabilities_of(source).filters
    reader: Any = source
    while "run_id" in filters and query.run_id != LAST and _may_continue(found.whole.run):
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


def _may_continue(run: AgentRun) -> bool:
    """Return whether calls in other traces may belong to a run, as they may if it has no span of an agent."""
    return run.span_id is None and run.agent_name is None


def _latest_ns(run: AgentRun) -> int:
    return max(step.ended_at_ns or step.started_at_ns for step in run.steps) if run.steps else run.started_at_ns


def _ambiguity_message(name: str, run_id: str | None, runs: list[AgentRun]) -> str:
    shown = ", ".join(run.run_id for run in runs[:_SHOWN_RUNS])
    more = f" and {len(runs) - _SHOWN_RUNS} more" if len(runs) > _SHOWN_RUNS else ""
    if run_id is None:
        return f"{name} has {len(runs)} runs, give the id of one: {shown}{more}"
    return f"{run_id!r} matches {len(runs)} runs in {name}: {shown}{more}"
