"""Define the figures of a report, plain and frozen.

Counts are 0, and rates, means and quantiles None, where nothing was counted. In a sample all but the least and greatest
values are weighted estimates; `..._interval` then are 95 % intervals of what happened, None unless sampled.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from otel_agent_trace.metrics.estimates import Bounds
from otel_agent_trace.metrics.strata import Count


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
    total_tokens_interval: Bounds | None = None
    cache_hit_share: float | None = None


class UnpricedModel(msgspec.Struct, frozen=True, kw_only=True):
    """Represent the calls of a model that have tokens, but whose price is not known."""

    model: str
    calls: Count = 0


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Represent what all model calls cost in dollars: the sum of those that have a price, None where none has one.

    `unpriced` lists the models of the others, the most called first. `total_interval_usd` is the 95 % interval (low, high) of
    the sum over all runs of which these are a sample; None where they are no sample. Its upper bound is None where it is unknown.
    `prices` are the versions of the prices, the most used first: several where reports by different ones were added up.
    """

    total_usd: float | None = None
    total_interval_usd: Bounds | None = None
    unpriced: tuple[UnpricedModel, ...] = ()
    prices: tuple[str, ...] = ()


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
    calls_interval: Bounds | None = None
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
    runs_interval: Bounds | None = None
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
    """Represent the runs of one agent.

    Of the runs that it made for another agent are only `nested_runs`, their number, and part of `cost_usd`: the model calls
    in all of its runs, each once, so that what agents cost adds up to more than all cost. For an agent with no other runs,
    `too_few` is about these.
    """

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
