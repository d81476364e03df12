"""Provide `compute_metrics`, which counts runs into a report."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from otel_agent_trace.metrics.accumulate import count_run
from otel_agent_trace.metrics.groups import grouping
from otel_agent_trace.metrics.report import MetricsReport
from otel_agent_trace.metrics.series import bucket_width_ns
from otel_agent_trace.metrics.strata import Strata, weight_of
from otel_agent_trace.model import AgentRun


def compute_metrics(
    runs: Iterable[AgentRun],
    *,
    bucket: str | timedelta | None = None,
    by: str | Iterable[str] | None = None,
    replays: bool = False,
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

    Raises:
        ConfigurationError: `bucket` is not a positive width, or `by` is no such key.
    """
    names_of = {key: grouping(key) for key in _keys(by)}
    strata = Strata(bucket_ns=bucket_width_ns(bucket), by=tuple(names_of))
    for run in runs:
        if replays or run.replay_of is None:
            tally = strata.at(weight_of(run.sampling_probability))
            count_run(tally, run, {key: names(run) for key, names in names_of.items()})
    return MetricsReport(strata)


def _keys(by: str | Iterable[str] | None) -> Iterable[Any]:
    if by is None:
        return ()
    return by if isinstance(by, Iterable) and not isinstance(by, str) else (by,)
