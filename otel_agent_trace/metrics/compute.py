"""Provide `compute_metrics`, which counts runs into a report."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from otel_agent_trace.metrics.accumulate import count_run
from otel_agent_trace.metrics.dropped import count_dropped
from otel_agent_trace.metrics.groups import grouping
from otel_agent_trace.metrics.report import MetricsReport
from otel_agent_trace.metrics.series import bucket_width_ns
from otel_agent_trace.metrics.strata import DROPPED, Strata, Weight, weight_of
from otel_agent_trace.model import AgentRun
from otel_agent_trace.sampling import DroppedTraces


def compute_metrics(
    runs: Iterable[AgentRun],
    *,
    bucket: str | timedelta | None = None,
    by: str | Iterable[str] | None = None,
    replays: bool = False,
    dropped: Iterable[DroppedTraces] = (),
) -> MetricsReport:
    """Count runs, one after the other, in memory that does not grow with their number.

    Args:
        runs: the outermost runs; their sub-agents' runs are found below their steps.
        bucket: the width of the buckets of `MetricsReport.series`: ``"15m"``, ``"1h"``, ``"1d"`` (units s, m, h, d, w)
            or a timedelta; without it there is no series.
        by: what the groups of `MetricsReport.by` are by, one key or several: ``agent``, ``model``, ``user_id``, ``session_id``,
            ``service``, ``status``, ``tag``, ``prompt_name``, ``prompt_version``, ``environment``, ``metadata.KEY``,
            ``resource.KEY`` or ``score:NAME``; without it there are no groups.
        replays: whether runs that are replays of others count too.
        dropped: how many traces the sampler of these runs dropped, where it counted them: numbers of runs and rates are
            then exact, while everything else is estimated from the runs that were kept.

    Raises:
        ConfigurationError: `bucket` is not a positive width, or `by` is no such key.
    """
    names_of = {key: grouping(key) for key in _keys(by)}
    strata = Strata(bucket_ns=bucket_width_ns(bucket), by=tuple(names_of))
    counts = [*dropped]
    for count in counts:
        count_dropped(strata.at(DROPPED), count)
    measured = (run for run in runs if replays or run.replay_of is None)
    for (weight, _), of_cluster in itertools.groupby(measured, key=_cluster_of):
        tally = strata.at(Weight(weight, 1.0 if counts else weight))
        cluster = tally if weight == 1 else strata.new_tally()
        for run in of_cluster:
            count_run(cluster, run, {key: names(run) for key, names in names_of.items()})
        if cluster is not tally:
            cluster.close()
            tally.absorb(cluster)
    return MetricsReport(strata)


def _cluster_of(run: AgentRun) -> tuple[float, object]:
    """Return the weight of a run, and what it shares with others that were kept together: in a sample, its trace."""
    weight = weight_of(run.sampling_probability)
    return weight, None if weight == 1 else run.trace_id or object()


def _keys(by: str | Iterable[str] | None) -> Iterable[Any]:
    if by is None:
        return ()
    return by if isinstance(by, Iterable) and not isinstance(by, str) else (by,)
