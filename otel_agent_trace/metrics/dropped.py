"""Count the traces that a sampler dropped and counted, so that numbers of runs are exact and not estimated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from otel_agent_trace.metrics.groups import group_name
from otel_agent_trace.metrics.outcome_tally import OutcomeTally
from otel_agent_trace.metrics.series import bucket_start_ns
from otel_agent_trace.metrics.tally import RunTally
from otel_agent_trace.model import AgentRun, RunStatus
from otel_agent_trace.query import INTERRUPTED, RunQuery
from otel_agent_trace.runs.names import UNKNOWN, shortened
from otel_agent_trace.sampling import NS_PER_HOUR, DroppedTraces

COUNTED_KEYS = ("agent", "status")
"""Keys of groups in which it is known how many runs were dropped."""
_COUNTED_FILTERS = {"agent", "status", "since", "until", "prices"}
"""Fields of a query with which it is known how many dropped runs it selects, hour by hour; prices select none."""


def are_buckets_counted(bucket_ns: int) -> bool:
    """Return whether it is known how many runs were dropped in each bucket of a width: whole hours."""
    return bucket_ns % NS_PER_HOUR == 0


def count_dropped(tally: RunTally, dropped: DroppedTraces) -> None:
    """Count dropped traces as one run each, by status, wherever it is known that they belong."""
    status = RunStatus.RUNNING.value if dropped.status == INTERRUPTED else dropped.status
    for outcomes in _outcomes_of(tally, dropped):
        outcomes.statuses[status] += dropped.traces


def _outcomes_of(tally: RunTally, dropped: DroppedTraces) -> Iterator[OutcomeTally]:
    yield tally.outcomes
    yield tally.agents.at(shortened(dropped.agent or UNKNOWN)).outcomes
    for key in COUNTED_KEYS:
        if key in tally.groups:
            yield tally.groups[key].at(group_name(getattr(dropped, key))).outcomes
    if tally.bucket_ns is not None and are_buckets_counted(tally.bucket_ns):
        yield tally.series.at(bucket_start_ns(dropped.hour_ns, tally.bucket_ns))


class Dropped(NamedTuple):
    """Hold what is known of the traces that a sampler dropped from a set of runs.

    Attributes:
        counted: counts of those that belong to the set.
        possible: counts of those that may belong to it, or some of them.
        is_counted: a function that returns whether all traces like that of a kept run, which belongs to the set, were counted.
    """

    counted: Sequence[DroppedTraces] = ()
    possible: Sequence[DroppedTraces] = ()
    is_counted: Callable[[AgentRun], bool] = lambda _: False


def counts_of(source: Any) -> list[DroppedTraces]:
    """Return the counts that a source has of dropped traces; none where it has no such method."""
    counts: list[DroppedTraces] = source.dropped() if hasattr(source, "dropped") else []
    return counts


def all_dropped(counts: Iterable[DroppedTraces]) -> Dropped:
    """Return what was dropped of runs all of which have been counted, unless there are no counts, or none is certain."""
    return dropped_of(counts, RunQuery())


def dropped_of(counts: Iterable[DroppedTraces], query: RunQuery) -> Dropped:
    """Return what was dropped of the runs that a query selects.

    With filters by anything but agent, status and time, nobody knows whether a dropped trace belongs to them; nor is it known
    of those of an hour that is selected in part, or of which the source itself has counts that are not certain.
    """
    given = [*counts]
    is_known = any(count.is_certain for count in given) and query.given().keys() <= _COUNTED_FILTERS
    fitting = [count for count in given if _fits(count, query)]
    in_doubt = {count.hour_ns for count in given if not (count.is_certain and _is_whole(count.hour_ns, query))}

    def is_counted(hour_ns: int) -> bool:
        return is_known and hour_ns not in in_doubt

    return Dropped(
        [count for count in fitting if is_counted(count.hour_ns)],
        [count for count in fitting if not is_counted(count.hour_ns)],
        lambda run: is_counted(bucket_start_ns(run.started_at_ns, NS_PER_HOUR)),
    )


def _is_whole(hour_ns: int, query: RunQuery) -> bool:
    """Return whether a query selects a whole hour."""
    since_ns, until_ns = query.since_ns, query.until_ns
    return (since_ns is None or since_ns <= hour_ns) and (until_ns is None or hour_ns + NS_PER_HOUR <= until_ns)


def _fits(count: DroppedTraces, query: RunQuery) -> bool:
    """Return whether the traces of a count may be among those that a query selects."""
    statuses = {query.status, *([INTERRUPTED] if query.status == RunStatus.RUNNING.value else [])}
    return (
        query.agent in (None, count.agent)
        and (query.status is None or count.status in statuses)
        and (query.since_ns is None or count.hour_ns + NS_PER_HOUR > query.since_ns)
        and (query.until_ns is None or count.hour_ns < query.until_ns)
    )
