"""Hold the result of a query of a store with an index: a list of any length, of which runs are read only if needed."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from otel_agent_trace.errors import SourceError
from otel_agent_trace.model import FAILED_STATUSES, RunStatus, at_time
from otel_agent_trace.prices import NO_COST, RunCosts
from otel_agent_trace.query import RunQuery
from otel_agent_trace.runs.assemble import Assembled, assemble
from otel_agent_trace.sources.index.choice import remove_database
from otel_agent_trace.sources.index.costs import KeptCosts
from otel_agent_trace.sources.index.counts import counts_of
from otel_agent_trace.sources.index.listing import ListedRun, Listing, Row, unlisted_traces
from otel_agent_trace.sources.index.query import is_exact
from otel_agent_trace.sources.index.reading import Index
from otel_agent_trace.sources.index.schema import UNKNOWN, UnusableIndexError
from otel_agent_trace.sources.index.segments import StaleError, WrongIndexError
from otel_agent_trace.sources.index.source import AlwaysRead, IndexedSource, opened_index
from otel_agent_trace.sources.search import search
from otel_agent_trace.span import Problem, SpanRecord, ignore_problem
from otel_agent_trace.viewer.entries import Entry, entry_of
from otel_agent_trace.viewer.facets import SHOWN, buckets_of, width_for
from otel_agent_trace.viewer.places import Apart, Places
from otel_agent_trace.viewer.replies import encoded
from otel_agent_trace.viewer.results import Reading, Result, ScannedResult
from otel_agent_trace.viewer.work import Stop, StoppedError
from otel_agent_trace.views.figures import cost_text, count_text, duration_text
from otel_agent_trace.views.summaries import cost_data

UNREADABLE = (UnusableIndexError, StaleError, WrongIndexError, sqlite3.Error)
"""Exceptions that stand for an index that cannot answer, or not for this result: one that is made anew can."""
_GONE = "gone"


def result_of(reading: Reading, query: RunQuery, stop: Stop) -> Result:
    """Return the result of a query: by the index of a store where there is one that can answer, else by a search."""
    if is_exact(query) and isinstance(reading.opened(stop), IndexedSource):
        with contextlib.suppress(*UNREADABLE):
            return IndexedResult(reading, query, stop)
    return ScannedResult(reading, query)


class IndexedResult:
    """Hold which runs the index had, in order, and the few among them that had to be read.

    The first thousand are found at once, and in a thread where each thousandth of all is.

    Args:
        reading: what is read.
        query: the filters and the order, of which the index `is_exact`.
        stop: stops the reading of the first ones.

    Raises:
        UnusableIndexError, StaleError, WrongIndexError, sqlite3.Error: the index cannot answer.
    """

    def __init__(self, reading: Reading, query: RunQuery, stop: Stop) -> None:
        self._reading = reading
        self._query = query if query.order is not None else query.but(newest_first=True)
        self._finding = Stop()
        self._segments = set[tuple[int, str]]()
        with self._index(stop) as (index, source, always):
            self._segments = {(segment.id, segment.identity) for segment in index.segments.values()}
            apart = always.also(unlisted_traces(index, query))
            self._apart_traces = set(apart.numbers)
            self._last_trace = index.last_trace()
            self._apart = sorted(_apart_runs(source, index, apart, self._query, reading), reverse=True)
            listing = self._listing(index)
            self._places = Places(listing.way(self._query), self._apart)
            self._places.extend(listing)
        if not self._places.is_whole:
            threading.Thread(target=self._find_all, name="otel-agent-trace-list", daemon=True).start()

    @property
    def total(self) -> int | None:
        """Return how many there are; None as long as that is not known."""
        return self.at_least if self._places.is_whole else None

    @property
    def at_least(self) -> int:
        """Return how many are known."""
        return len(self._places)

    def page(self, begin: int, count: int, stop: Stop) -> Sequence[Entry]:
        """Return the entries of some runs, as `Result` has it; a run that is gone has an entry without an id."""
        self._places.wait(begin + count, stop)
        with self._index(stop) as (index, _, always):
            listing = self._listing(index)
            wanted = [*self._places.items(listing, begin, begin + count)]
            rows = [item for item in wanted if isinstance(item, Row)]
            listed = _Rows(index, listing, self._reading, self._query).entries(rows, always.numbers)
        keys = [item.key for item in wanted if isinstance(item, Apart)]
        keys += [entry.key for row, entry in listed.items() if row.trace in always.numbers]  # they go on by now
        current = self._reading.current(keys, self._query, stop)
        found: dict[Any, Entry] = {**current, **{row: current.get(entry.key, entry) for row, entry in listed.items()}}
        return [found.get(item.key if isinstance(item, Apart) else item) or _gone() for item in wanted]

    def close(self) -> None:
        """End finding runs, as `Result` has it."""
        self._finding.set()

    def facets(self, stop: Stop) -> dict[str, Any]:
        """Return the counts of what runs have, as `Result` has it; categories of errors are not in the index."""
        known = self._reading.current([each.key for each in self._apart], self._query, stop)
        apart = [known[each.key] for each in self._apart if each.key in known]
        starts_ns = [entry.started_at_ns for entry in apart if entry.started_at_ns > 0]
        with self._index(stop) as (index, _, _):
            counts = counts_of(self._listing(index), self._places.way, self._query, width_for, starts_ns)
        for entry in apart:
            counts.status[entry.status] += 1
            counts.agent.update(filter(None, [entry.agent]))
            counts.tool.update(filter(None, entry.tools))
            counts.model.update(filter(None, entry.models))
            if entry.started_at_ns > 0:
                counts.runs[entry.started_at_ns // counts.width_ns] += 1
                counts.errors[entry.started_at_ns // counts.width_ns] += entry.status in FAILED_STATUSES
        named = {"status": counts.status, "agent": counts.agent, "tool": counts.tool, "model": counts.model}
        facets = {name: dict(counter.most_common(SHOWN)) for name, counter in named.items()}
        buckets = buckets_of(counts.runs, counts.errors, counts.width_ns)
        return {**facets, "error": None, "histogram": buckets, "is_exact": True}

    @contextlib.contextmanager
    def _index(self, stop: Stop) -> Iterator[tuple[Index, IndexedSource, AlwaysRead]]:
        """Yield the index, which is up to date and in a transaction; it is removed if it is not as it was written.

        Raises:
            UnusableIndexError, StaleError, WrongIndexError, sqlite3.Error: it cannot answer, or files are gone or
                changed whose rows the result has.
        """
        source: Any = self._reading.opened(stop)
        with opened_index(source.store) as (index, path):
            try:
                always = source.begun(index)
                if not self._segments <= {(segment.id, segment.identity) for segment in index.segments.values()}:
                    raise StaleError
                yield index, source, always
            except WrongIndexError:
                remove_database(path)
                raise

    def _listing(self, index: Index) -> Listing:
        return Listing(index, self._apart_traces, self._last_trace)

    def _find_all(self) -> None:
        """Find where all runs are, in a thread of its own; where that fails, whoever waits for them is informed."""
        try:
            with (
                contextlib.suppress(SourceError, StoppedError, *UNREADABLE),
                self._index(self._finding) as (index, _, _),
            ):
                listing = self._listing(index)
                while not self._places.is_whole:
                    self._finding.check()
                    self._places.extend(listing)
        finally:
            self._places.give_up()


def _apart_runs(
    source: IndexedSource, index: Index, always: AlwaysRead, query: RunQuery, reading: Reading
) -> Iterator[Apart]:
    """Yield the runs that match among those that are read with every query, and keep their entries."""
    order = query.order
    if order is None:
        raise ValueError("the query has no order")

    class AlwaysReadSource:
        """Read these traces only; a `SpanSource`."""

        def traces(self, on_problem: Callable[[Problem], None]) -> Iterator[list[SpanRecord]]:
            return source.always_read(index, always, on_problem)

    def kept(found: Assembled) -> Apart:
        entry = entry_of(found, query.costs.of(found.run))
        reading.entries.keep(entry)
        return Apart(int(order(found.run)[0]), entry.started_at_ns, entry.run_id)

    return search(AlwaysReadSource(), query.but(limit=None), ignore_problem, kept)


class _Rows:
    """Make the entries of runs of their rows.

    Runs that did not succeed are read for their errors, others where something is not known.
    """

    def __init__(self, index: Index, listing: Listing, reading: Reading, query: RunQuery) -> None:
        self._index, self._listing, self._reading = index, listing, reading
        self._costs = RunCosts(query.costs.prices)  # those of the query may be of runs that have changed since
        self._version = self._costs.prices.version

    def entries(self, rows: Sequence[Row], going: Collection[int]) -> dict[Row, Entry]:
        """Return the entries by the rows, without those that are gone; of traces `going` on, as the index has them."""
        listed = {row: run for row in rows if (run := self._listing.run(row, self._version)) is not None}
        unread = {row: run for row, run in listed.items() if row.trace not in going and self._has_to_be_read(run)}
        keys = [run.key for run in unread.values()]
        missing = self._reading.entries.outdated(keys)
        self._read({row.trace for row, run in unread.items() if run.key in missing})
        known = self._reading.entries.known(keys)
        return {row: known.get(run.key) or _entry(run) for row, run in listed.items()}

    def _has_to_be_read(self, run: ListedRun) -> bool:
        is_known = UNKNOWN not in (run.user, run.question)
        return not is_known or run.status != RunStatus.SUCCESS.value or bool(self._version and run.cost is None)

    def _read(self, traces: Iterable[int]) -> None:
        """Read the runs of some traces, and keep their entries, and their costs in the index."""
        kept = KeptCosts(self._index, self._costs)
        numbers = (
            kept.note(traces)
            if self._version
            else {trace_id: number for number in traces for trace_id in self._index.trace_ids([number])}
        )
        for spans in self._index.read([*traces], ignore_problem) if traces else ():
            number = numbers.get(spans[0].trace_id)
            runs = assemble(spans)
            if number is not None and self._version:
                kept.compute(number, runs)
            for run in runs:
                self._reading.entries.keep(entry_of(Assembled(run, ()), self._costs.of(run)))
        if self._version:
            self._index.connection.execute("COMMIT")
            kept.write()


def _entry(run: ListedRun) -> Entry:
    """Return the entry of a run by what the index has of it: parts of tokens, and its session, are not among that."""
    duration_s = None if run.ended_at_ns is None else (run.ended_at_ns - run.started_at_ns) / 1e9
    cost = run.cost or NO_COST
    row = {
        "run_id": run.run_id,
        "agent_name": run.agent,
        "status": run.status,
        "started_at": at_time(run.started_at_ns).isoformat(),
        "started_at_ns": str(run.started_at_ns),
        "duration_s": duration_s,
        "duration_text": duration_text(duration_s),
        "steps": run.steps,
        "errors": run.errors,
        "tokens_text": count_text(run.tokens or None),
        "cost_text": cost_text(cost),
        **cost_data(cost),
        "error": None,
        "user_input": run.question or "",
        "user_id": run.user,
        "tags": run.tags,
    }
    return Entry(run.run_id, run.started_at_ns, encoded(row), run.status, run.agent, run.tools, run.models, None)


def _gone() -> Entry:
    """Return the entry in the place of a run that was removed."""
    return Entry("", 0, encoded({"run_id": None, "status": _GONE}), _GONE, None, (), (), None)
