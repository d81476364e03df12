"""Define the figures of a report, plain and frozen.

Counts are 0, and rates, means and quantiles None, where nothing was counted. In a sample all but the least and greatest
values are weighted estimates; `..._interval` then are 95 % intervals of what happened, None unless sampled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from otel_agent_trace.metrics.estimates import UNKNOWN, Bounds, agent_interval, share_interval, total_interval
from otel_agent_trace.metrics.intervals import rate
from otel_agent_trace.metrics.numbers import Numbers, mean_interval_of, mean_of
from otel_agent_trace.metrics.quantiles import Quantiles
from otel_agent_trace.metrics.sketch import RELATIVE_ACCURACY, Distribution
from otel_agent_trace.metrics.strata import Count, Sample, Weight
from otel_agent_trace.metrics.tally import (
    AgentTally,
    CallTally,
    CostTally,
    GroupTally,
    Occurrences,
    OutcomeTally,
    ScoreTally,
    Texts,
    Times,
)
from otel_agent_trace.metrics.unseen import are_counts_of, success_intervals
from otel_agent_trace.model import TOKEN_FIELDS, RunStatus, at_time
from otel_agent_trace.prices import PICO_USD_PER_USD
from otel_agent_trace.query import PAUSED

T = TypeVar("T")
V = TypeVar("V")
_NS_PER_S = 1_000_000_000
_FEWEST_KEPT = 30
_PERCENTILES = (50, 90, 95, 99)
_COUNTED = (*(status.value for status in RunStatus), PAUSED)
_ROUNDED_BELOW = 0.5 / RELATIVE_ACCURACY


class Sampled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Represent the sample that was read: how many runs it has, all weights aside.

    `has_unseen` is whether runs were dropped that no kept run stands for: all figures but numbers of runs and success rates
    are then of the kept ones. `perhaps_dropped` is how many runs were dropped of which it is not known whether they belong
    to the report.
    """

    runs: int
    has_unseen: bool = False
    perhaps_dropped: int = 0


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Represent durations in seconds. Quantiles are within 1 % of the true ones, everything else is exact."""

    count: Count = 0
    total_s: float = 0.0
    mean_s: float | None = None
    min_s: float | None = None
    max_s: float | None = None
    p50_s: float | None = None
    p90_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    p95_interval_s: Bounds | None = None


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """Represent counts of something, one each time; quantiles are within 1 % of the true ones, exact below 50."""

    count: Count = 0
    mean: float | None = None
    min: int | None = None
    max: int | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Represent the tokens of model calls. Cached tokens are part of the input, reasoning tokens part of the output.

    `cache_hit_share` is the share of the input that was read from a cache, from 0 to 1; None without any input.
    """

    input_tokens: Count = 0
    output_tokens: Count = 0
    total_tokens: Count = 0
    cache_read_input_tokens: Count = 0
    cache_write_input_tokens: Count = 0
    reasoning_output_tokens: Count = 0
    cache_hit_share: float | None = None


class UnpricedModel(msgspec.Struct, frozen=True, kw_only=True):
    """Represent the calls of a model that have tokens, but whose price is not known."""

    model: str
    calls: Count = 0


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Represent what all model calls cost in dollars: the sum of those that have a price, None where none has one.

    `unpriced` lists the models of the others, the most called first. `total_interval_usd` is the 95 % interval (low, high) of
    the sum over all runs of which these are a sample; None where they are no sample. Its upper bound is None where it is unknown.
    """

    total_usd: float | None = None
    total_interval_usd: Bounds | None = None
    unpriced: tuple[UnpricedModel, ...] = ()


class CallMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Represent the calls of one tool or model, those of sub-agents included.

    `abandoned` calls never reported their end, `paused` ones were ended by a signal: they are no errors and have no
    latency. `error_rate` is errors by calls, without the paused ones. `retries` are the calls before which the same call
    had failed in the same run. `cost_usd` is what the model
    calls below a call of the tool, or the calls of the model, cost in dollars; None where none of them has a price.
    """

    calls: Count = 0
    errors: Count = 0
    abandoned: Count = 0
    paused: Count = 0
    error_rate: float | None = None
    error_rate_interval: Bounds | None = None
    retries: Count = 0
    latency: Latency = Latency()
    cost_usd: float | None = None

    @property
    def interrupted(self) -> Count:
        """Return `paused` by its former name."""
        return self.paused


class ToolMetrics(CallMetrics, frozen=True, kw_only=True):
    """Represent the calls of one tool; `loops` are the runs in which it was called three times with the same input."""

    loops: Count = 0


class ModelMetrics(CallMetrics, frozen=True, kw_only=True):
    """Represent the calls of one model, their tokens, and what these cost (`cost_usd`).

    `first_chunk` is the time from the start of a call to the first chunk of its answer, where that was streamed.
    `tokens_per_s` are the output tokens of completed calls that reported some, by the whole durations of these calls.
    """

    tokens: Tokens = Tokens()
    first_chunk: Latency = Latency()
    tokens_per_s: float | None = None


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """Represent how outermost runs ended.

    `success_rate` is of the `finished` runs (all but the running ones and the paused ones), `success_interval` its 95 % Wilson interval
    (low, high); `latency` is of the finished ones whose end is known. `tokens` are of all runs, with those below them; so
    is `cost_usd`, what their model calls cost in dollars, None where none has a price.
    `first_chunk` is the time to the first chunk that a run streamed itself. `loops` are the runs in which a tool was
    called three times with the same input, `retries` the calls before which the same call had failed in the same run,
    `success_with_tool_errors` the runs that succeeded although a call of a tool failed.

    The success interval is of the agent's rate, in as many runs as one likes; in a sample, `sampling_interval` is of the
    rate of the runs that happened. `too_few` is whether it is a sample in which fewer than 30 runs were kept.
    """

    runs: Count = 0
    running: Count = 0
    success: Count = 0
    errors: Count = 0
    timeouts: Count = 0
    paused: Count = 0
    finished: Count = 0
    success_rate: float | None = None
    success_interval: tuple[float, float] | None = None
    sampling_interval: Bounds | None = None
    too_few: bool = False
    latency: Latency = Latency()
    first_chunk: Latency = Latency()
    tokens: Tokens = Tokens()
    loops: Count = 0
    retries: Count = 0
    success_with_tool_errors: Count = 0
    cost_usd: float | None = None

    @property
    def interrupted(self) -> Count:
        """Return `paused` by its former name."""
        return self.paused


class AgentMetrics(Outcomes, frozen=True, kw_only=True):
    """Represent the runs of one agent; only `nested_runs` counts the runs that it made for another agent."""

    nested_runs: Count = 0


class ScoreMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Represent the scores of one name that count, those of steps and sub-agents included; `runs` have any of them.

    Bools are counted in `true` and `false`; `true_rate` has `true_interval`, its 95 % Wilson interval (low, high). Finite
    numbers are counted in `numbers`; their `mean` has `mean_interval`, its 95 % interval by Student's t distribution,
    which is None for fewer than two. `labels` are counts by label, the most frequent first, whether beside a value or not.
    """

    count: Count = 0
    runs: Count = 0
    true: Count = 0
    false: Count = 0
    true_rate: float | None = None
    true_interval: tuple[float, float] | None = None
    numbers: Count = 0
    mean: float | None = None
    mean_interval: tuple[float, float] | None = None
    min: float | None = None
    max: float | None = None
    labels: dict[str, Count] = {}


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
    count: Count = 0
    runs: Count = 0
    steps: Count = 0


def latency(durations_ns: Sample[Distribution]) -> Latency:
    """Return the figures of durations in nanoseconds."""
    quantiles = Quantiles(durations_ns)
    count = durations_ns.total(lambda part: part.count)
    total = durations_ns.total(lambda part: part.total)
    interval = quantiles.interval(95)
    return Latency(
        count=count,
        total_s=total / _NS_PER_S,
        mean_s=rate(total, count * _NS_PER_S),
        min_s=_seconds(quantiles.minimum),
        max_s=_seconds(quantiles.maximum),
        **{f"p{percent}_s": _seconds(quantiles.at(percent)) for percent in _PERCENTILES},
        p95_interval_s=None if interval is None else (_seconds(interval[0]), _seconds(interval[1])),
    )


def sizes(counts: Sample[Distribution]) -> Sizes:
    """Return the figures of counts of something."""
    quantiles = Quantiles(counts)
    count = counts.total(lambda part: part.count)
    return Sizes(
        count=count,
        mean=rate(counts.total(lambda part: part.total), count),
        min=quantiles.minimum,
        max=quantiles.maximum,
        **{f"p{percent}": _rounded_if_certain(quantiles.at(percent)) for percent in _PERCENTILES},
    )


def tokens(counts: Sample[Counter[str]]) -> Tokens:
    """Return the figures of tokens by kind."""
    sums = {name: counts.total(lambda counter: counter[name]) for name in TOKEN_FIELDS}  # noqa: B023 - called at once
    return Tokens(
        total_tokens=sums["input_tokens"] + sums["output_tokens"],
        cache_hit_share=rate(sums["cache_read_input_tokens"], sums["input_tokens"]),
        **sums,
    )


def cost_usd(sample: Sample[CostTally]) -> float | None:
    """Return what calls cost in dollars; None where none has a price."""
    is_priced = any(tally.calls for _, tally in sample.parts)
    return sample.total(lambda tally: tally.pico_usd) / PICO_USD_PER_USD if is_priced else None


def cost(costs: Sample[CostTally], unpriced: dict[str, Sample[Times]]) -> Cost:
    """Return the figures of what calls cost, given those without a price by model."""
    calls = by_name(unpriced, lambda times: times.total(lambda tally: tally.count), float)
    total, kept = costs.total(attrgetter("pico_usd")), costs.kept(attrgetter("pico_usd"))
    total_usd, bounds = cost_usd(costs), total_interval(costs.of(lambda tally: tally.traces), total, kept)
    low, high = (None if bound is None else bound / PICO_USD_PER_USD for bound in bounds or UNKNOWN)
    return Cost(
        total_usd=total_usd,
        total_interval_usd=None if total_usd is None or bounds is None else (low, high),
        unpriced=tuple([UnpricedModel(model=name, calls=count) for name, count in calls.items()]),
    )


def tool(sample: Sample[CallTally]) -> ToolMetrics:
    """Return the figures of a tool."""
    return ToolMetrics(**_call_figures(sample), loops=sample.total(attrgetter("loops")))


def model(sample: Sample[CallTally]) -> ModelMetrics:
    """Return the figures of a model."""
    output_ns = sample.total(attrgetter("output_ns"))
    return ModelMetrics(
        **_call_figures(sample),
        tokens=tokens(sample.of(lambda tally: tally.tokens)),
        first_chunk=latency(sample.of(lambda tally: tally.first_chunk_ns)),
        tokens_per_s=rate(sample.total(attrgetter("timed_output_tokens")) * _NS_PER_S, output_ns),
    )


def outcomes(sample: Sample[OutcomeTally]) -> Outcomes:
    """Return the figures of runs."""
    return Outcomes(**_outcome_figures(sample))


def agent(sample: Sample[AgentTally]) -> AgentMetrics:
    """Return the figures of an agent."""
    figures = _outcome_figures(sample.of(lambda tally: tally.outcomes))
    return AgentMetrics(**figures, nested_runs=sample.total(lambda tally: tally.nested_runs))


def score(sample: Sample[ScoreTally]) -> ScoreMetrics:
    """Return the figures of the scores of one name."""
    of_numbers = sample.of(lambda tally: tally.numbers)
    whole, numbers = of_numbers.merged(Numbers), of_numbers.weighted()
    true, false = sample.total(lambda tally: tally.true), sample.total(lambda tally: tally.false)
    squares = sample.sum(lambda weight, tally: weight * weight * (tally.true + tally.false))
    return ScoreMetrics(
        count=sample.total(lambda tally: tally.count),
        runs=sample.total(lambda tally: tally.runs),
        true=true,
        false=false,
        true_rate=rate(true, true + false),
        true_interval=None if sample.has_unseen else agent_interval(true, true + false, squares),
        numbers=sample.total(lambda tally: tally.numbers.count),
        mean=mean_of(numbers),
        mean_interval=None if sample.has_unseen else mean_interval_of(numbers),
        min=whole.minimum,
        max=whole.maximum,
        labels=by_name(
            sample.by_key(lambda tally: tally.labels), lambda times: times.total(lambda tally: tally.count), float
        ),
    )


def group(sample: Sample[GroupTally]) -> GroupMetrics:
    """Return the figures of a group."""
    scores = by_name(sample.by_key(lambda tally: tally.scores), score, lambda figures: figures.count)
    return GroupMetrics(**_outcome_figures(sample.of(lambda tally: tally.outcomes)), scores=scores)


def error_messages(name: str, sample: Sample[Texts]) -> Iterator[ErrorMessage]:
    """Yield the figures of the messages of one type of error."""
    whole = sample.merged(Texts)
    seen: dict[str, list[tuple[Weight, Occurrences]]] = {}
    for weight, texts in sample.parts:
        for text, occurrences in texts.by_text.items():
            seen.setdefault(text[: whole.width], []).append((weight, occurrences))
    for text, parts in seen.items():
        runs, steps = (Sample(tuple(parts)).total(attrgetter(each)) for each in ("runs", "steps"))
        yield ErrorMessage(type=name, message=whole.shown(text), count=runs + steps, runs=runs, steps=steps)


def by_name(
    samples: dict[str, Sample[V]], figure: Callable[[Sample[V]], T], size: Callable[[T], float]
) -> dict[str, T]:
    """Return the figures of samples by name, the largest first."""
    figures = {name: figure(sample) for name, sample in samples.items()}
    return dict(sorted(figures.items(), key=lambda item: (-size(item[1]), item[0])))


def bucket(start_ns: int | None, sample: Sample[OutcomeTally]) -> Bucket:
    """Return the figures of a bucket."""
    return Bucket(**_outcome_figures(sample), start=None if start_ns is None else at_time(start_ns))


def _call_figures(sample: Sample[CallTally]) -> dict[str, Any]:
    counts = {name: sample.total(attrgetter(name)) for name in ("calls", "errors", "abandoned", "paused", "retries")}
    ended = counts["calls"] - counts["paused"]
    interval = share_interval(sample.of(lambda tally: tally.traces), counts["errors"], ended, if_all_failed=1.0)
    return {
        **counts,
        "error_rate": rate(counts["errors"], ended),
        "error_rate_interval": UNKNOWN if interval and sample.has_unseen else interval,
        "latency": latency(sample.of(lambda tally: tally.latency_ns)),
        "cost_usd": cost_usd(sample.of(lambda tally: tally.cost)),
    }


def _outcome_figures(sample: Sample[OutcomeTally]) -> dict[str, Any]:
    return {
        **_status_figures(sample.counted() if are_counts_of(sample) else sample.estimated()),
        "too_few": sample.is_sampled and sample.kept(lambda tally: tally.runs) < _FEWEST_KEPT,
        "latency": latency(sample.of(lambda tally: tally.latency_ns)),
        "first_chunk": latency(sample.of(lambda tally: tally.first_chunk_ns)),
        "tokens": tokens(sample.of(lambda tally: tally.tokens)),
        **{name: sample.total(attrgetter(name)) for name in ("loops", "retries", "success_with_tool_errors")},
        "cost_usd": cost_usd(sample.of(lambda tally: tally.cost)),
    }


def _status_figures(sample: Sample[OutcomeTally]) -> dict[str, Any]:
    by_status = {status: sample.total(lambda tally: tally.statuses[status]) for status in _COUNTED}  # noqa: B023 - likewise
    success, finished = by_status[RunStatus.SUCCESS.value], sample.total(lambda tally: tally.finished)
    intervals = success_intervals(sample)
    return {
        "runs": sample.total(lambda tally: tally.runs),
        "running": by_status[RunStatus.RUNNING.value],
        "success": success,
        "errors": by_status[RunStatus.ERROR.value],
        "timeouts": by_status[RunStatus.TIMEOUT.value],
        "paused": by_status[PAUSED],
        "finished": finished,
        "success_rate": rate(success, finished),
        "success_interval": intervals.of_agent,
        "sampling_interval": intervals.of_runs,
    }


def _seconds(duration_ns: float | None) -> float | None:
    return None if duration_ns is None else duration_ns / _NS_PER_S


def _rounded_if_certain(estimate: float | None) -> float | None:
    """Return the whole number that an estimate stands for, where only one is within the error."""
    return float(round(estimate)) if estimate is not None and estimate < _ROUNDED_BELOW else estimate
