"""Hold the counts of a report: mutable, of bounded size, made of integers, and mergeable.

Every `absorb` adds the other's counts and leaves the other as it is, sharing nothing with it. Of a sample, each trace has
a tally of its own, which is closed before the tally of all traces absorbs it: `close` turns its counts into `Moments`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from otel_agent_trace.metrics.error_messages import Occurrences, Texts
from otel_agent_trace.metrics.moments import Moments
from otel_agent_trace.metrics.numbers import Numbers
from otel_agent_trace.metrics.outcome_tally import CostTally, OutcomeTally, total_tokens
from otel_agent_trace.metrics.series import newest_first
from otel_agent_trace.metrics.sketch import Distribution
from otel_agent_trace.metrics.table import Table, Tally, scattered

V = TypeVar("V", bound=Tally)

NAMES = 1000
"""Most names of tools, of models, of agents, of scores, of groups and of error categories that are kept apart."""
GROUP_SCORES = 30
"""Most names of scores that are kept apart in one group."""
LABELS = 30
"""Most labels of one score that are kept apart."""
ERROR_TYPES = 200
"""Most types of errors that are kept apart."""
BUCKETS = 10_000
"""Most buckets of a time series that are kept apart: the newest with runs."""
OTHER = "(other)"
"""Entry for all names beyond those bounds."""


def _by_name(new: type[V], limit: int = NAMES) -> Table[str, V]:
    return Table(new, rank=scattered, limit=limit, rest=OTHER)


@dataclass(slots=True)
class AgentTally:
    """Count the runs of one agent; `nested_runs` are those that it made below another run.

    `nested_cost` is that of the model calls in these, below runs of other agents.
    """

    outcomes: OutcomeTally = field(default_factory=OutcomeTally)
    nested_runs: int = 0
    nested_cost: CostTally = field(default_factory=CostTally)

    @property
    def cost(self) -> CostTally:
        """Return the cost of the model calls in all runs."""
        return CostTally(
            calls=self.outcomes.cost.calls + self.nested_cost.calls,
            pico_usd=self.outcomes.cost.pico_usd + self.nested_cost.pico_usd,
        )

    def close(self) -> None:
        """Take the runs for those of one trace."""
        self.outcomes.close()

    def absorb(self, other: AgentTally) -> None:
        """Add the counts of another tally."""
        self.outcomes.absorb(other.outcomes)
        self.nested_runs += other.nested_runs
        self.nested_cost.absorb(other.nested_cost)


@dataclass(slots=True)
class CallTally:
    """Count the calls of one tool or model, the durations of the completed ones (ns), a model's tokens by kind, and cost.

    `retries` are calls, `loops` the runs in which the tool looped. `timed_output_tokens` are the output tokens of the
    completed calls that reported some, `output_ns` the durations of the same calls.
    `traces` are of a sample: the errors by calls that were not paused; so are `call_squares` and `total_token_squares`, the
    sums of the squares of the traces' numbers of calls and of tokens.
    """

    calls: int = 0
    errors: int = 0
    abandoned: int = 0
    paused: int = 0
    latency_ns: Distribution = field(default_factory=Distribution)
    tokens: Counter[str] = field(default_factory=Counter)
    loops: int = 0
    retries: int = 0
    first_chunk_ns: Distribution = field(default_factory=Distribution)
    timed_output_tokens: int = 0
    output_ns: int = 0
    cost: CostTally = field(default_factory=CostTally)
    traces: Moments = field(default_factory=Moments)
    call_squares: int = 0
    total_token_squares: int = 0

    def close(self) -> None:
        """Take the calls for those of one trace."""
        self.traces.add(self.errors, self.calls - self.paused)
        self.call_squares = self.calls**2
        self.total_token_squares = total_tokens(self.tokens) ** 2
        self.latency_ns.close()
        self.first_chunk_ns.close()

    def absorb(self, other: CallTally) -> None:
        """Add the counts of another tally."""
        self.calls += other.calls
        self.errors += other.errors
        self.abandoned += other.abandoned
        self.paused += other.paused
        self.latency_ns.absorb(other.latency_ns)
        self.tokens.update(other.tokens)
        self.loops += other.loops
        self.retries += other.retries
        self.first_chunk_ns.absorb(other.first_chunk_ns)
        self.timed_output_tokens += other.timed_output_tokens
        self.output_ns += other.output_ns
        self.traces.absorb(other.traces)
        self.call_squares += other.call_squares
        self.total_token_squares += other.total_token_squares
        self.cost.absorb(other.cost)


@dataclass(slots=True)
class Times:
    """Count how often something occurred."""

    count: int = 0

    def absorb(self, other: Times) -> None:
        """Add the counts of another tally."""
        self.count += other.count


@dataclass(slots=True)
class ScoreTally:
    """Count the scores of one name, and the runs that have some: bools, finite numbers, and labels by label."""

    runs: int = 0
    count: int = 0
    true: int = 0
    false: int = 0
    numbers: Numbers = field(default_factory=Numbers)
    labels: Table[str, Times] = field(default_factory=partial(_by_name, Times, LABELS))

    def absorb(self, other: ScoreTally) -> None:
        """Add the counts of another tally."""
        self.runs += other.runs
        self.count += other.count
        self.true += other.true
        self.false += other.false
        self.numbers.absorb(other.numbers)
        self.labels.absorb(other.labels)


@dataclass(slots=True)
class GroupTally:
    """Count the runs of one group, and their scores by name."""

    outcomes: OutcomeTally = field(default_factory=OutcomeTally)
    scores: Table[str, ScoreTally] = field(default_factory=partial(_by_name, ScoreTally, GROUP_SCORES))

    def close(self) -> None:
        """Take the runs for those of one trace."""
        self.outcomes.close()

    def absorb(self, other: GroupTally) -> None:
        """Add the counts of another tally."""
        self.outcomes.absorb(other.outcomes)
        self.scores.absorb(other.scores)


def _by_start() -> Table[int | None, OutcomeTally]:
    return Table(OutcomeTally, rank=newest_first, limit=BUCKETS, rest=None)


@dataclass(slots=True)
class RunTally:
    """Hold all counts of a report, of any number of runs.

    `bucket_ns` is the width of the series' buckets, `by` what the groups are by: `groups` has a table for each key.
    `unpriced` are calls by model, `prices` the priced calls by the version of the prices.
    """

    bucket_ns: int | None = None
    by: tuple[str, ...] = ()
    outcomes: OutcomeTally = field(default_factory=OutcomeTally)
    steps: Distribution = field(default_factory=Distribution)
    tools: Table[str, CallTally] = field(default_factory=partial(_by_name, CallTally))
    models: Table[str, CallTally] = field(default_factory=partial(_by_name, CallTally))
    agents: Table[str, AgentTally] = field(default_factory=partial(_by_name, AgentTally))
    scores: Table[str, ScoreTally] = field(default_factory=partial(_by_name, ScoreTally))
    unpriced: Table[str, Times] = field(default_factory=partial(_by_name, Times))
    prices: Table[str, Times] = field(default_factory=partial(_by_name, Times))
    groups: dict[str, Table[str, GroupTally]] = field(default_factory=dict)
    categories: Table[str, Occurrences] = field(default_factory=partial(_by_name, Occurrences))
    error_types: Table[str, Texts] = field(default_factory=partial(_by_name, Texts, ERROR_TYPES))
    series: Table[int | None, OutcomeTally] = field(default_factory=_by_start)

    def __post_init__(self) -> None:
        self.groups = {key: _by_name(GroupTally) for key in self.by}

    def close(self) -> None:
        """Take all that was counted for what is of one trace."""
        self.outcomes.close()
        self.steps.close()
        tables: tuple[Table[Any, Any], ...] = (self.tools, self.models, self.agents, *self.groups.values(), self.series)
        for table in tables:
            for tally in table.values():
                tally.close()

    def absorb(self, other: RunTally) -> None:
        """Add the counts of another tally; the caller checks that the buckets and groups fit."""
        self.outcomes.absorb(other.outcomes)
        self.steps.absorb(other.steps)
        self.tools.absorb(other.tools)
        self.models.absorb(other.models)
        self.agents.absorb(other.agents)
        self.scores.absorb(other.scores)
        self.unpriced.absorb(other.unpriced)
        self.prices.absorb(other.prices)
        for key, groups in other.groups.items():
            self.groups[key].absorb(groups)
        self.categories.absorb(other.categories)
        self.error_types.absorb(other.error_types)
        self.series.absorb(other.series)
