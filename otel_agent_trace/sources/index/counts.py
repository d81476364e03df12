"""Count what the runs of a list have: by the tally that is kept with the rows where it can answer, else by the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from otel_agent_trace.model import FAILED_STATUSES
from otel_agent_trace.query import STATUSES, RunQuery
from otel_agent_trace.sources.index.listing import Listing, Way, checked
from otel_agent_trace.sources.index.rows import status_numbers
from otel_agent_trace.sources.index.schema import SLOT_NS, is_complete, names_in

_TALLIED = frozenset({"status", "sort", "newest_first", "limit", "prices"})
"""Fields of `RunQuery` with which the tally can answer."""
_FAILED = frozenset(STATUSES.index(status) for status in FAILED_STATUSES)


class Counts(NamedTuple):
    """Hold how many of the runs that a query selects have which value.

    `runs` are how many began in which bucket of time, `errors` how many of these failed.
    """

    status: Counter[str]
    agent: Counter[str]
    tool: Counter[str]
    model: Counter[str]
    runs: Counter[int]
    errors: Counter[int]
    width_ns: int


class _Numbers(NamedTuple):
    """Hold how many runs have which status, names and buckets of time, as numbers; 0 or None stands for no name."""

    status: Counter[int]
    agent: Counter[int | None]
    tools: Counter[int | None]
    models: Counter[int | None]
    runs: Counter[int]
    errors: Counter[int]

    def add(self, row: Sequence[Any], sign: int = 1) -> None:
        """Add what so many runs have: bucket, status, agent, tools, models, and how many they are."""
        bucket, status, agent, tools, models, count = row
        count *= sign
        self.status[status] += count
        self.agent[agent] += count
        self.tools[tools] += count
        self.models[models] += count
        self.add_bucket(bucket, status, count)

    def add_bucket(self, bucket: int, status: int, count: int) -> None:
        """Add runs that began in a bucket of time, which is -1 where that is not known."""
        if bucket >= 0:
            self.runs[bucket] += count
            self.errors[bucket] += count if status in _FAILED else 0


def counts_of(
    listing: Listing, way: Way, query: RunQuery, width_for: Callable[[int], int], other_starts_ns: Sequence[int] = ()
) -> Counts:
    """Return the counts of what the runs have that a query selects.

    Args:
        listing: what lists them.
        way: how they are found.
        query: the filters.
        width_for: function that returns the width of buckets for a span of time, in nanoseconds.
        other_starts_ns: when runs began that are not listed, but counted in the same buckets.

    Raises:
        WrongIndexError: a row is not as it was written.
    """
    starts_ns = [*other_starts_ns, *_ends_ns(listing, way)]
    width_ns = width_for(max(starts_ns, default=0) - min(starts_ns, default=0))
    numbers = _Numbers(Counter(), Counter(), Counter(), Counter(), Counter(), Counter())
    is_tallied = query.given().keys() <= _TALLIED and width_ns % SLOT_NS == 0
    with checked():
        if is_tallied and is_complete(listing.connection):
            _add_tally(listing, query, width_ns, numbers)
        else:
            for row in _grouped(listing, way.source, way.where, way.arguments, width_ns):
                numbers.add(row)
        return Counts(
            +Counter({STATUSES[number]: count for number, count in numbers.status.items()}),
            _named(listing, numbers.agent, lambda name: (name,)),
            _named(listing, numbers.tools, names_in),
            _named(listing, numbers.models, names_in),
            +numbers.runs,
            +numbers.errors,
            width_ns,
        )


def _ends_ns(listing: Listing, way: Way) -> Iterator[int]:
    """Yield when the first and the last run began of those of which that is known."""
    for order in ("", " DESC") if not way.is_few else ():
        select = f"SELECT start_ns FROM run INDEXED BY run_start WHERE {way.where} AND start_ns>0"
        ordered = f"{select} ORDER BY start_ns{order} LIMIT 1"
        yield from (start_ns for (start_ns,) in listing.connection.execute(ordered, way.arguments))
    if way.is_few:
        select = f"SELECT min(start_ns), max(start_ns) FROM run WHERE {way.where} AND +start_ns>0"
        yield from filter(None, listing.connection.execute(select, way.arguments).fetchone())


def _grouped(
    listing: Listing, source: str, where: str, arguments: Sequence[Any], width_ns: int
) -> Iterator[tuple[Any, ...]]:
    bucket = f"CASE WHEN start_ns>0 THEN start_ns/{width_ns} ELSE -1 END"
    select = (
        f"SELECT {bucket}, status, agent, tools, models, count(*) FROM {source} WHERE {where} GROUP BY 1, 2, 3, 4, 5"
    )
    return iter(listing.connection.execute(select, arguments))


def _add_tally(listing: Listing, query: RunQuery, width_ns: int, numbers: _Numbers) -> None:
    """Add what the tally has, without the runs of traces that are not listed."""
    wanted = range(len(STATUSES)) if query.status is None else status_numbers(str(query.status))
    of_status = f"status IN ({','.join(map(str, wanted))})"
    execute = listing.connection.execute
    for counter, kind in ((numbers.agent, "agent"), (numbers.tools, "tools"), (numbers.models, "models")):
        counter.update(
            dict(execute(f"SELECT value, sum(runs) FROM tally WHERE kind=? AND {of_status} GROUP BY 1", (kind,)))
        )
    bucket = f"CASE WHEN value>=0 THEN value/{width_ns // SLOT_NS} ELSE -1 END"
    select = f"SELECT {bucket}, status, sum(runs) FROM tally WHERE kind='time' AND {of_status} GROUP BY 1, 2"
    for number, status, count in execute(select):
        numbers.status[status] += count
        numbers.add_bucket(number, status, count)
    for where in ("trace>?", "trace IN apart AND trace<=?"):
        for row in _grouped(listing, "run", f"{where} AND +{of_status}", (listing.last,), width_ns):
            numbers.add(row, -1)


def _named(
    listing: Listing, counter: Counter[int | None], names_of: Callable[[str | None], Sequence[str | None]]
) -> Counter[str]:
    """Return how many runs have which name."""
    found = Counter[str]()
    for number, count in counter.items():
        for name in names_of(listing.name(number)) if number and count > 0 else ():
            if name:
                found[name] += count
    return found
