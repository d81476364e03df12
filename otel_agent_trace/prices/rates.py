"""Define what the tokens of a call cost.

All amounts are whole numbers of 1e-12 dollars ("pico-dollars"), so that sums depend on no order: a price of a dollar a
million tokens is a million of them for each token.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from otel_agent_trace.model import Usage

PICO_USD_PER_USD = 10**12
_PICO_USD_PER_USD_A_MILLION = PICO_USD_PER_USD // 10**6


class Rates(NamedTuple):
    """Hold what a call costs for each of its tokens, in 1e-12 dollars; `input` or `output` is None where it is not known.

    Cached tokens are part of the input, and reasoning tokens of the output: they cost what they cost as such, and not
    what the whole costs. `call` is what each call costs beside its tokens.
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    call: int = 0

    def cost_of(self, usage: Usage, calls: int = 1) -> int | None:
        """Return what tokens cost in 1e-12 dollars: those of one call, or the sums over several of one price step.

        It is None where a price is not known, and for counts that cannot be: negative, or less than their parts.
        """
        read, written = usage.cache_read_input_tokens or 0, usage.cache_write_input_tokens or 0
        thought = usage.reasoning_output_tokens or 0
        fresh, answered = (usage.input_tokens or 0) - read - written, (usage.output_tokens or 0) - thought
        counts = (fresh, answered, read, written, thought)
        if min(counts) < 0:
            return None
        total = calls * self.call
        for count, rate in zip(counts, self[:5], strict=True):
            if count:
                if rate is None:
                    return None
                total += count * rate
        return total


def rates_of(
    input_usd: Decimal | None,
    output_usd: Decimal | None,
    *,
    cache_read_usd: Decimal | None = None,
    cache_write_usd: Decimal | None = None,
    reasoning_usd: Decimal | None = None,
    thousand_calls_usd: Decimal | None = None,
) -> Rates:
    """Return rates, given prices in dollars a million tokens; parts without a price of their own cost what the whole does."""
    return Rates(
        _rate(input_usd),
        _rate(output_usd),
        cache_read=_rate(input_usd if cache_read_usd is None else cache_read_usd),
        cache_write=_rate(input_usd if cache_write_usd is None else cache_write_usd),
        reasoning=_rate(output_usd if reasoning_usd is None else reasoning_usd),
        call=0 if thousand_calls_usd is None else pico_usd(thousand_calls_usd) // 1000,
    )


def pico_usd(usd: Decimal) -> int:
    """Return dollars in 1e-12 dollars, rounded, whatever precision the program has set for decimals."""
    return round(Fraction(usd) * PICO_USD_PER_USD)


def _rate(usd_a_million: Decimal | None) -> int | None:
    return None if usd_a_million is None else round(Fraction(usd_a_million) * _PICO_USD_PER_USD_A_MILLION)
