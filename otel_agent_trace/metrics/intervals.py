"""Compute rates and the intervals in which the true ones are, with 95 % certainty."""

from __future__ import annotations

import math

Z = 1.959963984540054
"""Standard normal quantile at 0.975."""
_T_OF_FEW = {1: 12.706204736432095, 2: 4.302652729696142}
_T_TERMS = (
    Z,
    (Z**3 + Z) / 4,
    (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
    (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
    (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160,
)
"""Terms of the Cornish-Fisher expansion of Student's t in the inverse of the degrees of freedom."""


def rate(part: float, whole: float) -> float | None:
    """Return the share of `part` in `whole`, from 0 to 1; None where `whole` is 0."""
    return part / whole if whole else None


def wilson_interval(successes: float, trials: float) -> tuple[float, float] | None:
    """Return the 95 % Wilson score interval (low, high) of a rate, each from 0 to 1; None without a trial."""
    if not trials:
        return None
    share, z2 = successes / trials, Z**2
    scale = 1 + z2 / trials
    centre = (share + z2 / (2 * trials)) / scale
    margin = Z / scale * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    low = 0.0 if successes == 0 else max(0.0, centre - margin)
    high = 1.0 if successes == trials else min(1.0, centre + margin)
    return low, high


def rank_interval(share: float, count: int) -> tuple[int, int]:
    """Return the ranks, from 0 on, between whose values a quantile is with 95 % certainty; they may be out of range.

    `share` is that of the values below the quantile. The normal distribution stands for the binomial one.
    """
    centre, margin = share * count, Z * math.sqrt(share * (1 - share) * count)
    return math.floor(centre - margin) - 1, math.ceil(centre + margin) - 1


def t_quantile(degrees: float) -> float:
    """Return the quantile of Student's t distribution at 0.975, within 0.2 %, for at least one degree of freedom.

    Below three degrees a fraction counts as the whole number below it.
    """
    of_few = _T_OF_FEW.get(math.floor(degrees))
    if of_few is not None:
        return of_few
    return math.fsum(term / float(degrees) ** power for power, term in enumerate(_T_TERMS))
