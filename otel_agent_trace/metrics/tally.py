"""What is counted: mutable, of bounded size, made of integers, each able to take in another of its kind.

Every `absorb` adds the other's counts and leaves the other as it is, sharing nothing with it.

Error messages are made comparable first: what differs between two occurrences of one error (ids, addresses, long
numbers, white space) is blotted out. If one type of error still has too many different messages, all of them are cut to
half their length, again and again, until they fit: the width that results is the greatest at which all messages ever
seen fit, so it does not depend on the order in which they came, and no occurrence is lost.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from otel_agent_trace.metrics.series import newest_first
from otel_agent_trace.metrics.sketch import Distribution
from otel_agent_trace.metrics.table import Table, Tally, scattered

V = TypeVar("V", bound=Tally)

NAMES = 1000
"""Different tools, models, agents and error categories that are kept apart at most, of each."""
ERROR_TYPES = 200
"""Different types of errors that are kept apart at most."""
BUCKETS = 10_000
"""Buckets of a time series that are kept apart at most: the newest that hold runs."""
OTHER = "(other)"
"""The entry for all names beyond those bounds."""
MESSAGE_WIDTH = 200
"""Characters of a message that are kept at most."""
MESSAGES_PER_TYPE = 100
"""Different messages of one type of error that are kept at most."""

_VARYING = re.compile(
    r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"  # a UUID
    r"|\b0x[0-9a-fA-F]+\b"  # an address
    r"|\b(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}\b"  # an id in hexadecimal
    r"|[0-9]{4,}"  # any long number; shorter ones often mean something: a status, a line, a number of seconds
)
_READ_CHARACTERS = 4 * MESSAGE_WIDTH


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


def normalised(message: str) -> str:
    """Return the message on one line, at most `MESSAGE_WIDTH` characters long, with ``#`` for what varies from time to time."""
    return _VARYING.sub("#", " ".join(message[:_READ_CHARACTERS].split()))[:MESSAGE_WIDTH]


@dataclass(slots=True)
class Occurrences:
    """How many runs and how many steps something happened to."""

    runs: int = 0
    steps: int = 0

    def absorb(self, other: Occurrences) -> None:
        """Add another count."""
        self.runs += other.runs
        self.steps += other.steps


@dataclass(slots=True)
class Texts:
    """The messages of one type of error, each with its occurrences; `width` is the length that they are cut to."""

    width: int = MESSAGE_WIDTH
    by_text: dict[str, Occurrences] = field(default_factory=dict)

    def count(self, message: str, occurrences: Occurrences) -> None:
        """Add occurrences of one normalised message."""
        self._into(message[: self.width]).absorb(occurrences)
        while len(self.by_text) > MESSAGES_PER_TYPE:
            self._narrow_to(self.width // 2)

    def absorb(self, other: Texts) -> None:
        """Add the messages of another, which stays as it is."""
        if other.width < self.width:
            self._narrow_to(other.width)
        for text, occurrences in other.by_text.items():
            self.count(text, occurrences)

    def shown(self, text: str) -> str:
        """Return the text as readers see it, with an ellipsis where more may follow."""
        return f"{text}…" if len(text) >= self.width else text

    def _narrow_to(self, width: int) -> None:
        wider, self.width, self.by_text = self.by_text, width, {}
        for text, occurrences in wider.items():
            self._into(text[:width]).absorb(occurrences)

    def _into(self, text: str) -> Occurrences:
        return self.by_text.setdefault(text, Occurrences())


def _by_name(new: type[V], limit: int = NAMES) -> Table[str, V]:
    return Table(new, rank=scattered, limit=limit, rest=OTHER)


def _by_start() -> Table[int | None, OutcomeTally]:
    return Table(OutcomeTally, rank=newest_first, limit=BUCKETS, rest=None)


@dataclass(slots=True)
class RunTally:
    """All that a report is made of, of any number of runs; `bucket_ns` is the width of the time series' buckets."""

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
