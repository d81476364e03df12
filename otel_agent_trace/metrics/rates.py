"""Shares of a whole, and how far to trust them."""

from __future__ import annotations

import math

_Z_95 = 1.959963984540054  # the standard normal quantile at 0.975


def rate(part: int, whole: int) -> float | None:
    """The share of `part` in `whole`, from 0 to 1; None of nothing."""
    return part / whole if whole else None


def wilson_interval(successes: int, trials: int) -> tuple[float, float] | None:
    """The 95 % Wilson score interval (low, high) of a rate, each from 0 to 1; None without a trial."""
    if not trials:
        return None
    share, z2 = successes / trials, _Z_95**2
    scale = 1 + z2 / trials
    centre = (share + z2 / (2 * trials)) / scale
    margin = _Z_95 / scale * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    low = 0.0 if successes == 0 else max(0.0, centre - margin)
    high = 1.0 if successes == trials else min(1.0, centre + margin)
    return low, high
