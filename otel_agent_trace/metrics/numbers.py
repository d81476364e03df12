"""Sum numbers exactly, so that their mean and its interval depend on no order of adding and merging.

A double is a whole number of 2**-1074, the least double above 0, so sums of doubles and of their squares are integers.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from otel_agent_trace.metrics.intervals import t_quantile

PARTS = 1 << 1074
"""Units of a sum in 1; those of a sum of squares are the square of it."""
_LARGEST = sys.float_info.max


@dataclass(slots=True)
class Numbers:
    """Count finite numbers: their sum and that of their squares in units of `PARTS`, the least and the greatest."""

    count: int = 0
    total: int = 0
    squares: int = 0
    minimum: float | None = None
    maximum: float | None = None

    def add(self, number: float, times: int = 1) -> None:
        """Add a finite number, once or as often as it occurred."""
        numerator, denominator = number.as_integer_ratio()
        parts = numerator * (PARTS // denominator)
        plain = number + 0.0  # -0.0 is 0.0: which of two equal numbers is the least must not depend on their order
        self.absorb(Numbers(times, times * parts, times * parts * parts, plain, plain))

    def deviations(self, mean: Fraction) -> Fraction:
        """Return the sum of the squares of the distances from `mean`, which is in units of `PARTS`."""
        return self.squares - 2 * mean * self.total + mean**2 * self.count

    def absorb(self, other: Numbers) -> None:
        """Add all numbers of another one, which stays as it is."""
        if other.minimum is None or other.maximum is None:
            return
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.minimum = other.minimum if self.minimum is None else min(self.minimum, other.minimum)
        self.maximum = other.maximum if self.maximum is None else max(self.maximum, other.maximum)


Parts: TypeAlias = Sequence[tuple[float, Numbers]]
"""Type of numbers in parts with their weights."""


def mean_of(parts: Parts) -> float | None:
    """Return the weighted mean; None without a number."""
    mean = _mean(parts)
    return None if mean is None else mean.numerator / (mean.denominator * PARTS)


def mean_interval_of(parts: Parts) -> tuple[float, float] | None:
    """Return the 95 % interval (low, high) of the mean by Student's t distribution; None for fewer than two numbers.

    It supposes that the numbers are independent, and their mean nearly normal: many, or not too skewed. Weighted, the mean
    is a ratio of two sums, whose variance is that of its linear approximation; its degrees of freedom are those of the
    effective number of numbers.
    """
    mean = _mean(parts)
    if mean is None:
        return None
    total = sum(Fraction(weight) * numbers.count for weight, numbers in parts)
    squared = sum(Fraction(weight) ** 2 * numbers.count for weight, numbers in parts)
    degrees = total**2 / squared - 1  # the effective number is that of equal weights which are as good
    if degrees < 1:
        return None
    deviations = sum(Fraction(weight) ** 2 * numbers.deviations(mean) for weight, numbers in parts)
    error = math.isqrt(int(deviations / total**2 * (degrees + 1) / degrees)) / PARTS
    centre, margin = mean.numerator / (mean.denominator * PARTS), t_quantile(int(degrees)) * error
    return max(centre - margin, -_LARGEST), min(centre + margin, _LARGEST)


def _mean(parts: Parts) -> Fraction | None:
    count = sum(Fraction(weight) * numbers.count for weight, numbers in parts)
    return sum(Fraction(weight) * numbers.total for weight, numbers in parts) / count if count else None
