"""Provide distributions of whole numbers in bounded memory, with quantiles that are off by 1 % at most.

They are DDSketches with dense stores that never collapse: merging adds the counts of equal bins, so any order and any
grouping of merges gives the same sketch. Quantiles are by nearest rank, without interpolation: the p-th percentile is
the least value that p % of the values do not exceed (of two values p50 is the lesser and p90 the greater one).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from ddsketch.ddsketch import BaseDDSketch
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import DenseStore

from otel_agent_trace.metrics.intervals import rank_interval

RELATIVE_ACCURACY = 0.01
"""Greatest distance of a quantile from the true one, as a share of the true one."""

_GREATEST = 2**63 - 1
_MAPPING = LogarithmicMapping(RELATIVE_ACCURACY)
LOG_WIDTH = math.log(_MAPPING.gamma)
"""Width of a bin on the scale of natural logarithms: a value x above 0 is in bin ceil(ln(x) / `LOG_WIDTH`)."""


class Distribution:
    """Hold whole numbers from 0 to 2**63 - 1 (others count as the nearest of these) with how often each occurred.

    `count`, `total`, `minimum` and `maximum` are exact integers (the latter two None while there is no value); the unit
    is the caller's. Memory: one counter for every 2 % between the least and the greatest value, so fewer than 2400; in a
    sample two.
    """

    __slots__ = ("_bins", "_repeats", "_sketch", "count", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.minimum: int | None = None
        self.maximum: int | None = None
        self._repeats: Counter[float] | None = None
        self._bins = DenseStore()
        self._sketch = BaseDDSketch(_MAPPING, self._bins, DenseStore(), 0.0)

    def add(self, value: int) -> None:
        """Add one value."""
        value = min(max(value, 0), _GREATEST)
        self._widen(value, value)
        self.count += 1
        self.total += value
        self._sketch.add(value)

    def add_bin(self, count: int, total: int, least: int, greatest: int) -> None:
        """Add values that lie within one bin (see `LOG_WIDTH`), of which the number, the sum and the ends are known."""
        self._widen(least, greatest)
        self.count += count
        self.total += total
        self._sketch.add(least, count)

    def absorb(self, other: Distribution) -> None:
        """Add all values of another distribution, which stays as it is."""
        if other.minimum is None or other.maximum is None:
            return
        self._widen(other.minimum, other.maximum)
        self.count += other.count
        self.total += other.total
        self._sketch.merge(other._sketch)
        if other._repeats:
            self._repeats = self._repeats or Counter()
            self._repeats.update(other._repeats)

    def close(self) -> None:
        """Take all values for those of one trace, before they are added to those of others."""
        if self.count > 1:
            self._repeats = Counter({value: count * (self.count - 1) for value, count, _ in self.bins()})

    def bins(self) -> Iterator[tuple[float, int, int]]:
        """Yield for each bin the value that stands for it, the number of its values, and that number with each value
        counted as often as its trace has values, the least value first.
        """
        repeats: Mapping[float, int] = self._repeats or {}
        zeros = self.count - int(self._bins.count)
        if zeros:
            yield 0.0, zeros, zeros + repeats.get(0.0, 0)
        for key, count in enumerate(self._bins.bins, self._bins.offset):
            if count:
                value = float(_MAPPING.value(key))
                yield value, int(count), int(count) + repeats.get(value, 0)

    def _widen(self, least: int, greatest: int) -> None:
        self.minimum = least if self.minimum is None else min(self.minimum, least)
        self.maximum = greatest if self.maximum is None else max(self.maximum, greatest)

    def percentile(self, percent: int) -> float | None:
        """Return the least value that `percent` % of the values do not exceed, within 1 %; None without a value."""
        return self._at_rank(max(-(-percent * self.count // 100) - 1, 0))

    def percentile_interval(self, percent: int) -> tuple[float, float] | None:
        """Return the 95 % interval (low, high) of a percentile of whatever the values are a sample of.

        It goes from one value to another, by ranks that follow from the binomial distribution of the number of values
        below the percentile, and is widened by what quantiles are off; None if there are too few values for one of the two.
        """
        low, high = rank_interval(percent / 100, self.count)
        if low < 0 or high >= self.count:
            return None
        least, greatest = self._at_rank(low), self._at_rank(high)
        if least is None or greatest is None:
            return None
        return least / (1 + RELATIVE_ACCURACY), greatest / (1 - RELATIVE_ACCURACY)

    def _at_rank(self, rank: int) -> float | None:
        """Return the value of a rank from 0 on, within 1 %; None without a value."""
        share = (rank + 0.5) / max(self.count - 1, 1)  # ddsketch takes a share, and rounds down between two ranks
        estimate = self._sketch.get_quantile_value(min(share, 1.0))
        if estimate is None or self.minimum is None or self.maximum is None:
            return None
        return min(max(float(estimate), float(self.minimum)), float(self.maximum))

    def _state(self) -> tuple[object, ...]:
        return self.count, self.total, self.minimum, self.maximum, [*self.bins()]

    def __eq__(self, other: object) -> bool:
        return self._state() == other._state() if isinstance(other, Distribution) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes
