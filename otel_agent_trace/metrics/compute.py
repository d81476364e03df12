"""Provide `compute_metrics`, which counts runs into a report."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from otel_agent_trace.metrics.accumulate import count_run
from otel_agent_trace.metrics.comparison import MetricsComparison
from otel_agent_trace.metrics.dropped import Dropped, all_dropped, count_dropped
from otel_agent_trace.metrics.groups import grouping
from otel_agent_trace.metrics.report import MetricsReport
from otel_agent_trace.metrics.series import bucket_width_ns
from otel_agent_trace.metrics.sides import Sides
from otel_agent_trace.metrics.strata import DROPPED, POSSIBLE, WHOLE, Strata, Weight, weight_of
from otel_agent_trace.model import AgentRun
from otel_agent_trace.prices import Prices, PricesGiven
from otel_agent_trace.sampling import DroppedTraces

_NO_GROUPS: Mapping[str, Callable[[AgentRun], list[str]]] = MappingProxyType({})


def compute_metrics(
    runs: Iterable[AgentRun],
    *,
    bucket: str | timedelta | None = None,
    by: str | Iterable[str] | None = None,
    replays: bool = False,
    dropped: Iterable[DroppedTraces] = (),
    prices: PricesGiven = None,
) -> MetricsReport:
    """Count runs, one after the other, in memory that does not grow with their number.

    Args:
        runs: the outermost runs; their sub-agents' runs are found below their steps.
        bucket: the width of the buckets of `MetricsReport.series`: ``"15m"``, ``"1h"``, ``"1d"`` (units s, m, h, d, w)
            or a timedelta; without it there is no series.
        by: what the groups of `MetricsReport.by` are by, one key or several: ``agent``, ``model``, ``provider``, ``tool``,
            ``user_id`` (or ``user``), ``session_id`` (or ``session``), ``service``, ``version``, ``status``, ``tag``, ``prompt_name``, ``prompt_version``, ``environment``, ``metadata.KEY``,
            ``resource.KEY`` or ``score:NAME``; without it there are no groups.
        replays: whether runs that are replays of others count too.
        dropped: how many traces the sampler of these runs dropped, where it counted them: numbers of runs and rates are
            then exact, while everything else is estimated from the runs that were kept.
        prices: what model calls cost, where that is not, or not only, as ``genai-prices`` has it (extra ``cost``):
            ``{"[provider/]model": {"input": 3.0, "output": 15.0, "cache_read": 0.3}}`` in dollars a million tokens, or
            the path of a JSON file with such; by default that in ``OTEL_AGENT_TRACE_PRICES``.

    Raises:
        ConfigurationError: `bucket` is not a positive width, `by` is no such key, or `prices` are none.
    """
    return compute_report(runs, all_dropped(dropped), bucket=bucket, by=by, replays=replays, prices=Prices.of(prices))


def compute_report(
    runs: Iterable[AgentRun],
    dropped: Dropped,
    *,
    bucket: str | timedelta | None,
    by: str | Iterable[str] | None,
    replays: bool,
    prices: Prices,
) -> MetricsReport:
    """Count runs, and what is known of the traces that were dropped beside them; the arguments are as for `compute_metrics`.

    Raises:
        ConfigurationError: `bucket` is not a positive width, or `by` is no such key.
    """
    strata = empty_strata(bucket, by)
    names_of = {key: grouping(key) for key in strata.by}
    measured = (run for run in runs if replays or run.replay_of is None)
    _count(measured, (strata,), (dropped,), prices, names_of)
    return MetricsReport(strata)


def compute_comparison(
    runs: Iterable[AgentRun],
    sides: Sides,
    *,
    dropped: tuple[Dropped, Dropped] = (Dropped(), Dropped()),
    replays: bool = False,
    prices: PricesGiven = None,
) -> MetricsComparison:
    """Count runs into the reports of two sets of them, in one pass, and return these with their differences.

    A run that belongs to both sets counts in both. `dropped` is what is known of the traces that were dropped from each.
    """
    both = Strata(), Strata()
    measured = (run for run in runs if replays or run.replay_of is None)
    _count(measured, both, dropped, Prices.of(prices), sides_of=sides.of)
    before, after = map(MetricsReport, both)
    return MetricsComparison(before, after, sides.names)


def _count(
    runs: Iterable[AgentRun],
    all_strata: Sequence[Strata],
    all_dropped: Sequence[Dropped],
    prices: Prices,
    names_of: Mapping[str, Callable[[AgentRun], list[str]]] = _NO_GROUPS,
    *,
    sides_of: Callable[[AgentRun], Iterable[bool]] = lambda _: (True,),
) -> None:
    """Count runs into those of several strata of which `sides_of` returns True, and what was dropped beside each."""
    for strata, dropped in zip(all_strata, all_dropped, strict=True):
        for weight_of_dropped, counts in ((DROPPED, dropped.counted), (POSSIBLE, dropped.possible)):
            for count in counts:
                count_dropped(strata.at(weight_of_dropped), count)
    for (weight, _), of_cluster in itertools.groupby(runs, key=_cluster_of):
        clusters = [strata.at(WHOLE) if weight == 1 else strata.new_tally() for strata in all_strata]
        for run in of_cluster:
            names = {key: names(run) for key, names in names_of.items()}
            for cluster, is_in in zip(clusters, sides_of(run), strict=True):
                if is_in:
                    count_run(cluster, run, prices, names)
        for strata, cluster, dropped in zip(all_strata, clusters, all_dropped, strict=True):
            if weight != 1 and cluster.outcomes.runs:
                cluster.close()
                strata.at(Weight(weight, 1.0 if dropped.is_counted(run) else weight)).absorb(cluster)


def empty_strata(bucket: str | timedelta | None, by: str | Iterable[str] | None) -> Strata:
    """Return tallies with the arguments of `compute_metrics`, before anything is counted.

    Raises:
        ConfigurationError: `bucket` is not a positive width, or `by` is no such key.
    """
    keys = tuple(dict.fromkeys(_keys(by)))
    for key in keys:
        grouping(key)
    return Strata(bucket_ns=bucket_width_ns(bucket), by=keys)


def _cluster_of(run: AgentRun) -> tuple[float, object]:
    """Return the weight of a run, and what it shares with others that were kept together: in a sample, its trace."""
    weight = weight_of(run.sampling_probability)
    return weight, None if weight == 1 else run.trace_id or object()


def _keys(by: str | Iterable[str] | None) -> Iterable[Any]:
    if by is None:
        return ()
    return by if isinstance(by, Iterable) and not isinstance(by, str) else (by,)
