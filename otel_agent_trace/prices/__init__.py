"""Compute what model calls cost, by the prices that ``genai-prices`` knows, and by prices of one's own.

The package ``genai-prices`` is imported when the first call is priced, and nothing is ever fetched.
"""

from otel_agent_trace.prices.costs import (
    NO_COST,
    UNKNOWN,
    PricedPart,
    RunCost,
    RunCosts,
    cost_of,
    model_called,
    priced_parts,
    run_cost,
)
from otel_agent_trace.prices.rates import PICO_USD_PER_USD, Rates
from otel_agent_trace.prices.table import VARIABLE, Prices, PricesGiven

__all__ = [
    "NO_COST",
    "PICO_USD_PER_USD",
    "UNKNOWN",
    "VARIABLE",
    "PricedPart",
    "Prices",
    "PricesGiven",
    "Rates",
    "RunCost",
    "RunCosts",
    "cost_of",
    "model_called",
    "priced_parts",
    "run_cost",
]
