"""What is counted: mutable, of bounded size, made of integers, each able to take in another of its kind.

Every `absorb` adds the other's counts and leaves the other as it is, sharing nothing with it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from otel_agent_trace.metrics.series import newest_first
from otel_agent_trace.metrics.sketch import Distribution
from otel_agent_trace.metrics.table import Table, Tally, scattered
from otel_agent_trace.metrics.texts import Occurrences, Texts

V = TypeVar("V", bound=Tally)

NAMES = 1000
"""Different tools, models, agents and error categories that are kept apart at most, of each."""
ERROR_TYPES = 200
"""Different types of errors that are kept apart at most."""
BUCKETS = 10_000
"""Buckets of a time series that are kept apart at most: the newest that hold runs."""
OTHER = "(other)"
"""The entry for all names beyond those bounds."""


@dataclass(slots=True)
class OutcomeTally:
    """Outermost runs: how many of each status, how long the finished ones took (ns), the tokens by kind."""

    statuses: Counter[str] = field(default_factory=Counter)
    latency_ns: Distribution = field(default_factory=Distribution)
    tokens: Counter[str] = field(default_factory=Counter)

    def absorb(self, other: OutcomeTally) -> None:
        """Add another's counts."""
        self.statuses.update(other.statuses)
        self.latency_ns.absorb(other.latency_ns)
        self.tokens.update(other.tokens)


@dataclass(slots=True)
class AgentTally:
    """The runs of one agent; `nested_runs` are those that it made below another run."""

    outcomes: OutcomeTally = field(default_factory=OutcomeTally)
    nested_runs: int = 0

    def absorb(self, other: AgentTally) -> None:
        """Add another's counts."""
        self.outcomes.absorb(other.outcomes)
        self.nested_runs += other.nested_runs


@dataclass(slots=True)
class CallTally:
    """The calls of one tool or model, how long the completed ones took (ns), the tokens by kind (of a model)."""

    calls: int = 0
    errors: int = 0
    abandoned: int = 0
    latency_ns: Distribution = field(default_factory=Distribution)
    tokens: Counter[str] = field(default_factory=Counter)

    def absorb(self, other: CallTally) -> None:
        """Add another's counts."""
        self.calls += other.calls
        self.errors += other.errors
        self.abandoned += other.abandoned
        self.latency_ns.absorb(other.latency_ns)
        self.tokens.update(other.tokens)


def _by_name(new: type[V], limit: int = NAMES) -> Table[str, V]:
    return Table(new, rank=scattered, limit=limit, rest=OTHER)


def _by_start() -> Table[int | None, OutcomeTally]:
    return Table(OutcomeTally, rank=newest_first, limit=BUCKETS, rest=None)


@dataclass(slots=True)
class RunTally:
    """All that a report tells, of any number of runs; `bucket_ns` is the width of the time series' buckets."""

    bucket_ns: int | None = None
    outcomes: OutcomeTally = field(default_factory=OutcomeTally)
    steps: Distribution = field(default_factory=Distribution)
    tools: Table[str, CallTally] = field(default_factory=partial(_by_name, CallTally))
    models: Table[str, CallTally] = field(default_factory=partial(_by_name, CallTally))
    agents: Table[str, AgentTally] = field(default_factory=partial(_by_name, AgentTally))
    categories: Table[str, Occurrences] = field(default_factory=partial(_by_name, Occurrences))
    error_types: Table[str, Texts] = field(default_factory=partial(_by_name, Texts, ERROR_TYPES))
    series: Table[int | None, OutcomeTally] = field(default_factory=_by_start)

    def absorb(self, other: RunTally) -> None:
        """Add another's counts; whether the buckets fit is the caller's affair."""
        self.outcomes.absorb(other.outcomes)
        self.steps.absorb(other.steps)
        self.tools.absorb(other.tools)
        self.models.absorb(other.models)
        self.agents.absorb(other.agents)
        self.categories.absorb(other.categories)
        self.error_types.absorb(other.error_types)
        self.series.absorb(other.series)
