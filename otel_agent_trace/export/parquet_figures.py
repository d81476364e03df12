"""Count for the rows of a run what reports count of it: what it cost, its loops and its retries."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from otel_agent_trace import semconv
from otel_agent_trace.model import AgentRun, AgentStep
from otel_agent_trace.prices import PICO_USD_PER_USD, PricedPart, Prices, cost_of, priced_parts
from otel_agent_trace.runs.charged import agents_around, tools_around
from otel_agent_trace.runs.conduct import Conduct, conduct_of
from otel_agent_trace.runs.names import shortened
from otel_agent_trace.sources.parquet.values import text_of
from otel_agent_trace.usage import counted_parts

_GREATEST = (1 << 63) - 1
_NO_STEP: dict[str, Any] = {"is_innermost": False, "is_loop": False, "is_retry": False}


class Figures(NamedTuple):
    """Hold columns of a run, and those of its steps by their `id`."""

    of_run: dict[str, Any]
    by_step: dict[int, dict[str, Any]]

    def of_step(self, step: AgentStep) -> dict[str, Any]:
        """Return the columns of a step."""
        return _NO_STEP | self.by_step.get(id(step), {})


def figures_of(run: AgentRun, prices: Prices) -> Figures:
    """Return the columns of an outermost run and of all steps below it."""
    parts, conduct = priced_parts(counted_parts(run), prices), conduct_of(run)
    of_steps = defaultdict[int, dict[str, Any]](dict)
    for part, _, _ in parts:
        of_steps[id(part)]["is_innermost"] = True
    for step in conduct.loops.values():
        of_steps[id(step)]["is_loop"] = True
    for retries in conduct.retries.values():
        for step in retries:
            of_steps[id(step)]["is_retry"] = True
    for place, (calls, pico_usd) in _costs(run, parts).items():
        of_steps[place] |= _row_of_cost(calls, pico_usd)
    return Figures(_row_of_run(run, parts, conduct), dict(of_steps))


def _row_of_run(run: AgentRun, parts: list[PricedPart], conduct: Conduct) -> dict[str, Any]:
    cost = cost_of(parts)
    return {
        **_row_of_cost(cost.priced_calls, cost.pico_usd),
        "unpriced": [str(text_of(shortened(name))) for name, calls in cost.unpriced.items() for _ in range(calls)],
        "providers": _providers_of(run),
        "has_loop": bool(conduct.loops),
        "retries": conduct.retry_count,
        "has_tool_errors": conduct.has_tool_errors,
    }


def _costs(run: AgentRun, parts: list[PricedPart]) -> dict[int, tuple[int, int]]:
    """Return how many calls have a price, and their cost, of each model call and of each tool or sub-agent around some."""
    costs: dict[int, tuple[int, int]] = {}
    for part, around, pico_usd in parts:
        if pico_usd is not None:
            charged = part, *tools_around(around).values(), *agents_around(run, around).values()
            for place in {id(item) for item in charged}:
                calls, sum_pico_usd = costs.get(place, (0, 0))
                costs[place] = calls + 1, sum_pico_usd + pico_usd
    return costs


def _row_of_cost(calls: int, pico_usd: int) -> dict[str, Any]:
    """Return the columns of a cost; without a number of calls where the sum does not fit."""
    is_fit = pico_usd <= _GREATEST
    return {
        "cost_usd": pico_usd / PICO_USD_PER_USD if calls else None,
        "cost_pico_usd": min(pico_usd, _GREATEST),
        "priced_calls": calls if is_fit else None,
    }


def _providers_of(run: AgentRun) -> list[str]:
    """Return the providers of all model calls, each once, and an empty text for those without one."""
    calls = (step for part in run.walk() for step in part.model_steps)
    found = (next((name for key in semconv.PROVIDERS if (name := call.attributes.get(key))), "") for call in calls)
    return [*dict.fromkeys(str(text_of(name)) for name in found)]
