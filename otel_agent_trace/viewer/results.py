"""Hold the results of queries: which runs matched, in their order, so that rows stay where they are as runs arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from otel_agent_trace.query import RunQuery
from otel_agent_trace.runs.assemble import Assembled
from otel_agent_trace.sources.search import search
from otel_agent_trace.span import SpanSource, capabilities_of, ignore_problem
from otel_agent_trace.viewer.entries import Entries, Entry, Key, entry_of
from otel_agent_trace.viewer.facets import facets_of
from otel_agent_trace.viewer.work import Stop

_FIRST, _GROWTH = 256, 16
_COUNTED = 4096
"""Runs that are read to count what they have."""
MOST_RUNS = 50_000
"""Runs of a result that are held for sources that cannot return any part of it."""


class Result(Protocol):
    """Represent the runs that matched a query when it was made, in its order."""

    @property
    def total(self) -> int | None:
        """Return how many there are; None as long as that is not known."""

    @property
    def at_least(self) -> int:
        """Return how many there are at least."""

    def page(self, begin: int, count: int, stop: Stop) -> Sequence[Entry]:
        """Return the entries of some runs, as the source has them now; fewer where the result ends.

        Raises:
            SourceError: the source cannot be read.
            StoppedError: nobody waits for them any more.
        """

    def close(self) -> None:
        """End what goes on in threads; what is not known by then is not found any more."""

    def facets(self, stop: Stop) -> dict[str, Any]:
        """Return how many of the runs have which status, agent, tool, model and error, and began when.

        Raises:
            SourceError: the source cannot be read.
            StoppedError: nobody waits for them any more.
        """


class Reading(NamedTuple):
    """Hold what results read: what opens the source, and the entries of its runs."""

    opened: Callable[[Stop], SpanSource]
    entries: Entries

    def search(self, query: RunQuery, stop: Stop) -> Iterator[Entry]:
        """Yield the entries of the runs that match, and keep them."""

        def kept(found: Assembled) -> Entry:
            stop.check()
            entry = entry_of(found, query.costs.of(found.run))
            self.entries.keep(entry)
            return entry

        return search(self.opened(stop), query, ignore_problem, kept)

    def current(self, keys: Sequence[Key], query: RunQuery, stop: Stop) -> dict[Key, Entry]:
        """Return the entries of runs, of which those are read again that have changed or are not held."""
        held = self.entries.known(keys)
        outdated = self.entries.outdated(keys)
        if outdated:
            self._refresh(outdated, query, stop)
        return {**held, **self.entries.known(keys)}  # reading may have displaced some

    def _refresh(self, keys: set[Key], query: RunQuery, stop: Stop) -> None:
        """Read runs again, around the times at which they began; by their ids those that began at other times."""
        times = [started_at_ns for _, started_at_ns in keys]
        bounds: dict[str, Any] = {"since": min(times) / 1e9 - 1, "until": max(times) / 1e9 + 1}
        self._read(keys, RunQuery(**bounds, prices=query.prices), stop)
        for run_id in self.entries.unread(keys):
            self._read(keys, RunQuery(run_id=run_id, prices=query.prices), stop)
        self.entries.settle(keys)

    def _read(self, keys: set[Key], query: RunQuery, stop: Stop) -> None:
        """Read the runs that match until all that are wanted are found, which are taken out of the keys."""
        for entry in self.search(query, stop) if keys else ():
            keys.discard(entry.key)
            if not keys:
                return


class ScannedResult:
    """Hold the names of runs that a search of the source has found, and search further when more of them are asked for.

    Runs that arrive later are left out: further ones are taken from behind the last that is known. Of sources that
    find the first runs without reading all of them, a part is searched first.

    Args:
        reading: what is read.
        query: the filters and the order.
    """

    def __init__(self, reading: Reading, query: RunQuery) -> None:
        self._reading = reading
        self._query = query if query.order is not None else query.but(newest_first=True)
        self._keys: list[Key] = []
        self._is_whole = False
        self._limit = 0
        self._lock = threading.Lock()

    @property
    def total(self) -> int | None:
        """Return how many there are; None as long as that is not known."""
        return len(self._keys) if self._is_whole else None

    @property
    def at_least(self) -> int:
        """Return how many are known."""
        return len(self._keys)

    def page(self, begin: int, count: int, stop: Stop) -> Sequence[Entry]:
        """Return the entries of some runs, as `Result` has it."""
        self._find(begin + count, stop)
        return self._entries(self._keys[begin : begin + count], stop)

    def close(self) -> None:
        """Do nothing: nothing goes on in threads."""

    def facets(self, stop: Stop) -> dict[str, Any]:
        """Return the counts of what runs have, as `Result` has it: of the first runs only, if there are many."""
        self._find(_COUNTED, stop)
        entries = self._entries(self._keys, stop)
        return {**facets_of(entries), "is_exact": self._is_whole and len(entries) == len(self._keys)}

    def _entries(self, keys: Sequence[Key], stop: Stop) -> list[Entry]:
        """Return the entries of the runs that were ever read."""
        known = self._reading.current(keys, self._query, stop)
        return [known[key] for key in keys if key in known]

    def _find(self, count: int, stop: Stop) -> None:
        """Search until so many runs are known, or all."""
        while not self._is_whole and len(self._keys) < min(count, MOST_RUNS):
            with self._lock:
                if not self._is_whole and len(self._keys) < min(count, MOST_RUNS):
                    self._extend(stop)

    def _extend(self, stop: Stop) -> None:
        limit = min(max(_FIRST, self._limit * _GROWTH), MOST_RUNS) if self._is_stepwise(stop) else MOST_RUNS
        if limit == self._limit:
            self._is_whole = True  # nothing new is found where the last run is gone
            return
        found = [entry.key for entry in self._reading.search(self._query.but(limit=limit), stop)]
        self._keys = [*self._keys, *_behind(self._keys, found)]
        self._limit, self._is_whole = limit, len(found) < limit

    def _is_stepwise(self, stop: Stop) -> bool:
        """Return whether the source finds the first runs without reading all."""
        capabilities = capabilities_of(self._reading.opened(stop))
        return capabilities.whole_queries or capabilities.newest_first


def _behind(known: Sequence[Key], found: Sequence[Key]) -> Sequence[Key]:
    """Return what was found behind the last known run; where that is gone, all that is not known."""
    if known and known[-1] in found:
        found = found[found.index(known[-1]) + 1 :]
    before = set(known)
    return [key for key in found if key not in before]
