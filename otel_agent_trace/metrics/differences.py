"""Compute the differences between figures of two reports, with intervals that hold the true ones with 95 % certainty."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple, TypeVar

import msgspec

from otel_agent_trace.metrics.estimates import agent_interval
from otel_agent_trace.metrics.intervals import rate, t_quantile
from otel_agent_trace.metrics.strata import Sample

T = TypeVar("T")
Interval = tuple[float, float]


class MetricsDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Represent one figure of two reports; `difference` is `after` less `before`, `interval` its 95 % interval.

    A figure is None where there is nothing to measure, and the interval None where there is too little to go by.
    """

    before: float | None = None
    after: float | None = None
    difference: float | None = None
    interval: Interval | None = None

    @property
    def is_certain(self) -> bool:
        """Return whether the interval excludes 0: with 95 % certainty the figure has changed."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


class Estimate(NamedTuple):
    """Hold a figure and its 95 % interval."""

    value: float | None
    interval: Interval | None = None


class Sums(NamedTuple):
    """Hold how many numbers there are, their sum and that of their squares."""

    number: int
    total: int
    squares: int


class Mean(NamedTuple):
    """Hold a mean, the square of its standard error, and the degrees of freedom of that; without any, None and 0."""

    value: float | None
    squared_error: float = 0.0
    degrees: int = 0


def difference(before: Estimate, after: Estimate) -> MetricsDifference:
    """Return the difference of two figures; its interval follows from theirs, by Newcombe's method 10.

    The distances from each figure to the ends of its interval are added as the sides of a right-angled triangle.
    """
    if before.value is None or after.value is None:
        return MetricsDifference(before=before.value, after=after.value)
    distance = after.value - before.value
    interval = None
    if before.interval is not None and after.interval is not None:
        below = math.hypot(after.value - after.interval[0], before.interval[1] - before.value)
        above = math.hypot(after.interval[1] - after.value, before.value - before.interval[0])
        interval = distance - below, distance + above
    return MetricsDifference(before=before.value, after=after.value, difference=distance, interval=interval)


def difference_of_means(before: Mean, after: Mean) -> MetricsDifference:
    """Return the difference of two means, with Welch's interval; that is None for fewer than two values on a side."""
    if before.value is None or after.value is None:
        return MetricsDifference(before=before.value, after=after.value)
    distance = after.value - before.value
    interval = None
    if before.degrees and after.degrees:
        margin = _welch_quantile(before, after) * math.sqrt(before.squared_error + after.squared_error)
        interval = distance - margin, distance + margin
    return MetricsDifference(before=before.value, after=after.value, difference=distance, interval=interval)


def _welch_quantile(before: Mean, after: Mean) -> float:
    total = before.squared_error + after.squared_error
    if not total:
        return 0.0
    shares = ((each.squared_error / total) ** 2 / each.degrees for each in (before, after))
    return t_quantile(max(1 / math.fsum(shares), 1.0))


def share(sample: Sample[T], part: Callable[[T], int], whole: Callable[[T], int]) -> Estimate:
    """Return a share with its Wilson interval, in a sample with the effective number of the whole (Kish).

    Where runs are unseen, it has none.
    """
    total, successes = sample.total(whole), sample.total(part)
    squares = sample.sum(lambda weight, tally: weight**2 * whole(tally))
    interval = None if sample.has_unseen else agent_interval(successes, total, squares)
    return Estimate(rate(successes, total), interval)


def mean(sample: Sample[Sums], unit: int = 1) -> Mean:
    """Return the mean of numbers, which were summed as multiples of ``1 / unit``; each counts with its weight."""
    parts = _weighted(sample)
    size, number = sum(weight * sums.number for weight, sums in parts), sum(sums.number for _, sums in parts)
    if not size:
        return Mean(None)
    value = sum(weight * sums.total for weight, sums in parts) / Fraction(size)
    if number < 2 or sample.has_unseen:
        return Mean(float(value / unit))
    deviations = sum(
        weight**2 * (sums.squares - 2 * value * sums.total + sums.number * value**2) for weight, sums in parts
    )
    error = deviations / (Fraction(size) * unit) ** 2 * Fraction(number, number - 1)
    return Mean(float(value / unit), float(error), number - 1)


def _weighted(sample: Sample[T]) -> list[tuple[Fraction, T]]:
    return [(Fraction(weight), tally) for weight, tally in sample.weighted() if weight]
