"""Define the figures of a report, plain and frozen.

Counts are 0, and rates, means and quantiles None, where nothing was counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from otel_agent_trace.metrics.intervals import rate, wilson_interval
from otel_agent_trace.metrics.sketch import RELATIVE_ACCURACY, Distribution
from otel_agent_trace.metrics.table import Table
from otel_agent_trace.metrics.tally import AgentTally, CallTally, GroupTally, OutcomeTally, ScoreTally
from otel_agent_trace.model import RunStatus, at_time
from otel_agent_trace.query import PAUSED

T = TypeVar("T")
_NS_PER_S = 1_000_000_000
_PERCENTILES = (50, 90, 95, 99)
_ROUNDED_BELOW = 0.5 / RELATIVE_ACCURACY


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Represent durations in seconds. Quantiles are within 1 % of the true ones, everything else is exact."""

    count: int = 0
    total_s: float = 0.0
    mean_s: float | None = None
    min_s: float | None = None
    max_s: float | None = None
    p50_s: float | None = None
    p90_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Represent counts of something, one each time; quantiles are within 1 % of the true ones, exact below 50."""

    count: int = 0
    mean: float | None = None
    min: int | None = None
    max: int | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Represent the tokens of model calls. Cached tokens are part of the input, reasoning tokens part of the output."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    reasoning_output_tokens: int = 0


class ToolMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Represent the calls of one tool, those of sub-agents included.

    `abandoned` calls never reported their end, `paused` ones were ended by a signal: they are no errors and have no
    latency. `error_rate` is errors by calls, without the paused ones.
    """

    calls: int = 0
    errors: int = 0
    abandoned: int = 0
    paused: int = 0
    error_rate: float | None = None
    latency: Latency = Latency()

    @property
    def interrupted(self) -> int:
        """Return `paused` by its former name."""
        return self.paused


class ModelMetrics(ToolMetrics, frozen=True, kw_only=True):
    """Represent the calls of one model, those of sub-agents included, and their tokens."""

    tokens: Tokens = Tokens()


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """Represent how outermost runs ended.

    `success_rate` is of the `finished` runs (all but the running ones and the paused ones), `success_interval` its 95 % Wilson interval
    (low, high); `latency` is of the finished ones whose end is known. `tokens` are of all runs, with those below them.
    """

    runs: int = 0
    running: int = 0
    success: int = 0
    errors: int = 0
    timeouts: int = 0
    paused: int = 0
    finished: int = 0
    success_rate: float | None = None
    success_interval: tuple[float, float] | None = None
    latency: Latency = Latency()
    tokens: Tokens = Tokens()

    @property
    def interrupted(self) -> int:
        """Return `paused` by its former name."""
        return self.paused


class AgentMetrics(Outcomes, frozen=True, kw_only=True):
    """Represent the runs of one agent; only `nested_runs` counts the runs that it made for another agent."""

    nested_runs: int = 0


class ScoreMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Represent the scores of one name that count, those of steps and sub-agents included; `runs` have any of them.

    Bools are counted in `true` and `false`; `true_rate` has `true_interval`, its 95 % Wilson interval (low, high). Finite
    numbers are counted in `numbers`; their `mean` has `mean_interval`, its 95 % interval by Student's t distribution,
    which is None for fewer than two. `labels` are counts by label, the most frequent first, whether beside a value or not.
    """

    count: int = 0
    runs: int = 0
    true: int = 0
    false: int = 0
    true_rate: float | None = None
    true_interval: tuple[float, float] | None = None
    numbers: int = 0
    mean: float | None = None
    mean_interval: tuple[float, float] | None = None
    min: float | None = None
    max: float | None = None
    labels: dict[str, int] = {}


class GroupMetrics(Outcomes, frozen=True, kw_only=True):
    """Represent the runs of one group, and their scores by name."""

    scores: dict[str, ScoreMetrics] = {}


class Bucket(Outcomes, frozen=True, kw_only=True):
    """Represent the runs that began from `start` (UTC) on, within one bucket; None for all before the buckets kept."""

    start: datetime | None = None


class ErrorMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Represent the runs and steps that failed with an error of that type and message; `count` is both together.

    An error that fails a step and then its run counts once for each. In `message` ids and long numbers are ``#``; it
    ends in an ellipsis where messages were truncated to group them.
    """

    type: str
    message: str
    count: int = 0
    runs: int = 0
    steps: int = 0


def latency(durations_ns: Distribution) -> Latency:
    """Return the figures of durations in nanoseconds."""
    return Latency(
        count=durations_ns.count,
        total_s=durations_ns.total / _NS_PER_S,
        mean_s=rate(durations_ns.total, durations_ns.count * _NS_PER_S),
        min_s=_seconds(durations_ns.minimum),
        max_s=_seconds(durations_ns.maximum),
        **{f"p{percent}_s": _seconds(durations_ns.percentile(percent)) for percent in _PERCENTILES},
    )


def sizes(counts: Distribution) -> Sizes:
    """Return the figures of counts of something."""
    return Sizes(
        count=counts.count,
        mean=rate(counts.total, counts.count),
        min=counts.minimum,
        max=counts.maximum,
        **{f"p{percent}": _rounded_if_certain(counts.percentile(percent)) for percent in _PERCENTILES},
    )


def tokens(counts: Counter[str]) -> Tokens:
    """Return the figures of tokens by kind."""
    return Tokens(total_tokens=counts["input_tokens"] + counts["output_tokens"], **counts)


def tool(tally: CallTally) -> ToolMetrics:
    """Return the figures of a tool."""
    return ToolMetrics(**_call_figures(tally))


def model(tally: CallTally) -> ModelMetrics:
    """Return the figures of a model."""
    return ModelMetrics(**_call_figures(tally), tokens=tokens(tally.tokens))


def outcomes(tally: OutcomeTally) -> Outcomes:
    """Return the figures of runs."""
    return Outcomes(**_outcome_figures(tally))


def agent(tally: AgentTally) -> AgentMetrics:
    """Return the figures of an agent."""
    return AgentMetrics(**_outcome_figures(tally.outcomes), nested_runs=tally.nested_runs)


def score(tally: ScoreTally) -> ScoreMetrics:
    """Return the figures of the scores of one name."""
    numbers, bools = tally.numbers, tally.true + tally.false
    return ScoreMetrics(
        count=tally.count,
        runs=tally.runs,
        true=tally.true,
        false=tally.false,
        true_rate=rate(tally.true, bools),
        true_interval=wilson_interval(tally.true, bools),
        numbers=numbers.count,
        mean=numbers.mean(),
        mean_interval=numbers.mean_interval(),
        min=numbers.minimum,
        max=numbers.maximum,
        labels=by_name(tally.labels, lambda times: times.count, int),
    )


def group(tally: GroupTally) -> GroupMetrics:
    """Return the figures of a group."""
    scores = by_name(tally.scores, score, lambda figures: figures.count)
    return GroupMetrics(**_outcome_figures(tally.outcomes), scores=scores)


def by_name(table: Table[str, Any], figure: Callable[[Any], T], size: Callable[[T], int]) -> dict[str, T]:
    """Return the figures of a table by name, the largest first."""
    figures = {name: figure(tally) for name, tally in table.items()}
    return dict(sorted(figures.items(), key=lambda item: (-size(item[1]), item[0])))


def bucket(start_ns: int | None, tally: OutcomeTally) -> Bucket:
    """Return the figures of a bucket."""
    return Bucket(**_outcome_figures(tally), start=None if start_ns is None else at_time(start_ns))


def _call_figures(tally: CallTally) -> dict[str, Any]:
    return {
        "calls": tally.calls,
        "errors": tally.errors,
        "abandoned": tally.abandoned,
        "paused": tally.paused,
        "error_rate": rate(tally.errors, tally.calls - tally.paused),
        "latency": latency(tally.latency_ns),
    }


def _outcome_figures(tally: OutcomeTally) -> dict[str, Any]:
    runs, running = sum(tally.statuses.values()), tally.statuses[RunStatus.RUNNING.value]
    success, paused = tally.statuses[RunStatus.SUCCESS.value], tally.statuses[PAUSED]
    finished = runs - running - paused
    return {
        "runs": runs,
        "running": running,
        "success": success,
        "errors": tally.statuses[RunStatus.ERROR.value],
        "timeouts": tally.statuses[RunStatus.TIMEOUT.value],
        "paused": paused,
        "finished": finished,
        "success_rate": rate(success, finished),
        "success_interval": wilson_interval(success, finished),
        "latency": latency(tally.latency_ns),
        "tokens": tokens(tally.tokens),
    }


def _seconds(duration_ns: float | None) -> float | None:
    return None if duration_ns is None else duration_ns / _NS_PER_S


def _rounded_if_certain(estimate: float | None) -> float | None:
    """Return the whole number that an estimate stands for, where only one is within the error."""
    return float(round(estimate)) if estimate is not None and estimate < _ROUNDED_BELOW else estimate
