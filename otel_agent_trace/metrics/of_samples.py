"""Compute figures of a report from samples of what was counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, TypeVar

from otel_agent_trace.metrics.error_messages import Occurrences, Texts
from otel_agent_trace.metrics.estimates import UNKNOWN, agent_interval, share_interval, total_interval
from otel_agent_trace.metrics.figures import (
    AgentMetrics,
    Bucket,
    Cost,
    ErrorMessage,
    GroupMetrics,
    Latency,
    ModelMetrics,
    Outcomes,
    ScoreMetrics,
    Sizes,
    Tokens,
    ToolMetrics,
    UnpricedModel,
)
from otel_agent_trace.metrics.intervals import rate
from otel_agent_trace.metrics.numbers import Numbers, mean_interval_of, mean_of
from otel_agent_trace.metrics.outcome_tally import STATUSES, CostTally, OutcomeTally, total_tokens
from otel_agent_trace.metrics.quantiles import Quantiles
from otel_agent_trace.metrics.sketch import RELATIVE_ACCURACY, Distribution
from otel_agent_trace.metrics.strata import Count, Sample, Weight
from otel_agent_trace.metrics.tally import AgentTally, CallTally, GroupTally, RunTally, ScoreTally, Times
from otel_agent_trace.metrics.unseen import are_counts_of, runs_interval, success_intervals
from otel_agent_trace.model import TOKEN_FIELDS, RunStatus, at_time
from otel_agent_trace.prices import PICO_USD_PER_USD
from otel_agent_trace.query import PAUSED

T = TypeVar("T")
V = TypeVar("V")
_NS_PER_S = 1_000_000_000
_FEWEST_KEPT = 30
_PERCENTILES = (50, 90, 95, 99)
_ROUNDED_BELOW = 0.5 / RELATIVE_ACCURACY


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


def tokens(sample: Sample[OutcomeTally] | Sample[CallTally]) -> Tokens:
    """Return the figures of tokens by kind."""
    counts: Sample[Counter[str]] = sample.of(attrgetter("tokens"))
    sums = {name: counts.total(lambda counter: counter[name]) for name in TOKEN_FIELDS}  # noqa: B023 - called at once
    total = sums["input_tokens"] + sums["output_tokens"]
    squares = sample.of(attrgetter("total_token_squares"))
    return Tokens(
        total_tokens=total,
        total_tokens_interval=total_interval(squares, total, counts.kept(total_tokens), is_known=sample.is_known),
        cache_hit_share=rate(sums["cache_read_input_tokens"], sums["input_tokens"]),
        **sums,
    )


def cost_usd(sample: Sample[CostTally]) -> float | None:
    """Return what calls cost in dollars; None where none has a price."""
    is_priced = any(tally.calls for _, tally in sample.parts)
    return sample.total(lambda tally: tally.pico_usd) / PICO_USD_PER_USD if is_priced else None


def cost(sample: Sample[RunTally]) -> Cost:
    """Return the figures of what all calls cost."""
    costs = sample.of(lambda tally: tally.outcomes.cost)
    calls = _times_by_name(sample.by_key(lambda tally: tally.unpriced))
    prices = _times_by_name(sample.by_key(lambda tally: tally.prices))
    total, kept = costs.total(attrgetter("pico_usd")), costs.kept(attrgetter("pico_usd"))
    squares, is_known = costs.of(lambda tally: tally.traces.yy), not costs.has_unseen
    total_usd, bounds = cost_usd(costs), total_interval(squares, total, kept, is_known=is_known)
    low, high = (None if bound is None else bound / PICO_USD_PER_USD for bound in bounds or UNKNOWN)
    return Cost(
        total_usd=total_usd,
        total_interval_usd=None if total_usd is None or bounds is None else (low, high),
        unpriced=tuple([UnpricedModel(model=name, calls=count) for name, count in calls.items()]),
        prices=tuple(prices),
    )


def tool(sample: Sample[CallTally]) -> ToolMetrics:
    """Return the figures of a tool."""
    return ToolMetrics(**_call_figures(sample), loops=sample.total(attrgetter("loops")))


def model(sample: Sample[CallTally]) -> ModelMetrics:
    """Return the figures of a model."""
    output_ns = sample.total(attrgetter("output_ns"))
    return ModelMetrics(
        **_call_figures(sample),
        tokens=tokens(sample),
        first_chunk=latency(sample.of(lambda tally: tally.first_chunk_ns)),
        tokens_per_s=rate(sample.total(attrgetter("timed_output_tokens")) * _NS_PER_S, output_ns),
    )


def outcomes(sample: Sample[OutcomeTally]) -> Outcomes:
    """Return the figures of runs."""
    return Outcomes(**_outcome_figures(sample))


def agent(sample: Sample[AgentTally]) -> AgentMetrics:
    """Return the figures of an agent: its outermost runs decide whether these are too few, if it has any."""
    figures = _outcome_figures(sample.of(lambda tally: tally.outcomes))
    figures["cost_usd"] = cost_usd(sample.of(lambda tally: tally.cost))
    if not figures["runs"]:
        figures["too_few"] = _is_too_few(sample, attrgetter("nested_runs"))
    return AgentMetrics(**figures, nested_runs=sample.total(attrgetter("nested_runs")))


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
        labels=_times_by_name(sample.by_key(lambda tally: tally.labels)),
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


def _times_by_name(samples: dict[str, Sample[Times]]) -> dict[str, Count]:
    return by_name(samples, lambda times: times.total(attrgetter("count")), float)


def bucket(start_ns: int | None, sample: Sample[OutcomeTally]) -> Bucket:
    """Return the figures of a bucket."""
    return Bucket(**_outcome_figures(sample), start=None if start_ns is None else at_time(start_ns))


def _call_figures(sample: Sample[CallTally]) -> dict[str, Any]:
    counts = {name: sample.total(attrgetter(name)) for name in ("calls", "errors", "abandoned", "paused", "retries")}
    ended = counts["calls"] - counts["paused"]
    interval = share_interval(sample.of(lambda tally: tally.traces), counts["errors"], ended, if_all_failed=1.0)
    squares, kept = sample.of(attrgetter("call_squares")), sample.kept(attrgetter("calls"))
    return {
        **counts,
        "calls_interval": total_interval(squares, counts["calls"], kept, is_known=sample.is_known),
        "error_rate": rate(counts["errors"], ended),
        "error_rate_interval": UNKNOWN if interval and sample.has_unseen else interval,
        "latency": latency(sample.of(lambda tally: tally.latency_ns)),
        "cost_usd": cost_usd(sample.of(lambda tally: tally.cost)),
    }


def _outcome_figures(sample: Sample[OutcomeTally]) -> dict[str, Any]:
    return {
        **_status_figures(sample.counted() if are_counts_of(sample) else sample.estimated()),
        "too_few": _is_too_few(sample, attrgetter("runs")),
        "latency": latency(sample.of(lambda tally: tally.latency_ns)),
        "first_chunk": latency(sample.of(lambda tally: tally.first_chunk_ns)),
        "tokens": tokens(sample),
        **{name: sample.total(attrgetter(name)) for name in ("loops", "retries", "success_with_tool_errors")},
        "cost_usd": cost_usd(sample.of(lambda tally: tally.cost)),
    }


def _is_too_few(sample: Sample[T], runs: Callable[[T], int]) -> bool:
    return sample.is_sampled and sample.kept(runs) < _FEWEST_KEPT


def _status_figures(sample: Sample[OutcomeTally]) -> dict[str, Any]:
    by_status = {status: sample.total(lambda tally: tally.statuses[status]) for status in STATUSES}  # noqa: B023 - likewise
    success, finished = by_status[RunStatus.SUCCESS.value], sample.total(lambda tally: tally.finished)
    intervals = success_intervals(sample)
    return {
        "runs": sample.total(attrgetter("runs")),
        "runs_interval": runs_interval(sample),
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
