"""Provide `compare_metrics`: what differs between two reports, and whether that may be chance."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from otel_agent_trace.metrics.differences import (
    Estimate,
    Mean,
    MetricsDifference,
    Sums,
    difference,
    difference_of_means,
    mean,
    share,
)
from otel_agent_trace.metrics.intervals import Z
from otel_agent_trace.metrics.numbers import PARTS
from otel_agent_trace.metrics.of_samples import latency
from otel_agent_trace.metrics.outcome_tally import OutcomeTally
from otel_agent_trace.metrics.quantiles import Quantiles
from otel_agent_trace.metrics.report import MetricsReport
from otel_agent_trace.metrics.sketch import RELATIVE_ACCURACY, Distribution
from otel_agent_trace.metrics.strata import Sample
from otel_agent_trace.metrics.table import Table, Tally
from otel_agent_trace.metrics.tally import CallTally, RunTally, ScoreTally
from otel_agent_trace.notebooks import ShownInNotebooks
from otel_agent_trace.prices import PICO_USD_PER_USD

V = TypeVar("V", bound=Tally)
_NS_PER_S = 1_000_000_000
_PERCENTILES = (50, 95)
Differences = Mapping[str, MetricsDifference]
"""Type of differences by figure."""


@dataclass(frozen=True, repr=False)
class MetricsComparison(ShownInNotebooks):
    """Hold two reports, their names, and the differences between them, as `compare_metrics` returns them.

    Intervals are of the agent's own figures, in as many runs as one likes, and suppose that runs and calls are
    independent of each other, and that the reports share none.
    """

    before: MetricsReport
    after: MetricsReport
    names: tuple[str, str] = ("before", "after")

    def __repr__(self) -> str:
        return (
            f"<MetricsComparison of {self.before.runs} runs ({self.names[0]}) and {self.after.runs} ({self.names[1]})>"
        )

    @cached_property
    def differences(self) -> Differences:
        """Return the differences of ``success_rate``, ``latency_p50_s``, ``latency_p95_s``, ``tokens_per_run``,
        ``cost_usd_per_run`` and ``loop_rate``, the share of runs with a loop.
        """
        samples = [sample.of(lambda tally: tally.outcomes) for sample in self._samples]
        rates = [Estimate(report.success_rate, report.success_interval) for report in self._reports]
        loops = [share(sample, attrgetter("loops"), _number_of_runs) for sample in samples]
        return MappingProxyType(
            {
                "success_rate": difference(*rates),
                **_latencies([sample.of(lambda tally: tally.latency_ns) for sample in samples], "latency_"),
                "tokens_per_run": difference_of_means(*(mean(sample.of(_token_sums)) for sample in samples)),
                "cost_usd_per_run": difference_of_means(*map(_cost_per_run, samples)),
                "loop_rate": difference(*loops),
            }
        )

    @cached_property
    def tools(self) -> Mapping[str, Differences]:
        """Return the differences of ``error_rate``, ``p50_s`` and ``p95_s`` by tool, the most called first."""
        return self._by_name(
            lambda tally: tally.tools, _differences_of_calls, [report.tools for report in self._reports]
        )

    @cached_property
    def models(self) -> Mapping[str, Differences]:
        """Return the differences of ``error_rate``, ``p50_s`` and ``p95_s`` by model, the most called first."""
        names = [report.models for report in self._reports]
        return self._by_name(lambda tally: tally.models, _differences_of_calls, names)

    @cached_property
    def scores(self) -> Mapping[str, Differences]:
        """Return the differences of ``true_rate`` (of bools) and ``mean`` (of other numbers) by score."""
        names = [report.scores for report in self._reports]
        return self._by_name(lambda tally: tally.scores, _differences_of_scores, names)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-serializable data: the names, all differences, and both reports."""
        tables = ("tools", "models", "scores")
        data = {
            "names": self.names,
            "differences": dict(self.differences),
            **{table: {name: dict(by) for name, by in getattr(self, table).items()} for table in tables},
        }
        plain: dict[str, Any] = json.loads(json.dumps(msgspec.to_builtins(data), allow_nan=False))
        return {**plain, "before": self.before.to_dict(), "after": self.after.to_dict()}

    @property
    def _reports(self) -> tuple[MetricsReport, MetricsReport]:
        return self.before, self.after

    @cached_property
    def _samples(self) -> list[Sample[RunTally]]:
        return [report._sample for report in self._reports]  # noqa: SLF001 - of this package

    def _by_name(
        self,
        table: Callable[[RunTally], Table[str, V]],
        differences: Callable[[list[Sample[V]]], dict[str, MetricsDifference]],
        names: Iterable[Iterable[str]],
    ) -> Mapping[str, Differences]:
        """Return the differences by name, in the order of the names in the second report, then in the first."""
        before, after = (sample.by_key(table) for sample in self._samples)
        first, second = names
        found = {
            name: differences([before.get(name, _NOTHING), after.get(name, _NOTHING)]) for name in (*second, *first)
        }
        return MappingProxyType({name: by for name, by in found.items() if by})


_NOTHING: Sample[Any] = Sample(())


def compare_metrics(before: MetricsReport, after: MetricsReport) -> MetricsComparison:
    """Return what differs between two reports, of runs before and after a change, with 95 % intervals.

    The reports must be of different runs. Their buckets and groups play no part.
    """
    return MetricsComparison(before, after)


def _number_of_runs(outcomes: OutcomeTally) -> int:
    return sum(outcomes.statuses.values())


def _token_sums(outcomes: OutcomeTally) -> Sums:
    tokens = outcomes.tokens["input_tokens"] + outcomes.tokens["output_tokens"]
    return Sums(_number_of_runs(outcomes), tokens, outcomes.token_squares)


def _cost_per_run(sample: Sample[OutcomeTally]) -> Mean:
    """Return the mean cost of all runs in dollars, those without a price at 0; None where no call has one."""
    is_priced = any(outcomes.cost.calls for _, outcomes in sample.parts)
    return mean(sample.of(_cost_sums), PICO_USD_PER_USD) if is_priced else Mean(None)


def _cost_sums(outcomes: OutcomeTally) -> Sums:
    return Sums(_number_of_runs(outcomes), outcomes.cost.pico_usd, outcomes.cost_squares)


def _latencies(samples: list[Sample[Distribution]], prefix: str = "") -> dict[str, MetricsDifference]:
    return {
        f"{prefix}p{percent}_s": difference(*(_quantile(sample, percent) for sample in samples))
        for percent in _PERCENTILES
    }


def _quantile(sample: Sample[Distribution], percent: int) -> Estimate:
    interval = _weighted_interval(sample, percent) if sample.is_sampled else _interval(sample, percent)
    seconds = None if interval is None else (interval[0] / _NS_PER_S, interval[1] / _NS_PER_S)
    return Estimate(getattr(latency(sample), f"p{percent}_s"), seconds)


def _interval(sample: Sample[Distribution], percent: int) -> tuple[float, float] | None:
    return sample.merged(Distribution).percentile_interval(percent)


def _weighted_interval(sample: Sample[Distribution], percent: int) -> tuple[float, float] | None:
    """Return the interval of a percentile that as many values would give as have equal weights and are as good."""
    total, squares = sample.total(lambda part: part.count), sample.sum(lambda weight, part: weight**2 * part.count)
    if not squares or sample.has_unseen:
        return None
    margin = Z * math.sqrt(percent * (100 - percent) * squares) / total
    quantiles = Quantiles(sample)
    low, high = quantiles.at(percent - margin), quantiles.at(percent + margin)
    if low is None or high is None or not margin < percent < 100 - margin:
        return None
    return low / (1 + RELATIVE_ACCURACY), high / (1 - RELATIVE_ACCURACY)


def _differences_of_calls(samples: list[Sample[CallTally]]) -> dict[str, MetricsDifference]:
    rates = [share(sample, attrgetter("errors"), lambda tally: tally.calls - tally.paused) for sample in samples]
    return {"error_rate": difference(*rates), **_latencies([sample.of(attrgetter("latency_ns")) for sample in samples])}


def _differences_of_scores(samples: list[Sample[ScoreTally]]) -> dict[str, MetricsDifference]:
    rates = [share(sample, attrgetter("true"), lambda tally: tally.true + tally.false) for sample in samples]
    means = [mean(sample.of(_number_sums), PARTS) for sample in samples]
    found = {"true_rate": difference(*rates), "mean": difference_of_means(*means)}
    return {figure: by for figure, by in found.items() if (by.before, by.after) != (None, None)}


def _number_sums(score: ScoreTally) -> Sums:
    return Sums(score.numbers.count, score.numbers.total, score.numbers.squares)
