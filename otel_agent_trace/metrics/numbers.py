"""Sum numbers exactly, so that their mean and its interval depend on no order of adding and merging.

A double is a whole number of 2**-1074, the least double above 0, so sums of doubles and of their squares are integers.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

from otel_agent_trace.metrics.intervals import t_quantile

_PARTS = 1 << 1074
"""Units of a sum in 1; those of a sum of squares are the square of it."""
_LARGEST = sys.float_info.max


@dataclass(slots=True)
class Numbers:
    """Count finite numbers: their sum and that of their squares in units of `_PARTS`, the least and the greatest."""

    count: int = 0
    total: int = 0
    squares: int = 0
    minimum: float | None = None
    maximum: float | None = None

    def add(self, number: float) -> None:
        """Add one finite number."""
        numerator, denominator = number.as_integer_ratio()
        parts = numerator * (_PARTS // denominator)
        plain = number + 0.0  # -0.0 is 0.0: which of two equal numbers is the least must not depend on their order
        self.absorb(Numbers(1, parts, parts * parts, plain, plain))

    def absorb(self, other: Numbers) -> None:
        """Add all numbers of another one, which stays as it is."""
        if other.minimum is None or other.maximum is None:
            return
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.minimum = other.minimum if self.minimum is None else min(self.minimum, other.minimum)
        self.maximum = other.maximum if self.maximum is None else max(self.maximum, other.maximum)

    def mean(self) -> float | None:
        """Return the mean; None without a number."""
        return self.total / (self.count * _PARTS) if self.count else None

    def mean_interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval (low, high) of the mean by Student's t distribution; None for fewer than two numbers.

        It supposes that the numbers are independent, and their mean nearly normal: many, or not too skewed.
        """
        mean, degrees = self.mean(), self.count - 1
        if mean is None or degrees < 1:
            return None
        deviations = self.count * self.squares - self.total**2
        error = math.isqrt(deviations // (self.count**2 * degrees)) / _PARTS
        margin = t_quantile(degrees) * error
        return max(mean - margin, -_LARGEST), min(mean + margin, _LARGEST)
