"""Sum what the model calls of runs cost."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec

from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.prices.calls import models_of
from otel_agent_trace.prices.rates import PICO_USD_PER_USD
from otel_agent_trace.prices.table import Prices, PricesGiven
from otel_agent_trace.usage import CountedPart, counted_parts

UNKNOWN = "unknown"
"""Name of a model without one."""


class RunCost(msgspec.Struct, frozen=True, kw_only=True):
    """Represent what the model calls of a run, and of all runs below it, cost.

    `pico_usd` is the sum in 1e-12 dollars over the `priced_calls`; `unpriced` counts by model those calls with tokens
    whose price is not known. Calls without tokens are in neither.
    """

    pico_usd: int = 0
    priced_calls: int = 0
    unpriced: dict[str, int] = {}

    @property
    def usd(self) -> float | None:
        """Return the sum in dollars, at least which it cost where any call is unpriced; None where no call was priced."""
        return self.pico_usd / PICO_USD_PER_USD if self.priced_calls else None

    @property
    def unpriced_calls(self) -> int:
        """Return how many calls have tokens, but no price."""
        return sum(self.unpriced.values())

    def __add__(self, other: RunCost) -> RunCost:
        """Return the cost of both."""
        return RunCost(
            pico_usd=self.pico_usd + other.pico_usd,
            priced_calls=self.priced_calls + other.priced_calls,
            unpriced=dict(Counter(self.unpriced) + Counter(other.unpriced)),
        )


NO_COST = RunCost()


class RunCosts:
    """Return what outermost runs of a source cost, each computed unless it is known.

    Args:
        prices: the prices.
    """

    def __init__(self, prices: Prices) -> None:
        self.prices = prices
        self._known: dict[tuple[str, int], RunCost | None] = {}

    def of(self, run: AgentRun) -> RunCost:
        """Return the cost of a run."""
        known = self._known.get((run.trace_ids[0], run.started_at_ns)) if len(run.trace_ids) == 1 else None
        return cost_of(priced_parts(counted_parts(run), self.prices)) if known is None else known

    def note(self, trace_id: str, started_at_ns: int, cost: RunCost) -> None:
        """Note what a run costs whose spans are all of one trace; of two that began at once, none is noted."""
        key = trace_id, started_at_ns
        self._known[key] = None if key in self._known else cost


class PricedPart(NamedTuple):
    """Hold a model call, or a run that reports its tokens only as a whole, and what it costs.

    `around` are the steps around it, those of runs around its run too; `pico_usd` is None where it has no price.
    """

    part: AgentStep | AgentRun
    around: tuple[AgentStep, ...]
    pico_usd: int | None


def priced_parts(parts: list[CountedPart], prices: Prices) -> list[PricedPart]:
    """Return what a run and all runs below it were charged for, given what their tokens are counted from."""
    return [PricedPart(part, around, prices.call_cost(part)) for part, around in parts]


def run_cost(run: AgentRun, prices: PricesGiven = None) -> RunCost:
    """Return what the model calls of a run, and of all runs below it, cost.

    Args:
        run: the run.
        prices: prices of one's own, as `Prices.of` takes them, before those of ``genai-prices``.

    Raises:
        ConfigurationError: `prices` are none.
    """
    return cost_of(priced_parts(counted_parts(run), Prices.of(prices)))


def cost_of(parts: list[PricedPart]) -> RunCost:
    """Return the cost of all parts."""
    amounts = [part.pico_usd for part in parts if part.pico_usd is not None]
    unpriced = Counter(model_called(part.part) for part in parts if part.pico_usd is None)
    return RunCost(pico_usd=sum(amounts), priced_calls=len(amounts), unpriced=dict(unpriced))


def model_called(call: AgentStep | AgentRun) -> str:
    """Return the model that was requested where it is known, else the one that answered, as metrics name it."""
    names = models_of(call)
    return names[-1] if names else UNKNOWN
