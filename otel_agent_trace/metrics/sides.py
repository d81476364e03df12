"""Read what two sets of runs are to be compared: two windows of time, as ``7d``, or two groups, as ``version=1.2,1.3``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from otel_agent_trace.errors import ConfigurationError
from otel_agent_trace.keywords import shown
from otel_agent_trace.metrics.dropped import COUNTED_KEYS, Dropped, dropped_of
from otel_agent_trace.metrics.groups import group_name, grouping
from otel_agent_trace.metrics.series import bucket_width_ns
from otel_agent_trace.model import AgentRun
from otel_agent_trace.query import RunQuery
from otel_agent_trace.sampling import DroppedTraces

Counts = Sequence[DroppedTraces]


class Sides(NamedTuple):
    """Hold two sets of runs.

    Attributes:
        names: the names of the sets.
        of: a function that returns for a run whether it belongs to the first set, and to the second.
        dropped: a function that returns what was dropped from each set, of the counts of a source, and of a query that
            selects the runs of both.
        since: the time before which no run belongs to either; None without one.
    """

    names: tuple[str, str]
    of: Callable[[AgentRun], tuple[bool, bool]]
    dropped: Callable[[Counts, RunQuery], tuple[Dropped, Dropped]]
    since: datetime | None = None


def sides_of(given: str, until: datetime) -> Sides:
    """Return the sets that a text stands for; windows of time end at `until`.

    Raises:
        ConfigurationError: it is no such text, or the groups are by no known key.
    """
    key, sign, names = given.partition("=")
    sides = _groups(key.strip(), names) if sign else _windows(given.strip(), until)
    if sides is None:
        raise ConfigurationError(
            'compare must be a time like "7d" (the last 7 days with the 7 days before), or two groups like '
            f'"version=1.2,1.3", got {shown(given)}'
        )
    return sides


def _groups(key: str, names: str) -> Sides | None:
    groups_of = grouping(key)
    before, *others = (name.strip() for name in names.split(","))
    if len(others) != 1 or not before or not others[0] or before == others[0]:
        return None
    after = others[0]

    def side_of(run: AgentRun) -> tuple[bool, bool]:
        return before in groups_of(run), after in groups_of(run)

    def dropped(counts: Counts, query: RunQuery) -> tuple[Dropped, Dropped]:
        return _dropped_of_group(key, before, counts, query), _dropped_of_group(key, after, counts, query)

    return Sides((f"{key} {before}", f"{key} {after}"), side_of, dropped)


def _dropped_of_group(key: str, name: str, counts: Counts, query: RunQuery) -> Dropped:
    """Return what was dropped of the runs of a group; where nothing is counted by its key, all may belong to it."""
    if key in COUNTED_KEYS:
        known = dropped_of(counts, query)
        counted, possible = (
            [count for count in each if group_name(getattr(count, key)) == name]
            for each in (known.counted, known.possible)
        )
        return Dropped(counted, possible, known.is_counted)
    anywhere = dropped_of(counts, query)
    return Dropped(possible=[*anywhere.counted, *anywhere.possible])


def _windows(width: str, until: datetime) -> Sides | None:
    try:
        width_s = (bucket_width_ns(width) or 0) / 1_000_000_000
        middle, since = (until - timedelta(seconds=times * width_s) for times in (1, 2))
    except (ConfigurationError, OverflowError):
        return None

    def side_of(run: AgentRun) -> tuple[bool, bool]:
        return since <= run.started_at < middle, middle <= run.started_at < until

    def dropped(counts: Counts, query: RunQuery) -> tuple[Dropped, Dropped]:
        return dropped_of(counts, query.but(since=since, until=middle)), dropped_of(counts, query.but(since=middle))

    return Sides((f"the {width} before", f"the last {width}"), side_of, dropped, since)
