"""Sum the tokens of a run, and what its calls cost, for each step and all that is below it."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from otel_agent_trace.model import AgentRun, AgentStep, StepKind
from otel_agent_trace.prices import NO_COST, Prices, RunCost, model_called
from otel_agent_trace.usage import has_counts
from otel_agent_trace.views.items import Item, RunItems

_PICO_PER_NANO = 1000
UNPRICED = -1
"""Cost of an item of whose calls none has a price."""


class CallFigures(NamedTuple):
    """Hold the tokens of each item, what the calls in it cost in 1e-9 dollars (`UNPRICED`), and what the run cost.

    A step that wraps calls has the sum of theirs, so that no token counts twice, as in `otel_agent_trace.usage`.
    """

    tokens: list[int]
    nano_usd: list[int]
    cost: RunCost


def call_figures(items: RunItems, prices: Prices | None) -> CallFigures:
    """Return the tokens and costs of the items of a run; without prices, no call has one."""
    sums = _Sums(items, prices)
    for item in reversed(items):
        sums.add(item)
    nano_usd = [
        pico // _PICO_PER_NANO if priced or not unpriced else UNPRICED
        for pico, priced, unpriced in zip(sums.pico_usd, sums.priced, sums.unpriced, strict=True)
    ]
    return CallFigures(sums.tokens, nano_usd, NO_COST if prices is None else _cost(items, sums))


class _Sums:
    """Sum from the innermost items outwards: each adds what it has to the item around it."""

    def __init__(self, items: RunItems, prices: Prices | None) -> None:
        size = len(items)
        self.prices = prices
        self.tokens, self.pico_usd, self.priced, self.unpriced = [0] * size, [0] * size, [0] * size, [0] * size
        self.is_counted, self.is_unpriced = bytearray(size), bytearray(size)
        self.has_call_below, self.wraps_call = bytearray(size), bytearray(size)
        self.parts = [item.part for item in items]

    def add(self, item: Item) -> None:
        """Count an item whose own tokens count, and add its sums to those of the item around it."""
        number, parent, run = item.number, item.parent, item.run
        if run is not None:
            if has_counts(run.usage) and not self.has_call_below[number]:
                self._clear(number)
                self._count(number, run)
        elif item.step is not None and item.step.kind is StepKind.MODEL and has_counts(item.step.usage):
            if not self.wraps_call[number]:
                self._count(number, item.step)
                self.has_call_below[number] = 1
            self.wraps_call[number] = 1
        if parent >= 0:
            for sums in (self.tokens, self.pico_usd, self.priced, self.unpriced):
                sums[parent] += sums[number]
            self.has_call_below[parent] |= self.has_call_below[number]
            if self.parts[parent] is item.part:
                self.wraps_call[parent] |= self.wraps_call[number]

    def _clear(self, number: int) -> None:
        for sums in (self.tokens, self.pico_usd, self.priced, self.unpriced):
            sums[number] = 0

    def _count(self, number: int, call: AgentStep | AgentRun) -> None:
        pico = None if self.prices is None else self.prices.call_cost(call)
        self.tokens[number] += 0 if call.usage is None else call.usage.total_tokens
        self.pico_usd[number] += pico or 0
        self.priced[number] += pico is not None
        self.unpriced[number] += pico is None
        self.is_counted[number], self.is_unpriced[number] = 1, pico is None


def _cost(items: RunItems, sums: _Sums) -> RunCost:
    """Return what a run cost, and which models have no price."""
    unpriced = Counter[str]()
    number = 0
    while number < len(items):
        item = items[number]
        called = item.subject if item.run is None else item.run
        if sums.is_unpriced[number]:
            unpriced[model_called(called)] += 1
        is_whole = sums.is_counted[number] and item.run is not None
        number = items.end(number) if is_whole else number + 1  # what is below was not counted
    return RunCost(pico_usd=sums.pico_usd[0], priced_calls=sums.priced[0], unpriced=dict(unpriced))
