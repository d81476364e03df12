"""Count runs apart by their weight, so that what was sampled is weighed when figures are computed, and not before.

A run that was kept with probability p stands for 1/p runs: that is its weight. Runs of one weight are a stratum, with a
tally of its own that counts them as they are, so counts stay integers, and merge in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from otel_agent_trace.metrics.table import Table, Tally
from otel_agent_trace.metrics.tally import RunTally

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V", bound=Tally)
Count: TypeAlias = int | float
"""Type of a count: an integer, but in a sample."""
_LEAST_PROBABILITY = 2.0**-56


class Sample(NamedTuple, Generic[T]):
    """Hold what was counted of one thing, in parts with their weights; several parts may have the same weight."""

    parts: tuple[tuple[float, T], ...]

    def of(self, part: Callable[[T], U]) -> Sample[U]:
        """Return the sample of what `part` returns of a tally."""
        return Sample(tuple([(weight, part(tally)) for weight, tally in self.parts]))

    def total(self, number: Callable[[T], int]) -> Count:
        """Return the weighted sum of a number of each tally: an integer if all weights are 1."""
        if all(weight == 1 for weight, _ in self.parts):
            return sum(number(tally) for _, tally in self.parts)
        return math.fsum(weight * number(tally) for weight, tally in self.parts)

    def merged(self: Sample[V], new: Callable[[], V]) -> V:
        """Return all tallies in one, without their weights."""
        whole = new()
        for _, tally in self.parts:
            whole.absorb(tally)
        return whole

    def by_key(self, table: Callable[[T], Table[Any, V]]) -> dict[Any, Sample[V]]:
        """Return the samples of the entries of a table by key; it keeps as many keys as the table of one tally."""
        tables = [(weight, table(tally)) for weight, tally in self.parts]
        if not tables:
            return {}
        joined: Table[Any, _Parts[V]] = tables[0][1].empty(_Parts)
        for weight, one in tables:
            for key, entry in one.items():
                joined.at(key).parts.append((weight, entry))
        return {key: Sample(tuple(entry.parts)) for key, entry in joined.items()}


class _Parts(Generic[T]):
    """Gather the parts of a sample."""

    def __init__(self) -> None:
        self.parts: list[tuple[float, T]] = []

    def absorb(self, other: _Parts[T]) -> None:
        """Add the parts of another one."""
        self.parts += other.parts


class Strata:
    """Hold the tallies of a report by weight; `bucket_ns` and `by` are those of each tally."""

    def __init__(self, bucket_ns: int | None = None, by: tuple[str, ...] = ()) -> None:
        self.bucket_ns, self.by = bucket_ns, by
        self._tallies: dict[float, RunTally] = {}

    def at(self, weight: float) -> RunTally:
        """Return the tally of the runs with a weight."""
        tally = self._tallies.get(weight)
        if tally is None:
            tally = self._tallies[weight] = RunTally(bucket_ns=self.bucket_ns, by=self.by)
        return tally

    def absorb(self, other: Strata) -> None:
        """Add the counts of other strata, which stay as they are."""
        for weight, tally in other.items():
            self.at(weight).absorb(tally)

    def items(self) -> Iterator[tuple[float, RunTally]]:
        """Yield the tallies with their weights, the least weight first."""
        yield from sorted(self._tallies.items())

    def sample(self) -> Sample[RunTally]:
        """Return the tallies as a sample; without runs, that of an empty one."""
        return Sample(tuple(self.items()) or ((1.0, RunTally(bucket_ns=self.bucket_ns, by=self.by)),))

    def __eq__(self, other: object) -> bool:
        return self._tallies == other._tallies if isinstance(other, Strata) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes


def weight_of(probability: float | None) -> float:
    """Return the weight of a run that was kept with a probability; 1 where none, or no valid one, is known."""
    if probability is None or not _LEAST_PROBABILITY <= probability <= 1:
        return 1.0
    return 1 / probability
