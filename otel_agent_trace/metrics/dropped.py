"""Count the traces that a sampler dropped and counted, so that numbers of runs are exact and not estimated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from otel_agent_trace.metrics.groups import group_name
from otel_agent_trace.metrics.series import bucket_start_ns
from otel_agent_trace.metrics.tally import OutcomeTally, RunTally
from otel_agent_trace.model import RunStatus
from otel_agent_trace.query import INTERRUPTED, RunQuery
from otel_agent_trace.runs.names import UNKNOWN, shortened
from otel_agent_trace.sampling import NS_PER_HOUR, DroppedTraces

COUNTED_KEYS = ("agent", "status")
"""Keys of groups in which it is known how many runs were dropped."""
_COUNTED_FILTERS = {"agent", "status", "since", "until"}


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


def dropped_that_fit(counts: Iterable[DroppedTraces], query: RunQuery) -> list[DroppedTraces]:
    """Return the counts of the traces that a query would have selected; none where that is not known of all of them."""
    times_ns = [time_ns for time_ns in (query.since_ns, query.until_ns) if time_ns is not None]
    if not query.given().keys() <= _COUNTED_FILTERS or any(time_ns % NS_PER_HOUR for time_ns in times_ns):
        return []
    return [count for count in counts if _fits(count, query)]


def _fits(count: DroppedTraces, query: RunQuery) -> bool:
    statuses = {query.status, *([INTERRUPTED] if query.status == RunStatus.RUNNING.value else [])}
    return (
        query.agent in (None, count.agent)
        and (query.status is None or count.status in statuses)
        and (query.since_ns is None or count.hour_ns >= query.since_ns)
        and (query.until_ns is None or count.hour_ns < query.until_ns)
    )
