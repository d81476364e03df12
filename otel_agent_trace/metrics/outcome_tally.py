"""Hold the counts of runs by how they ended, and of what they cost; as `tally` holds all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from otel_agent_trace.metrics.moments import Moments
from otel_agent_trace.metrics.sketch import Distribution
from otel_agent_trace.model import RunStatus
from otel_agent_trace.query import PAUSED

STATUSES = (*(status.value for status in RunStatus), PAUSED)
"""Statuses by which runs are counted."""


def total_tokens(tokens: Mapping[str, int]) -> int:
    """Return the number of tokens of those by kind, input and output together."""
    return tokens.get("input_tokens", 0) + tokens.get("output_tokens", 0)


@dataclass(slots=True)
class CostTally:
    """Count the model calls that have a price, and sum what they cost, in 1e-12 dollars; `traces` are of a sample."""

    calls: int = 0
    pico_usd: int = 0
    traces: Moments = field(default_factory=Moments)

    def close(self) -> None:
        """Take the calls for those of one trace."""
        self.traces.add(self.pico_usd)

    def absorb(self, other: CostTally) -> None:
        """Add the counts of another tally."""
        self.calls += other.calls
        self.pico_usd += other.pico_usd
        self.traces.absorb(other.traces)


@dataclass(slots=True)
class OutcomeTally:
    """Count outermost runs by status (or ``paused``), the durations of the finished ones (ns), tokens by kind, and cost.

    `token_squares` is the sum of the squares of the runs' numbers of tokens, input and output together, `cost_squares` that
    of the squares of their costs. `loops` are the runs in which a tool looped, `retries` the calls in them that were retries,
    and `success_with_tool_errors` the runs that succeeded although a call of a tool failed.
    `traces` are of a sample: the successes by finished runs; so are `run_squares` and `total_token_squares`, the sums of the
    squares of the traces' numbers of runs, and of tokens, input and output together.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    latency_ns: Distribution = field(default_factory=Distribution)
    tokens: Counter[str] = field(default_factory=Counter)
    first_chunk_ns: Distribution = field(default_factory=Distribution)
    token_squares: int = 0
    loops: int = 0
    retries: int = 0
    success_with_tool_errors: int = 0
    cost: CostTally = field(default_factory=CostTally)
    cost_squares: int = 0
    traces: Moments = field(default_factory=Moments)
    run_squares: int = 0
    total_token_squares: int = 0

    @property
    def runs(self) -> int:
        """Return the number of runs."""
        return sum(self.statuses.values())

    @property
    def success(self) -> int:
        """Return the number of runs that succeeded."""
        return self.statuses[RunStatus.SUCCESS.value]

    @property
    def finished(self) -> int:
        """Return the number of runs that succeeded or failed."""
        return self.runs - self.statuses[RunStatus.RUNNING.value] - self.statuses[PAUSED]

    def close(self) -> None:
        """Take the runs for those of one trace."""
        self.traces.add(self.success, self.finished)
        self.run_squares = self.runs**2
        self.total_token_squares = total_tokens(self.tokens) ** 2
        self.latency_ns.close()
        self.first_chunk_ns.close()
        self.cost.close()

    def absorb(self, other: OutcomeTally) -> None:
        """Add the counts of another tally."""
        self.statuses.update(other.statuses)
        self.latency_ns.absorb(other.latency_ns)
        self.tokens.update(other.tokens)
        self.first_chunk_ns.absorb(other.first_chunk_ns)
        self.token_squares += other.token_squares
        self.loops += other.loops
        self.retries += other.retries
        self.success_with_tool_errors += other.success_with_tool_errors
        self.traces.absorb(other.traces)
        self.cost.absorb(other.cost)
        self.cost_squares += other.cost_squares
        self.run_squares += other.run_squares
        self.total_token_squares += other.total_token_squares
