"""Estimate from samples in how far the figures may differ from those of all runs that happened, with 95 % certainty.

The variance of a total is the sum of ``w (w - 1) y**2`` over the kept traces, that of a ratio follows from its linear
approximation (Särndal, Swensson and Wretman 1992, chapter 5). What was kept for certain adds nothing to either.
"""

from __future__ import annotations

import math
from typing import TypeAlias

from otel_agent_trace.metrics.intervals import Z, rate, wilson_interval
from otel_agent_trace.metrics.moments import Moments
from otel_agent_trace.metrics.strata import Count, Sample

Bounds: TypeAlias = tuple[float | None, float | None]
"""Type of an interval (low, high); a bound that cannot be known is None."""
UNKNOWN: Bounds = (None, None)
"""Interval of what may be anything."""


def total_interval(squares: Sample[int], total: Count, kept: Count, *, is_known: bool) -> Bounds | None:
    """Return the interval (low, high) of a weighted total; None unless sampled.

    `squares` are the sums of the squares of what each trace has, which those of weight 1 may lack, as they add nothing to the
    variance. `kept` is the total of what was kept, none of which is negative. `is_known` is whether kept traces stand for all
    that were dropped: else there is no upper bound.
    """
    if not squares.is_sampled:
        return None
    margin = Z * math.sqrt(squares.sum(lambda weight, number: weight * (weight - 1) * number))
    return max(total - margin, float(kept)), total + margin if is_known else None


def share_interval(traces: Sample[Moments], part: Count, whole: Count, *, if_all_failed: float) -> Bounds | None:
    """Return the interval (low, high) of a share, from 0 to 1; None unless sampled, or without a whole.

    It is Wilson's, with the number of trials that have the variance of the share. `if_all_failed` is the share of
    failures only: where none but failures were kept, and those for certain, nothing is known about what was dropped.
    """
    share = rate(part, whole)
    if share is None or not traces.is_sampled:
        return None
    variance = _variance(traces, share) / whole**2
    trials = share * (1 - share) / variance if variance and 0 < share < 1 else 0.0
    if share in (0, 1):
        trials = _effective_number(traces)
    if trials:
        return wilson_interval(share * trials, trials)
    if share != if_all_failed or traces.is_counted:
        return share, share
    return (None, share) if share else (share, None)


def agent_interval(part: Count, whole: Count, squares: Count) -> tuple[float, float] | None:
    """Return Wilson's interval of a share in any number of trials, of which these are a sample.

    `squares` is the sum of the squared weights of the trials, so that as many are taken as have equal weights and are as
    good (the effective number).
    """
    if whole == squares:
        return wilson_interval(part, whole)
    return wilson_interval(part * whole / squares, whole**2 / squares)


def _variance(traces: Sample[Moments], ratio: float) -> float:
    return traces.sum(lambda weight, moments: weight * (weight - 1) * moments.squares(ratio))


def _effective_number(traces: Sample[Moments]) -> float:
    """Return the effective number of the traces that were not kept for certain."""
    total = traces.sum(lambda weight, moments: weight * moments.n if weight > 1 else 0)
    squares = traces.sum(lambda weight, moments: weight**2 * moments.nn if weight > 1 else 0)
    return rate(total**2, squares) or 0.0
