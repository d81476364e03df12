"""Sum what the variance of an estimate from a sample needs, over the traces of one weight.

Traces are kept independently of each other, and whole: what one trace has of something is one observation, however many
runs or calls it is of.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Moments:
    """Sum two whole numbers of each trace, an amount `y` and the number `n` of units that it is of, and their products."""

    y: int = 0
    n: int = 0
    yy: int = 0
    yn: int = 0
    nn: int = 0

    def add(self, y: int, n: int = 1) -> None:
        """Add one trace."""
        self.absorb(Moments(y, n, y * y, y * n, n * n))

    def absorb(self, other: Moments) -> None:
        """Add the traces of another one, which stays as it is."""
        self.y += other.y
        self.n += other.n
        self.yy += other.yy
        self.yn += other.yn
        self.nn += other.nn

    def squares(self, ratio: float) -> float:
        """Return the sum of the squares of ``y - ratio * n`` over the traces."""
        return max(self.yy - 2 * ratio * self.yn + ratio**2 * self.nn, 0.0)
