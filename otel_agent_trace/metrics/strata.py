"""Count runs apart by their weight, so that what was sampled is weighed when figures are computed, and not before.

A run that was kept with probability p stands for 1/p runs: that is its weight. Runs of one weight are a stratum, with a
tally of its own that counts them as they are, so counts stay integers, and merge in any order.

Where a sampler counted what it dropped, a kept run stands for itself alone in numbers of runs, and the dropped ones are a
stratum of their own; so are those of which nobody knows whether they belong to what is measured.

The number of strata is bounded: `EXACT_WEIGHTS` weights, chosen by the weights alone, are exact; others are within 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from otel_agent_trace.metrics.table import Table, Tally, scattered
from otel_agent_trace.metrics.tally import RunTally

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V", bound=Tally)
Count: TypeAlias = int | float
"""Type of a count: an integer, but in a sample."""
EXACT_WEIGHTS = 64
"""Most weights that are kept as they are."""
LEAST_PROBABILITY = 2.0**-56
_GRID_STEP = 1.02


class Weight(NamedTuple):
    """Hold how many runs each run of a stratum stands for: in what runs have, and in numbers of runs."""

    of_values: float
    of_runs: float


WHOLE = Weight(1.0, 1.0)
"""Weight of runs that stand for themselves alone."""
DROPPED = Weight(0.0, 1.0)
"""Weight of runs of which nothing but their number is known."""
POSSIBLE = Weight(0.0, 0.0)
"""Weight of dropped runs of which it is not known whether they belong to what is measured."""


@dataclass(frozen=True, slots=True)
class Sample(Generic[T]):
    """Hold what was counted of one thing, in parts with their weights; several parts may have the same weight.

    `is_sampled` is whether anything in the report was sampled, here or elsewhere, `is_counted` whether all that was dropped
    is counted, `is_estimated` whether counts of dropped runs were left out of the weights. `has_unseen` is whether runs were
    dropped here, or may have been, that no kept run stands for, `is_whole` whether it is known that none was dropped here.
    """

    parts: tuple[tuple[Weight, T], ...]
    is_sampled: bool = False
    is_counted: bool = False
    is_estimated: bool = False
    has_unseen: bool = False
    is_whole: bool = False

    @property
    def is_known(self) -> bool:
        """Return whether kept runs stand for all that happened here."""
        return not self.has_unseen and (self.is_whole or any(weight.of_values > 1 for weight, _ in self.parts))

    def of(self, part: Callable[[T], U]) -> Sample[U]:
        """Return the sample of what `part` returns of a tally."""
        return self._with(tuple([(weight, part(tally)) for weight, tally in self.parts]))

    def counted(self) -> Sample[T]:
        """Return the sample with the weights of numbers of runs for everything."""
        parts = [(Weight(weight.of_runs, weight.of_runs), tally) for weight, tally in self.parts]
        return replace(self, parts=tuple(parts))

    def estimated(self) -> Sample[T]:
        """Return the sample with the weights of what runs have for everything, as if no dropped run had been counted."""
        parts = [(Weight(weight.of_values, weight.of_values), tally) for weight, tally in self.parts]
        return replace(self, parts=tuple(parts), is_counted=False, is_estimated=True)

    def kept(self, number: Callable[[T], int]) -> int:
        """Return the sum of a number of each tally of runs that were kept, not weighted."""
        return sum(number(tally) for weight, tally in self.parts if weight.of_values)

    def total(self, number: Callable[[T], int]) -> Count:
        """Return the weighted sum of a number of each tally: an integer if all weights are 1."""
        return self.sum(lambda weight, tally: number(tally) if weight == 1 else weight * number(tally))

    def sum(self, term: Callable[[float, T], Count]) -> Count:
        """Return the sum of what `term` returns for each weight and its tally, in whichever order they are."""
        terms = [term(weight.of_values, tally) for weight, tally in self.parts if weight.of_values]
        return sum(terms) if all(isinstance(each, int) for each in terms) else math.fsum(terms)

    def weighted(self) -> list[tuple[float, T]]:
        """Return the tallies with their weights."""
        return [(weight.of_values, tally) for weight, tally in self.parts]

    def merged(self: Sample[V], new: Callable[[], V]) -> V:
        """Return all tallies in one, without their weights; the very tally where there is no other."""
        if len(self.parts) == 1:
            return self.parts[0][1]
        whole = new()
        for _, tally in self.parts:
            whole.absorb(tally)
        return whole

    def by_weight(self: Sample[V], new: Callable[[], V]) -> list[tuple[float, V]]:
        """Return one tally for each weight above 0, the least weight first."""
        joined: dict[float, list[tuple[Weight, V]]] = {}
        for part in self.parts:
            joined.setdefault(part[0].of_values, []).append(part)
        wholes = ((weight, Sample(tuple(parts)).merged(new)) for weight, parts in joined.items() if weight)
        return sorted(wholes, key=lambda item: item[0])

    def by_key(self, table: Callable[[T], Table[Any, V]]) -> dict[Any, Sample[V]]:
        """Return the samples of the entries of a table by key; it keeps as many keys as the table of one tally.

        Entries that only have runs which may not belong here are left out.
        """
        tables = [(weight, table(tally)) for weight, tally in self.parts]
        if not tables:
            return {}
        joined: Table[Any, _Parts[V]] = tables[0][1].empty(_Parts)
        for weight, one in tables:
            for key, entry in one.items():
                joined.at(key).parts.append((weight, entry))
        entries = {key: entry.parts for key, entry in joined.items()}
        return {key: self._with(tuple(parts)) for key, parts in entries.items() if {w for w, _ in parts} != {POSSIBLE}}

    def _with(self, parts: tuple[tuple[Weight, U], ...]) -> Sample[U]:
        """Return a sample of other parts, of which the same is known."""
        return Sample(parts, *attrgetter(*_KNOWN)(self))


_KNOWN = "is_sampled", "is_counted", "is_estimated", "has_unseen", "is_whole"


class _Parts(Generic[T]):
    """Gather the parts of a sample."""

    def __init__(self) -> None:
        self.parts: list[tuple[Weight, T]] = []

    def absorb(self, other: _Parts[T]) -> None:
        """Add the parts of another one."""
        self.parts += other.parts


class Strata:
    """Hold the tallies of a report by weight; `bucket_ns` and `by` are those of each tally."""

    def __init__(self, bucket_ns: int | None = None, by: tuple[str, ...] = ()) -> None:
        self.bucket_ns, self.by = bucket_ns, by
        self._exact: dict[Weight, RunTally] = {}
        self._rounded: dict[Weight, RunTally] = {}

    def new_tally(self) -> RunTally:
        """Return an empty tally with these buckets and groups."""
        return RunTally(bucket_ns=self.bucket_ns, by=self.by)

    def at(self, weight: Weight) -> RunTally:
        """Return the tally of the runs with a weight."""
        tally = self._exact.get(weight)
        return self._place(weight) if tally is None else tally

    def absorb(self, other: Strata) -> None:
        """Add the counts of other strata, which stay as they are."""
        for weight, tally in other._exact.items():
            self.at(weight).absorb(tally)
        for weight, tally in other._rounded.items():
            self._rounded_at(weight).absorb(tally)

    def sample(self) -> Sample[RunTally]:
        """Return the tallies as a sample, the least weight first; without runs, that of an empty one."""
        parts = sorted([*self._exact.items(), *self._rounded.items()], key=lambda item: item[0])
        is_sampled = any(weight != WHOLE for weight, _ in parts)
        is_counted = is_sampled and all(weight.of_runs == 1 or weight == POSSIBLE for weight, _ in parts)
        return Sample(tuple(parts) or ((WHOLE, self.new_tally()),), is_sampled, is_counted)

    def _place(self, weight: Weight) -> RunTally:
        """Return the tally of a weight that is new here, or of the rounded one, as `Table` does with its keys."""
        if len(self._exact) >= EXACT_WEIGHTS:
            worst = max(self._exact, key=_rank)
            if _rank(weight) > _rank(worst):
                return self._rounded_at(_rounded(weight))
            self._rounded_at(_rounded(worst)).absorb(self._exact.pop(worst))
        return self._exact.setdefault(weight, self.new_tally())

    def _rounded_at(self, weight: Weight) -> RunTally:
        return self._rounded.setdefault(weight, self.new_tally())

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if isinstance(other, Strata) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes


def weight_of(probability: float | None) -> float:
    """Return the weight of a run that was kept with a probability; 1 where none, or no valid one, is known."""
    if probability is None or not LEAST_PROBABILITY <= probability <= 1:
        return 1.0
    return 1 / probability


@lru_cache(maxsize=2 * EXACT_WEIGHTS)
def _rank(weight: Weight) -> int:
    return -1 if weight in (WHOLE, DROPPED, POSSIBLE) else scattered(repr(weight))


def _rounded(weight: Weight) -> Weight:
    """Return the nearest weight of a logarithmic grid, none of which is 1."""
    value = _GRID_STEP ** max(1, round(math.log(weight.of_values, _GRID_STEP)))
    return Weight(value, 1.0 if weight.of_runs == 1 else value)
