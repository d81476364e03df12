"""Find quantiles of weighted values, and the intervals in which those of all values are, of which a sample was kept.

The intervals are Woodruff's (1952): the share of values up to a quantile is a ratio, with the variance of one; values at
the ends of the interval of that share are the ends of the interval of the quantile.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import accumulate

from otel_agent_trace.metrics.estimates import UNKNOWN, Bounds
from otel_agent_trace.metrics.intervals import Z
from otel_agent_trace.metrics.sketch import RELATIVE_ACCURACY, Distribution
from otel_agent_trace.metrics.strata import Sample

_KEPT_BEYOND = 10
"""Fewest kept traces beyond a quantile from which an upper bound of it is known."""


class Quantiles:
    """Hold values by bin: their weight, and sums over their traces from which variances come.

    `minimum` and `maximum` are of the kept values.

    With several values in a trace the variance is a bound of it, by the inequality of Cauchy and Schwarz, which needs no
    more than how many there are.
    """

    def __init__(self, durations: Sample[Distribution]) -> None:
        self._is_sampled, self._has_unseen = durations.is_sampled, durations.has_unseen
        self._is_whole = durations.is_whole
        bins: dict[float, list[float]] = {}
        for weight, part in durations.by_weight(Distribution):
            for value, count, repeated in part.bins():
                sums = bins.setdefault(value, [0, 0.0, 0.0])
                sums[0] += count if weight == 1 else weight * count
                sums[1] += weight * (weight - 1) * repeated
                sums[2] += weight**2 * repeated
        self._values = sorted(bins)
        self._weights, self._variances, self._squares = ([bins[value][i] for value in self._values] for i in range(3))
        self._up_to = [*accumulate(self._weights)]
        parts = [part for _, part in durations.parts]
        self.minimum = min((part.minimum for part in parts if part.minimum is not None), default=None)
        self.maximum = max((part.maximum for part in parts if part.maximum is not None), default=None)

    def at(self, percent: float) -> float | None:
        """Return the least value that `percent` % of the weight does not exceed, within 1 %; None without a value."""
        if self.minimum is None or self.maximum is None:
            return None
        return min(max(self._values[self._index(percent)], float(self.minimum)), float(self.maximum))

    def interval(self, percent: float) -> Bounds | None:
        """Return the 95 % interval (low, high) of a quantile, None unless sampled, with None for a bound that is unknown.

        The upper one is unknown where fewer than ten kept traces are beyond the quantile, or as good as fewer; both are
        where runs are unseen. Where nothing was dropped, the quantile is within 1 %.
        """
        if not self._is_sampled or not self._values:
            return None
        if self._has_unseen:
            return UNKNOWN
        margin = 100 * Z * self._error(percent)
        low, high = percent - margin, percent + margin
        is_known = self._is_whole or (high < 100 and self._kept_beyond(percent) >= _KEPT_BEYOND)
        return (
            self._values[self._index(low)] / (1 + RELATIVE_ACCURACY) if low > 0 else 0.0,
            self._values[self._index(high)] / (1 - RELATIVE_ACCURACY) if is_known else None,
        )

    def _index(self, percent: float) -> int:
        return min(bisect_left(self._up_to, percent * self._up_to[-1] / 100), len(self._values) - 1)

    def _error(self, percent: float) -> float:
        """Return the standard error of the share of values up to a quantile."""
        share, end = percent / 100, self._index(percent) + 1
        up_to, beyond = math.fsum(self._variances[:end]), math.fsum(self._variances[end:])
        return math.sqrt(up_to * (1 - share) ** 2 + beyond * share**2) / self._up_to[-1]

    def _kept_beyond(self, percent: float) -> float:
        """Return the effective number of the kept traces beyond a quantile, with their part of its own bin."""
        index = self._index(percent)
        in_bin = self._up_to[index] - percent * self._up_to[-1] / 100
        squares = self._squares[index] * in_bin / self._weights[index] + math.fsum(self._squares[index + 1 :])
        return (in_bin + math.fsum(self._weights[index + 1 :])) ** 2 / squares if squares else 0.0
